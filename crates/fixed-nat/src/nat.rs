//! The translation: one inside address, one outside address, every port as it is.

use std::net::Ipv4Addr;

use viaduct_wire::{Flow, Frame, L4, Rewrite};

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the host that is hidden.
    Inside,
    /// From everybody else.
    Outside,
}

/// A source NAT of one address, both ways. Stateless: nothing is remembered, so it can be judged
/// as the least that a translating forwarder costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedNat {
    /// The hidden host's own address.
    pub(crate) inside: Ipv4Addr,
    /// The address the outside sees instead.
    pub(crate) outside: Ipv4Addr,
}

impl FixedNat {
    /// Translates a packet from `side` in place. False: it is none of ours, and stays here.
    pub(crate) fn translate(&self, frame: &mut Frame<'_>, side: Side) -> bool {
        let Some(flow) = self.translated(frame.flow(), side) else {
            return false;
        };
        match frame.l4() {
            L4::IcmpError { .. } => {
                // The quoted packet went the other way: past us, it was already translated.
                let quoted = frame.quoted();
                let inner = quoted.and_then(|quoted| self.translated(quoted.flow.reversed(), side));
                let Some(inner) = inner else {
                    return false;
                };
                frame.rewrite_icmp_error(flow.source, flow.destination, &inner.reversed());
            }
            _ => frame.rewrite(&Rewrite::from(flow)),
        }
        true
    }

    fn translated(&self, flow: Flow, side: Side) -> Option<Flow> {
        match side {
            Side::Inside if flow.source == self.inside => {
                Some(Flow { source: self.outside, ..flow })
            }
            Side::Outside if flow.destination == self.outside => {
                Some(Flow { destination: self.inside, ..flow })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use viaduct_wire::VNET_HEADER_LEN;

    const INSIDE: [u8; 4] = [10, 1, 0, 2];
    const SEEN: [u8; 4] = [203, 0, 113, 10];
    const SERVER: [u8; 4] = [198, 51, 100, 7];

    fn nat() -> FixedNat {
        FixedNat { inside: INSIDE.into(), outside: SEEN.into() }
    }

    fn udp(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
        let mut buffer = vec![0; VNET_HEADER_LEN];
        PacketBuilder::ipv4(source.0, destination.0, 64)
            .udp(source.1, destination.1)
            .write(&mut buffer, b"payload")
            .unwrap();
        buffer
    }

    /// What leaves for a packet that came from `side`.
    fn pass(mut buffer: Vec<u8>, side: Side) -> Option<Vec<u8>> {
        let mut frame = Frame::parse(&mut buffer, 1500).unwrap();
        if !nat().translate(&mut frame, side) {
            return None;
        }
        let len = frame.finish();
        buffer.truncate(len);
        Some(buffer)
    }

    #[test]
    fn the_source_is_replaced_on_the_way_out_and_restored_on_the_way_back() {
        let out = pass(udp((INSIDE, 40_000), (SERVER, 53)), Side::Inside);
        assert_eq!(out, Some(udp((SEEN, 40_000), (SERVER, 53))));
        let back = pass(udp((SERVER, 53), (SEEN, 40_000)), Side::Outside);
        assert_eq!(back, Some(udp((SERVER, 53), (INSIDE, 40_000))));
    }

    #[test]
    fn packets_of_others_stay_here() {
        assert_eq!(pass(udp(([10, 1, 0, 3], 1), (SERVER, 53)), Side::Inside), None);
        assert_eq!(pass(udp((SERVER, 53), (INSIDE, 1)), Side::Outside), None);
    }

    #[test]
    fn an_error_from_outside_names_the_packet_the_inside_knows() {
        let unreachable = |to: [u8; 4], quoted_source: [u8; 4]| {
            let quoted = udp((quoted_source, 40_000), (SERVER, 53));
            let mut buffer = vec![0; VNET_HEADER_LEN];
            PacketBuilder::ipv4(SERVER, to, 64)
                .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::Port,
                ))
                .write(&mut buffer, &quoted[VNET_HEADER_LEN..])
                .unwrap();
            buffer
        };
        let back = pass(unreachable(SEEN, SEEN), Side::Outside);
        assert_eq!(back, Some(unreachable(INSIDE, INSIDE)));
    }
}
