//! Any bytes as a packet: parsed, and if that works, everything done that can be done with one.
//!
//! The input is a preamble of 20 bytes and what a device would hand over. The preamble says what is
//! mended first (a fuzzer finds no checksums), how large packets may be, and what the packet is
//! rewritten to:
//!
//! | bytes | are |
//! |---|---|
//! | 0 | [`MEND_HEADER`], [`MEND_TRANSPORT`], [`MEND_QUOTE`], [`STRETCH`], added up |
//! | 1 | by how much the TTL goes down |
//! | 2–3 | the device's MTU |
//! | 4–5 | zeros that are added to the packet, if it is stretched |
//! | 6–7 | the next hop's MTU, for an answer that names it, and to cut the packet for |
//! | 8–19 | the flow to rewrite to: addresses and ports |
//! | 20– | the virtio-net header and the packet |
//!
//! Held against it: etherparse, for what is a packet and what is not; checksums by the book
//! (`oracle`); and the packet itself, where what is done is undone.

mod answers;
mod cutting;
mod errors;
mod parsing;
mod rewriting;

use std::net::Ipv4Addr;

use viaduct_wire::{Flow, Frame, VNET_HEADER_LEN, protocol};

use crate::{input::Input, oracle};

/// The IP header gets the checksum that it should have.
pub const MEND_HEADER: u8 = 1;
/// So does what TCP, UDP or ICMP cover.
pub const MEND_TRANSPORT: u8 = 2;
/// So do the packet that an ICMP error quotes, and then the error.
pub const MEND_QUOTE: u8 = 4;
/// Zeros are added up to the size of the largest packets.
pub const STRETCH: u8 = 8;

/// What the preamble asks for.
struct Task {
    mtu: u16,
    next_mtu: u16,
    ttl_decrement: u8,
    to: Flow,
}

/// Tries one input.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.u8();
    let ttl_decrement = input.u8();
    let (mtu, stretch, next_mtu) = (input.u16(), input.u16(), input.u16());
    let to = Flow {
        protocol: protocol::UDP,
        source: Ipv4Addr::from(input.array::<4>()),
        destination: Ipv4Addr::from(input.array::<4>()),
        source_port: input.u16(),
        destination_port: input.u16(),
    };
    let mut buffer = input.rest().to_vec();
    if flags & STRETCH != 0 {
        buffer.resize((buffer.len() + usize::from(stretch)).min(VNET_HEADER_LEN + 65_535), 0);
    }
    mend(&mut buffer, flags);
    try_packet(&buffer, &Task { mtu, next_mtu, ttl_decrement, to });
}

/// Gives a nearly sound packet the checksums that it lacks.
pub(crate) fn mend(buffer: &mut [u8], flags: u8) {
    let Some(ip) = buffer.get_mut(VNET_HEADER_LEN..) else { return };
    if flags & MEND_HEADER != 0 {
        oracle::mend_header(ip);
    }
    if flags & MEND_QUOTE != 0 && ip.len() >= 20 {
        let quote = oracle::header_len(ip).max(20) + 8;
        if let Some(quoted) = ip.get_mut(quote..) {
            oracle::mend_header(quoted);
            oracle::mend_transport(quoted);
        }
    }
    if flags & MEND_TRANSPORT != 0 {
        oracle::mend_transport(ip);
    }
}

fn try_packet(buffer: &[u8], task: &Task) {
    let mut bytes = buffer.to_vec();
    let parsed = Frame::parse(&mut bytes, task.mtu).map(|frame| {
        parsing::accessors_agree(&frame, task.mtu);
        answers::are_sound(&frame, task.to.source, task.next_mtu);
        frame.quoted()
    });
    parsing::agrees_with_etherparse(buffer, parsed.as_ref().err());
    let Ok(quoted) = parsed else { return };
    rewriting::follows_every_checksum(buffer, task);
    rewriting::can_be_undone(buffer, task);
    errors::are_translated(buffer, task, quoted);
    cutting::fits_and_makes_the_packet(buffer, task.mtu, task.next_mtu);
}

/// Parses what is known to be a packet.
fn parse(buffer: &mut [u8], mtu: u16) -> Frame<'_> {
    Frame::parse(buffer, mtu).expect("it is a packet")
}
