//! The packet that an ICMP error is about: finding it, and translating it with the error.
//!
//! An error quotes the packet as it was where it failed, behind every translation on its way. Its
//! receiver finds the connection by what is quoted, so a translator undoes in the quote what it
//! did to the packet (RFC 5508 section 4). A quote ends where it pleases: RFC 792 asks for the IP
//! header and eight bytes, which hold the ports and UDP's checksum but not TCP's.

use std::net::Ipv4Addr;

use etherparse::Ipv4HeaderSlice;

use crate::checksum::{Difference, Sum};
use crate::flow::{Flow, protocol};
use crate::frame::Frame;
use crate::rewrite::{put, update, write_addresses};
use crate::transport::{
    ECHO_IDENTIFIER, ECHO_REPLY, ECHO_REQUEST, ICMP_CHECKSUM, ICMP_HEADER_LEN, L4, TCP_CHECKSUM,
    TCP_HEADER_LEN, UDP_CHECKSUM,
};

/// What an ICMP error says of the packet it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quoted {
    /// The flow of the quoted packet: the direction it travelled, which is towards the host that
    /// sent the error, or past it.
    pub flow: Flow,
}

/// Where things lie in a quote, in bytes from its start.
struct Quote {
    flow: Flow,
    /// The port that an echo's identifier is, if it is an echo.
    echo: Option<Side>,
    l4: usize,
    /// How much of the transport header and what follows is quoted.
    l4_len: usize,
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Frame<'_> {
    /// The packet that this ICMP error quotes; `None` if it is no ICMP error, or none to act on:
    /// its own checksum or that of the quoted IP header is wrong (RFC 5508 REQ-3 a and b), the
    /// quote is not IPv4, ends before the ports, is a fragment without them, or is itself an ICMP
    /// error (RFC 1122 3.2.2).
    ///
    /// The quoted packet's options are skipped, its transport checksum is not looked at (REQ-3 c
    /// and d).
    #[must_use]
    pub fn quoted(&self) -> Option<Quoted> {
        if !matches!(self.l4, L4::IcmpError { .. }) {
            return None;
        }
        let message = &self.packet[usize::from(self.ip_header)..];
        if Sum::default().bytes(message).fold() != 0xffff {
            return None;
        }
        let quote = Quote::find(&message[ICMP_HEADER_LEN..])?;
        Some(Quoted { flow: quote.flow })
    }

    /// Translates an ICMP error: it comes from `outer_source` and goes to `outer_destination`, and
    /// the packet it quotes is again the one its sender knows, of the flow `inner`.
    ///
    /// All checksums follow by difference: the outer IP header's, the ICMP message's, the quoted
    /// IP header's, and the quoted transport checksum where the quote holds all of it (UDP's 0
    /// stays). Extensions behind the quote (RFC 4884) are left alone.
    ///
    /// Without a quote to act on (see [`quoted`](Self::quoted)) only the outer header changes.
    pub fn rewrite_icmp_error(
        &mut self,
        outer_source: Ipv4Addr,
        outer_destination: Ipv4Addr,
        inner: &Flow,
    ) {
        self.rewrite_addresses(outer_source, outer_destination);
        if !matches!(self.l4, L4::IcmpError { .. }) {
            return;
        }
        let message = &mut self.packet[usize::from(self.ip_header)..];
        let Some((header, quoted)) = message.split_first_chunk_mut::<ICMP_HEADER_LEN>() else {
            return;
        };
        let Some(quote) = Quote::find(quoted) else {
            return;
        };
        // What can change ends with TCP's checksum. An even length keeps the sums aligned.
        let end = quote.l4 + quote.l4_len.min(TCP_CHECKSUM + 2) / 2 * 2;
        let changing = &mut quoted[..end];
        let before = Sum::default().bytes(changing).fold();
        quote.rewrite(changing, inner);
        let after = Sum::default().bytes(changing).fold();
        update(header, ICMP_CHECKSUM, |c| Difference::default().word(before, after).apply(c));
    }
}

impl Quote {
    fn find(quoted: &[u8]) -> Option<Self> {
        let ip = Ipv4HeaderSlice::from_slice(quoted).ok()?;
        if Sum::default().bytes(ip.slice()).fold() != 0xffff || ip.fragments_offset().value() != 0 {
            return None;
        }
        let l4 = ip.slice().len();
        let l4_quoted = &quoted[l4..];
        // Behind a short packet's quote there may be padding and extensions (RFC 4884).
        let l4_len = usize::from(ip.total_len()).checked_sub(l4)?.min(l4_quoted.len());
        let l4_quoted = &l4_quoted[..l4_len];
        let word =
            |at: usize| Some(u16::from_be_bytes([*l4_quoted.get(at)?, *l4_quoted.get(at + 1)?]));

        let mut echo = None;
        let (source_port, destination_port) = match ip.protocol().0 {
            // RFC 792's eight bytes hold the ports and, for UDP, the checksum that covers them.
            protocol::TCP | protocol::UDP if l4_len < 8 => return None,
            protocol::TCP | protocol::UDP => (word(0)?, word(2)?),
            protocol::ICMP if l4_len < ICMP_HEADER_LEN => return None,
            protocol::ICMP => match (l4_quoted[0], l4_quoted[1]) {
                (ECHO_REQUEST, 0) => {
                    echo = Some(Side::Source);
                    (word(ECHO_IDENTIFIER)?, 0)
                }
                (ECHO_REPLY, 0) => {
                    echo = Some(Side::Destination);
                    (0, word(ECHO_IDENTIFIER)?)
                }
                (3 | 4 | 5 | 11 | 12, _) => return None,
                _ => (0, 0),
            },
            _ => (0, 0),
        };
        let flow = Flow {
            protocol: ip.protocol().0,
            source: ip.source_addr(),
            destination: ip.destination_addr(),
            source_port,
            destination_port,
        };
        Some(Self { flow, echo, l4, l4_len })
    }

    /// Gives the quoted packet the flow `inner`. `quoted` holds at least what the quote has of
    /// the first 18 bytes behind its IP header.
    fn rewrite(&self, quoted: &mut [u8], inner: &Flow) {
        let addresses = Difference::default()
            .address(self.flow.source, inner.source)
            .address(self.flow.destination, inner.destination);
        write_addresses(quoted, inner.source, inner.destination, addresses);

        let l4 = &mut quoted[self.l4..];
        match self.flow.protocol {
            protocol::TCP | protocol::UDP => {
                let difference = addresses
                    .word(self.flow.source_port, inner.source_port)
                    .word(self.flow.destination_port, inner.destination_port);
                put(l4, 0, inner.source_port);
                put(l4, 2, inner.destination_port);
                if self.flow.protocol == protocol::UDP {
                    update(l4, UDP_CHECKSUM, |c| difference.apply_udp(c));
                } else if self.l4_len >= TCP_CHECKSUM + 2 {
                    update(l4, TCP_CHECKSUM, |c| difference.apply(c));
                }
            }
            protocol::ICMP => {
                let (old, new) = match self.echo {
                    None => return,
                    Some(Side::Source) => (self.flow.source_port, inner.source_port),
                    Some(Side::Destination) => (self.flow.destination_port, inner.destination_port),
                };
                put(l4, ECHO_IDENTIFIER, new);
                update(l4, ICMP_CHECKSUM, |c| Difference::default().word(old, new).apply(c));
            }
            _ => {}
        }
    }
}

const _: () = assert!(TCP_CHECKSUM + 2 <= TCP_HEADER_LEN);
