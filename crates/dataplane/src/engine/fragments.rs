//! Datagrams that come in fragments, and packets that leave in some.
//!
//! A fragment waits in the worker's reassembler until its datagram is whole; what is then judged
//! and forwarded is the datagram. It leaves whole where it fits, and is cut anew where it does not,
//! whatever pieces it came in.
//!
//! Hyperplane ENIs and NAT gateways carry only UDP in fragments (NAT-14, LAM-11), in both directions,
//! except where the profile is `rfc`.
//! So a datagram of another protocol that came in some is refused if a connection with such a
//! translator would carry it, and nothing is opened for it.

use viaduct_topology::{Reason, inventory::AttachmentId, model::Settings};
use viaduct_wire::{Fragment, Frame, L4, protocol};

use super::Engine;
use crate::{
    connection::{Key, Lookup},
    moment::Moment,
    ports::Port,
    reassembly::Outcome,
    scratch::Scratch,
    verdict::{Dropped, Verdict},
    walk::{NAT, Options, Subject, V2N},
};

/// Whether translators carry this protocol in fragments: AWS's only UDP.
const fn is_translated_in_fragments(protocol: u8, settings: &Settings) -> bool {
    protocol == protocol::UDP || settings.forwards_all_fragments()
}

impl Engine {
    /// Takes a fragment, and forwards its datagram if that is whole now.
    #[cold]
    pub(super) fn fragment(
        &self,
        frame: &Frame<'_>,
        fragment: Fragment,
        port: Port,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Verdict {
        if scratch.policy.generation != self.generation() {
            self.refresh(scratch);
        }
        let mut whole = std::mem::take(&mut scratch.whole);
        let Scratch { reassembler, counters, .. } = scratch;
        let verdict = match reassembler.add(frame, fragment, ingress, now, counters, &mut whole) {
            Outcome::Held => Verdict::Held,
            Outcome::Refused { reason, fragments } => {
                counters.dropped(reason, fragments);
                let flow = Some(frame.flow());
                Verdict::Drop(Dropped { reason, ingress, flow, request: None, packets: fragments })
            }
            Outcome::Whole { fragments } => {
                counters.reassembled(fragments);
                self.datagram(&mut whole, port, ingress, now, scratch)
            }
        };
        scratch.whole = whole;
        verdict
    }

    /// Forwards a datagram that was put together.
    fn datagram(
        &self,
        whole: &mut Vec<u8>,
        port: Port,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Verdict {
        let frame = match Frame::parse(whole, port.mtu) {
            Ok(frame) => frame,
            Err(malformed) => return Self::unparsed(malformed, ingress, scratch),
        };
        if !is_translated_in_fragments(frame.protocol(), &scratch.policy.settings)
            && self.is_translated(&frame, port.scope, ingress, now, scratch)
        {
            let (reason, flow) = (Reason::FragmentRestriction, Some(frame.flow()));
            scratch.counters.dropped(reason, 1);
            return Verdict::Drop(Dropped { reason, ingress, flow, request: None, packets: 1 });
        }
        match self.carry(frame, port.scope, ingress, now, scratch) {
            Verdict::Forward { target, length } => {
                debug_assert_eq!(length, whole.len(), "nothing changes a length");
                scratch.frames.exchange(whole);
                Verdict::Split { target }
            }
            verdict => verdict,
        }
    }

    /// Whether a Hyperplane ENI or a NAT gateway translates the connection that this packet, or
    /// what it is an error about, belongs to or would open.
    fn is_translated(
        &self,
        frame: &Frame<'_>,
        scope: u32,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> bool {
        let is_error = matches!(frame.l4(), L4::IcmpError { .. });
        let flow = if is_error {
            // One that quotes nothing usable is about no connection.
            let Some(quoted) = frame.quoted() else { return false };
            quoted.flow.reversed()
        } else {
            frame.flow()
        };
        let found =
            self.connections.lookup(&Key { ingress: scope, flow }, now, |_, _, connection| {
                connection.lender(V2N).or(connection.lender(NAT)).is_some()
            });
        match found {
            Lookup::Hit(translated) => return translated,
            Lookup::Expired(connection) => self.bury(*connection, scratch),
            Lookup::Miss => {}
        }
        // An error opens nothing.
        if is_error {
            return false;
        }
        let subject = Subject::packet(frame.flow(), frame.l4());
        let path = self.walk(ingress, &subject, Options::default(), scratch);
        path.is_ok_and(|path| path.v2n().is_some() || path.nat.is_some())
    }

    /// Makes a packet that is too big for its target into several that are not.
    #[cold]
    pub(super) fn cut(
        mut frame: Frame<'_>,
        target: AttachmentId,
        mtu: u16,
        scratch: &mut Scratch,
    ) -> Verdict {
        let packets = frame.packets();
        if frame.shrink_segments(mtu) {
            scratch.counters.fragmented(packets, frame.packets());
            scratch.counters.forwarded(frame.packets(), frame.bytes());
            return Verdict::Forward { target, length: frame.finish() };
        }
        scratch.cut(frame, mtu);
        let (pieces, bytes) = (scratch.frames.len() as u64, scratch.frames.packet_bytes() as u64);
        scratch.counters.fragmented(packets, pieces);
        scratch.counters.forwarded(pieces, bytes);
        Verdict::Split { target }
    }
}
