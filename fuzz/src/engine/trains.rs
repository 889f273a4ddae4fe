//! A second opinion on datagrams in fragments: octet by octet, as RFC 815 describes it and nobody
//! would do it.

use std::time::Duration;

use viaduct_dataplane::{FragmentLimits, Moment};
use viaduct_topology::inventory::AttachmentId;
use viaduct_wire::{Frame, MOST_PIECES, VNET_HEADER_LEN};

use crate::oracle;

/// Limits so low that a history reaches them; bytes are not limited by what it can send.
pub(super) const LIMITS: FragmentLimits = FragmentLimits {
    attachment_bytes: 1 << 20,
    attachment_datagrams: 4,
    worker_bytes: 64 << 20,
    pieces: 16,
    timeout: Duration::from_secs(30),
};

/// What must become of a fragment.
pub(super) enum Expected {
    Held,
    /// Its datagram is discarded: so many fragments of it.
    Failed(u64),
    /// This datagram, behind an empty virtio-net header, is what was sent.
    Whole(Vec<u8>),
}

/// Datagrams that are not whole, in the order in which they began.
pub(super) struct Trains {
    trains: Vec<Train>,
    /// Fragments that one may have.
    pieces: usize,
}

struct Train {
    ingress: AttachmentId,
    /// Addresses, protocol and identification.
    key: ([u8; 8], u8, [u8; 2]),
    began: Moment,
    header: Vec<u8>,
    octets: Vec<Option<u8>>,
    end: Option<usize>,
    pieces: Vec<(u16, bool, Vec<u8>)>,
    fragments: u64,
    codepoints: [bool; 4],
}

impl Default for Trains {
    fn default() -> Self {
        Self { trains: Vec::new(), pieces: LIMITS.pieces }
    }
}

impl Trains {
    /// Takes a fragment. Returns what must become of it, and how many others go for it or had their
    /// time.
    pub(super) fn add(
        &mut self,
        frame: &Frame<'_>,
        ingress: AttachmentId,
        now: Moment,
    ) -> (Expected, u64) {
        let mut gone = self.expire(now, |train| train.ingress == ingress);
        let ip = frame.ip();
        let key = (ip[12..20].try_into().unwrap(), ip[9], ip[4..6].try_into().unwrap());
        let known = |train: &Train| train.ingress == ingress && train.key == key;
        if !self.trains.iter().any(known) {
            let own = self.trains.iter().filter(|train| train.ingress == ingress).count();
            if own == LIMITS.attachment_datagrams {
                let oldest = self.trains.iter().position(|train| train.ingress == ingress).unwrap();
                gone += self.trains.remove(oldest).fragments;
            }
            self.trains.push(Train {
                ingress,
                key,
                began: now,
                header: Vec::new(),
                octets: Vec::new(),
                end: None,
                pieces: Vec::new(),
                fragments: 0,
                codepoints: [false; 4],
            });
        }
        let at = self.trains.iter().position(known).unwrap();
        let train = &mut self.trains[at];
        train.fragments += 1;
        train.codepoints[usize::from(ip[1] & 3)] = true;
        let sound = train.lay(frame, self.pieces);
        let whole = train.end.is_some_and(|end| {
            train.octets.len() == end && train.octets.iter().all(Option::is_some)
        });
        if sound && !whole {
            return (Expected::Held, gone);
        }
        let train = self.trains.remove(at);
        let datagram = if sound { train.datagram() } else { None };
        let expected = datagram.map_or(Expected::Failed(train.fragments), Expected::Whole);
        (expected, gone)
    }

    /// Discards the datagrams whose time is over, of those that are looked at. Returns how many
    /// fragments of them had come.
    fn expire(&mut self, now: Moment, looked_at: impl Fn(&Train) -> bool) -> u64 {
        let mut gone = 0;
        self.trains.retain(|train| {
            let over = looked_at(train) && train.began + LIMITS.timeout <= now;
            gone += if over { train.fragments } else { 0 };
            !over
        });
        gone
    }

    /// Discards all of them whose time is over.
    pub(super) fn expire_all(&mut self, now: Moment) {
        self.expire(now, |_| true);
    }

    /// Fragments that wait.
    pub(super) fn fragments(&self) -> u64 {
        self.trains.iter().map(|train| train.fragments).sum()
    }
}

impl Train {
    /// Lays the fragment's octets where they belong; `false` if they cannot.
    fn lay(&mut self, frame: &Frame<'_>, most: usize) -> bool {
        let fragment = frame.fragment().expect("a fragment");
        let piece = (fragment.offset, fragment.more, frame.payload().to_vec());
        if self.pieces.contains(&piece) {
            return true;
        }
        if self.pieces.len() == most {
            return false;
        }
        let (start, end) = (usize::from(piece.0), usize::from(piece.0) + piece.2.len());
        self.octets.resize(self.octets.len().max(end), None);
        let place = &mut self.octets[start..end];
        if place.iter().any(Option::is_some) {
            return false;
        }
        place.iter_mut().zip(&piece.2).for_each(|(octet, byte)| *octet = Some(*byte));
        if !piece.1 && self.end.replace(end).is_some() {
            return false;
        }
        if start == 0 {
            self.header = frame.ip()[..oracle::header_len(frame.ip())].to_vec();
        }
        let beyond = self.end.is_some_and(|last| self.octets.len() > last);
        let ends_open = piece.1 && self.end == Some(end);
        self.pieces.push(piece);
        !beyond && !ends_open
    }

    fn datagram(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.header.len() + self.octets.len()).ok()?;
        let mut ip = self.header.clone();
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[6..8].fill(0);
        match self.codepoints {
            [true, .., true] => return None,
            [.., true] => ip[1] |= 3,
            _ => {}
        }
        oracle::mend_header(&mut ip);
        ip.extend(self.octets.iter().flatten());
        Some([vec![0; VNET_HEADER_LEN], ip].concat())
    }
}

/// The datagrams that frames make which were written one after the other, each as a frame.
pub(super) fn put_together<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut trains = Trains { trains: Vec::new(), pieces: MOST_PIECES };
    let mut datagrams = Vec::new();
    for frame in frames {
        let mut bytes = frame.to_vec();
        let parsed = Frame::parse(&mut bytes, u16::MAX).expect("what leaves is a packet");
        if parsed.fragment().is_none() {
            datagrams.push(frame.to_vec());
            continue;
        }
        match trains.add(&parsed, AttachmentId(0), Moment::ZERO).0 {
            Expected::Held => {}
            Expected::Whole(datagram) => datagrams.push(datagram),
            Expected::Failed(_) => panic!("fragments that contradict each other left"),
        }
    }
    assert_eq!(trains.fragments(), 0, "a fragment is missing");
    datagrams
}
