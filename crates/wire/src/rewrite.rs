//! Address translation in place.

use std::net::Ipv4Addr;

use crate::checksum::Difference;
use crate::flow::{Flow, protocol};
use crate::frame::Frame;
use crate::ipv4::{HEADER_LEN, field};
use crate::transport::{
    ECHO_IDENTIFIER, ICMP_CHECKSUM, L4, TCP_CHECKSUM, TCP_HEADER_LEN, UDP_CHECKSUM, UDP_HEADER_LEN,
};

/// What a packet is to say instead: the whole target tuple, so that applying it is the same work
/// for every kind of translation and needs no look at what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Sender's address.
    pub source: Ipv4Addr,
    /// Receiver's address.
    pub destination: Ipv4Addr,
    /// Sender's port, or an echo request's identifier, as in [`Flow`].
    pub source_port: u16,
    /// Receiver's port, or an echo reply's identifier, as in [`Flow`].
    pub destination_port: u16,
    /// By how much the TTL goes down. Whether it would reach 0 is for the caller to look at.
    pub ttl_decrement: u8,
}

/// The rewrite that gives a packet this flow, and leaves its TTL alone.
impl From<Flow> for Rewrite {
    fn from(flow: Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            ttl_decrement: 0,
        }
    }
}

impl Frame<'_> {
    /// Translates the packet, and every checksum with it.
    ///
    /// Addresses change in any packet, ports in whole TCP and UDP packets, the identifier in
    /// echoes; where there is no port, that of `rewrite` does not matter. A first fragment's
    /// checksum, which covers the whole datagram, follows its addresses.
    ///
    /// Protocols other than TCP, UDP and ICMP that checksum the addresses (DCCP, UDP-Lite) do not
    /// survive a change of them, as behind any translator that does not know them.
    pub fn rewrite(&mut self, rewrite: &Rewrite) {
        let addresses = self.rewrite_addresses(rewrite.source, rewrite.destination);
        if rewrite.ttl_decrement != 0 {
            self.decrement_ttl(rewrite.ttl_decrement);
        }
        let partial = self.offload.partial;
        let flow = &mut self.flow;
        let l4 = &mut self.packet[usize::from(self.ip_header)..];
        match self.l4 {
            L4::Tcp { .. } => {
                let ports = rewrite_ports(header::<TCP_HEADER_LEN>(l4), flow, rewrite);
                // In the partial state nothing is to be updated: `finish` writes the field.
                if !partial {
                    let l4 = header::<TCP_HEADER_LEN>(l4);
                    update(l4, TCP_CHECKSUM, |c| addresses.and(ports).apply(c));
                }
            }
            L4::Udp => {
                let ports = rewrite_ports(header::<UDP_HEADER_LEN>(l4), flow, rewrite);
                if !partial {
                    let l4 = header::<UDP_HEADER_LEN>(l4);
                    update(l4, UDP_CHECKSUM, |c| addresses.and(ports).apply_udp(c));
                }
            }
            L4::IcmpEchoRequest => {
                rewrite_echo(l4, flow.source_port, rewrite.source_port);
                flow.source_port = rewrite.source_port;
            }
            L4::IcmpEchoReply => {
                rewrite_echo(l4, flow.destination_port, rewrite.destination_port);
                flow.destination_port = rewrite.destination_port;
            }
            L4::Fragment { first: true, .. } => match flow.protocol {
                protocol::TCP => update(l4, TCP_CHECKSUM, |c| addresses.apply(c)),
                protocol::UDP => update(l4, UDP_CHECKSUM, |c| addresses.apply_udp(c)),
                _ => {}
            },
            L4::Fragment { .. } | L4::IcmpError { .. } | L4::Icmp { .. } | L4::Other => {}
        }
    }

    /// Lowers the TTL, and stops at 0.
    pub fn decrement_ttl(&mut self, by: u8) {
        let old = self.packet[field::TTL];
        let new = old.saturating_sub(by);
        self.packet[field::TTL] = new;
        // The word's other byte, the protocol, stays: only the difference of the two words counts,
        // so it may as well be 0 in both.
        let difference = Difference::default().word(u16::from(old) << 8, u16::from(new) << 8);
        update(self.packet, field::CHECKSUM, |c| difference.apply(c));
    }

    /// Gives the packet another identification, by which fragments of it find each other, and the IP
    /// checksum with it. Of a super-packet it is the first segment's; the kernel counts on from there.
    pub fn set_identification(&mut self, new: u16) {
        let old = self.identification();
        put(self.packet, field::IDENTIFICATION, new);
        update(self.packet, field::CHECKSUM, |c| Difference::default().word(old, new).apply(c));
    }

    /// Changes both addresses, and the IP checksum with them. Returns what that changes in a
    /// transport checksum.
    pub(crate) fn rewrite_addresses(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Difference {
        let difference = Difference::default()
            .address(self.flow.source, source)
            .address(self.flow.destination, destination);
        self.flow.source = source;
        self.flow.destination = destination;
        write_addresses(self.packet, source, destination, difference);
        difference
    }
}

/// Puts both addresses into the IP header at the start of `packet`, which holds at least 20
/// bytes, and updates its checksum by `difference`.
pub(crate) fn write_addresses(
    packet: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    difference: Difference,
) {
    let header = header::<HEADER_LEN>(packet);
    header[field::SOURCE..field::SOURCE + 4].copy_from_slice(&source.octets());
    header[field::DESTINATION..field::DESTINATION + 4].copy_from_slice(&destination.octets());
    update(header, field::CHECKSUM, |c| difference.apply(c));
}

/// The header of `N` bytes at the start of `bytes`, with one look at the length instead of one for
/// each field.
fn header<const N: usize>(bytes: &mut [u8]) -> &mut [u8; N] {
    let Some(header) = bytes.first_chunk_mut() else {
        unreachable!("no packet gets here that does not hold its headers")
    };
    header
}

/// Gives `flow` and the transport header the ports of `rewrite`; returns what that changes in a
/// checksum.
fn rewrite_ports(l4: &mut [u8], flow: &mut Flow, rewrite: &Rewrite) -> Difference {
    let ports = Difference::default()
        .word(flow.source_port, rewrite.source_port)
        .word(flow.destination_port, rewrite.destination_port);
    flow.source_port = rewrite.source_port;
    flow.destination_port = rewrite.destination_port;
    put(l4, 0, rewrite.source_port);
    put(l4, 2, rewrite.destination_port);
    ports
}

fn rewrite_echo(l4: &mut [u8], old: u16, new: u16) {
    put(l4, ECHO_IDENTIFIER, new);
    // ICMP checksums cover no pseudo-header.
    update(l4, ICMP_CHECKSUM, |c| Difference::default().word(old, new).apply(c));
    // Differences know no two zeros. A reply can be all zeros, and the complement of that sum is the
    // other one: with 0 in the field, its receiver takes it for damaged.
    if l4.iter().all(|byte| *byte == 0) {
        put(l4, ICMP_CHECKSUM, 0xffff);
    }
}

/// Replaces the word at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Replaces the checksum at `at` by what `change` makes of it.
pub(crate) fn update(bytes: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    put(bytes, at, change(old));
}
