//! Datagrams that come in fragments: held until they are whole.
//!
//! # Theory of operation
//!
//! Policy needs ports, and only the first fragment has them. So datagrams are put together before
//! anybody judges them, as Linux does it before connection tracking (`nf_defrag_ipv4`); what comes of
//! one is then a packet like any other. Fragments may come in any order (RFC 4787, REQ-14).
//!
//! A worker has a [`Reassembler`] of its own, without locks: an attachment's queue is read by one
//! worker. Datagrams are told apart by attachment, source, destination, protocol and identification,
//! so that nobody can put a piece into another's datagram, whatever addresses it writes.
//!
//! **What is not put together.** A datagram whose fragments contradict each other is discarded whole:
//! pieces that overlap (RFC 5722 gives the reason: no receiver need agree with us on what such a
//! datagram says), two ends, a piece beyond the end, more than a packet can hold, more pieces than
//! [`FragmentLimits::pieces`], and congestion met by some of a sender that cannot hear of it (RFC
//! 3168, section 5.3). A piece that came before, byte for byte, is ignored: networks do duplicate.
//! Fragments of a discarded datagram that come later begin another, which never gets whole.
//! Impossible fragments (empty, of odd length, over the transport header) do not come this far:
//! [`Frame::parse`] refuses them.
//!
//! **Memory** is taken for the bytes that came, not for those that are announced, and bounded for
//! each attachment and for the worker ([`FragmentLimits`]). Where one more fragment has no room in an
//! attachment's share, that attachment's oldest datagrams go, one after the other; those of others
//! never do. Where the worker has none, the same, and if it has no other datagram, the fragment goes.
//! Whole packets need nothing of it.
//!
//! **Time**: a datagram that is not whole [`FragmentLimits::timeout`] after its first fragment came is
//! discarded. No ICMP error tells (11/1): that is for hosts, and we are none (RFC 1122, section
//! 3.3.2).

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use viaduct_topology::{Reason, inventory::AttachmentId, model::Settings};
use viaduct_wire::{Flow, Fragment, Frame, assemble};

use crate::{counters::WorkerCounters, moment::Moment};

/// How much waits for the rest of its datagram, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Bytes that an attachment's fragments may take. The largest datagram takes less than 80 KiB.
    pub attachment_bytes: usize,
    /// Datagrams of an attachment. They are searched one by one.
    pub attachment_datagrams: usize,
    /// Bytes that a worker's fragments may take.
    pub worker_bytes: usize,
    /// Fragments of a datagram. The largest comes in 119 where the MTU is 576 bytes.
    pub pieces: usize,
    /// How long a datagram waits for its last fragment. RFC 4787 names no time, RFC 6146 at least
    /// 2 s; Linux has 30 s (`ipfrag_time`).
    pub timeout: Duration,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self {
            attachment_bytes: 1 << 20,
            attachment_datagrams: 128,
            worker_bytes: 64 << 20,
            pieces: 128,
            timeout: Duration::from_secs(30),
        }
    }
}

impl FragmentLimits {
    /// The same, with what a topology sets: the share of each attachment, and the time.
    pub(crate) fn set(self, settings: &Settings) -> Self {
        Self {
            attachment_bytes: settings.fragment_bytes as usize,
            attachment_datagrams: settings.fragment_datagrams as usize,
            timeout: Duration::from_secs(settings.fragment_timeout.into()),
            ..self
        }
    }
}

/// What waits for the rest of its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentUsage {
    /// Attachments that have something here.
    pub attachments: usize,
    /// Datagrams.
    pub datagrams: usize,
    /// Fragments that came of them, duplicates included.
    pub fragments: u64,
    /// Bytes that they are charged.
    pub bytes: usize,
}

/// What a datagram is charged besides its fragments: its header, its place in a queue and places for
/// its first pieces, of which more are made at once.
const DATAGRAM_CHARGE: usize = 1024;

/// What a fragment is charged besides its bytes: its place in a vector that may be half empty, and
/// what the allocator needs.
const PIECE_CHARGE: usize = 64;

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waits.
    Held,
    /// It was what was missing: the datagram is there, out of so many fragments.
    Whole { fragments: u64 },
    /// It goes, and what came of its datagram with it: so many fragments together.
    Refused { reason: Reason, fragments: u64 },
}

/// The datagrams that a worker puts together.
#[derive(Debug, Default)]
pub(crate) struct Reassembler {
    limits: FragmentLimits,
    /// No entry is empty.
    attachments: BTreeMap<AttachmentId, Share>,
    bytes: usize,
}

/// The datagrams of an attachment.
#[derive(Debug, Default)]
struct Share {
    /// In the order in which they began, and so in that in which their time is over.
    datagrams: VecDeque<Datagram>,
    bytes: usize,
}

/// What tells the datagrams of an attachment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    identification: u16,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    began: Moment,
    /// What came of it; none overlap.
    pieces: Vec<Piece>,
    /// The first fragment's IP header.
    header: Box<[u8]>,
    /// The bytes of all pieces.
    received: usize,
    /// The length of its payload, once the last fragment has told it.
    length: Option<usize>,
    /// Fragments that came, duplicates included.
    fragments: u64,
    /// The ECN codepoints that came, a bit each.
    ecn: u8,
    charge: usize,
}

/// A fragment's payload. They are ordered by offset.
#[derive(Debug)]
struct Piece {
    offset: u16,
    bytes: Box<[u8]>,
}

impl Reassembler {
    pub(crate) fn new(limits: FragmentLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits from now on. What is beyond them goes with the next fragments.
    pub(crate) fn limit(&mut self, settings: &Settings) {
        self.limits = self.limits.set(settings);
    }

    /// Takes a fragment. If that makes its datagram whole, writes it to `whole`, as a frame. What
    /// has to go for it is counted.
    pub(crate) fn add(
        &mut self,
        frame: &Frame<'_>,
        fragment: Fragment,
        ingress: AttachmentId,
        now: Moment,
        counters: &WorkerCounters,
        whole: &mut Vec<u8>,
    ) -> Outcome {
        let Flow { source, destination, protocol, .. } = frame.flow();
        let key = Key { source, destination, protocol, identification: frame.identification() };
        let outcome = self.put(frame, fragment, key, ingress, now, counters, whole);
        // No entry is empty.
        if self.attachments.get(&ingress).is_some_and(|share| share.datagrams.is_empty()) {
            self.attachments.remove(&ingress);
        }
        outcome
    }

    #[allow(clippy::too_many_arguments)] // one call site, which is `add`
    fn put(
        &mut self,
        frame: &Frame<'_>,
        fragment: Fragment,
        key: Key,
        ingress: AttachmentId,
        now: Moment,
        counters: &WorkerCounters,
        whole: &mut Vec<u8>,
    ) -> Outcome {
        let Self { limits, attachments, bytes } = self;
        let share = attachments.entry(ingress).or_default();
        // Not left to the timers: a datagram must not get whole after its time.
        *bytes -= share.expire(limits.timeout, now, counters);

        let refused = |fragments| Outcome::Refused { reason: Reason::QuotaExceeded, fragments };
        let found = share.find(&key);
        let mut charge = PIECE_CHARGE + frame.payload().len();
        if found.is_none() {
            charge += DATAGRAM_CHARGE;
        }
        let mut at = found.unwrap_or(share.datagrams.len());
        loop {
            let begins = at == share.datagrams.len();
            let fits = share.bytes + charge <= limits.attachment_bytes
                && *bytes + charge <= limits.worker_bytes
                && share.datagrams.len() + usize::from(begins) <= limits.attachment_datagrams;
            if fits {
                break;
            }
            let Some(oldest) = share.datagrams.pop_front() else { return refused(1) };
            share.bytes -= oldest.charge;
            *bytes -= oldest.charge;
            if at == 0 {
                return refused(oldest.fragments + 1);
            }
            counters.dropped(Reason::QuotaExceeded, oldest.fragments);
            at -= 1;
        }
        if at == share.datagrams.len() {
            share.datagrams.push_back(Datagram::new(key, now));
        }

        let datagram = &mut share.datagrams[at];
        datagram.fragments += 1;
        datagram.ecn |= 1 << (frame.tos() & 3);
        let is_whole = match datagram.put(frame, fragment, limits.pieces) {
            Ok(Put::Duplicate) => return Outcome::Held,
            Ok(Put::Taken) => {
                datagram.charge += charge;
                share.bytes += charge;
                *bytes += charge;
                if !datagram.is_whole() {
                    return Outcome::Held;
                }
                true
            }
            Err(Contradiction) => false,
        };
        let Some(datagram) = share.datagrams.remove(at) else { return refused(1) };
        share.bytes -= datagram.charge;
        *bytes -= datagram.charge;
        let fragments = datagram.fragments;
        match is_whole && datagram.write(whole) {
            true => Outcome::Whole { fragments },
            false => Outcome::Refused { reason: Reason::ReassemblyFailed, fragments },
        }
    }

    /// Discards datagrams whose time is over, and counts their fragments.
    pub(crate) fn expire(&mut self, now: Moment, counters: &WorkerCounters) {
        let Self { limits, attachments, bytes } = self;
        attachments.retain(|_, share| {
            *bytes -= share.expire(limits.timeout, now, counters);
            !share.datagrams.is_empty()
        });
        if attachments.is_empty() {
            // An emptied map keeps its root.
            *attachments = BTreeMap::new();
        }
    }

    /// What is held.
    pub(crate) fn usage(&self) -> FragmentUsage {
        let datagrams = || self.attachments.values().flat_map(|share| &share.datagrams);
        FragmentUsage {
            attachments: self.attachments.len(),
            datagrams: datagrams().count(),
            fragments: datagrams().map(|datagram| datagram.fragments).sum(),
            bytes: self.bytes,
        }
    }
}

impl Share {
    fn find(&self, key: &Key) -> Option<usize> {
        self.datagrams.iter().position(|datagram| datagram.key == *key)
    }

    /// Discards what is too old. Returns what it was charged.
    fn expire(&mut self, timeout: Duration, now: Moment, counters: &WorkerCounters) -> usize {
        let before = self.bytes;
        while let Some(oldest) = self.datagrams.front()
            && oldest.began + timeout <= now
        {
            counters.dropped(Reason::ReassemblyTimeout, oldest.fragments);
            self.bytes -= oldest.charge;
            self.datagrams.pop_front();
        }
        before - self.bytes
    }
}

/// What a datagram does with a fragment that it has no quarrel with.
enum Put {
    Taken,
    Duplicate,
}

/// The fragment and what came before it cannot be of one datagram.
struct Contradiction;

impl Datagram {
    fn new(key: Key, now: Moment) -> Self {
        Self {
            key,
            began: now,
            pieces: Vec::new(),
            header: Box::default(),
            received: 0,
            length: None,
            fragments: 0,
            ecn: 0,
            charge: 0,
        }
    }

    fn put(
        &mut self,
        frame: &Frame<'_>,
        fragment: Fragment,
        most: usize,
    ) -> Result<Put, Contradiction> {
        let bytes = frame.payload();
        let start = usize::from(fragment.offset);
        let end = start + bytes.len();
        let at = self.pieces.partition_point(|piece| piece.offset < fragment.offset);
        let next = self.pieces.get(at);
        let is_last = self.length == Some(end);
        if let Some(same) = next
            && same.offset == fragment.offset
            && *same.bytes == *bytes
            && is_last != fragment.more
        {
            return Ok(Put::Duplicate);
        }
        let before = at.checked_sub(1).map_or(0, |before| self.pieces[before].end());
        let overlaps = before > start || next.is_some_and(|next| usize::from(next.offset) < end);
        let contradicts = match (fragment.more, self.length) {
            (true, Some(length)) => end >= length,
            (true, None) => false,
            // A last piece beside which there is one with the same end overlaps it.
            (false, Some(_)) => true,
            (false, None) => at < self.pieces.len(),
        };
        if overlaps || contradicts || self.pieces.len() == most {
            return Err(Contradiction);
        }
        if !fragment.more {
            self.length = Some(end);
        }
        if start == 0 {
            self.header = frame.ip_header().into();
        }
        self.received += bytes.len();
        self.pieces.insert(at, Piece { offset: fragment.offset, bytes: bytes.into() });
        Ok(Put::Taken)
    }

    /// Whether nothing is missing. No pieces overlap and none is beyond the end, so that their
    /// lengths tell.
    fn is_whole(&self) -> bool {
        self.length == Some(self.received)
    }

    /// Writes it as a frame, if it can be one.
    fn write(&self, whole: &mut Vec<u8>) -> bool {
        const NOT_CAPABLE: u8 = 1;
        const CONGESTION_EXPERIENCED: u8 = 1 << 3;

        let congested = self.ecn & CONGESTION_EXPERIENCED != 0;
        if congested && self.ecn & NOT_CAPABLE != 0 {
            return false;
        }
        let pieces = self.pieces.iter().map(|piece| &*piece.bytes);
        whole.clear();
        assemble(&self.header, congested, pieces, whole).is_some()
    }
}

impl Piece {
    fn end(&self) -> usize {
        usize::from(self.offset) + self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
