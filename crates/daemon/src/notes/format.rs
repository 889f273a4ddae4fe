//! What the file looks like.
//!
//! | at | what |
//! |---|---|
//! | 0 | [`Header`]: format, the machine's boot, the engine's time |
//! | 4 KiB | names, one after the other: a number, whether it is a host or an interface, what it is called |
//! | 64 MiB | a record for each slot of the table |
//!
//! What lies between is never written and takes no room. Numbers are in big-endian order. Each of the three
//! begins with a sum over what follows of it; where nothing was written all is zero, which no sum fits.
//! The sum tells what is torn or damaged, not what is forged: the file is its owner's alone.

use std::{fs, net::Ipv4Addr};

use viaduct_dataplane::{
    Memo, Moment, NotResumed, Translator, connection::Timeouts, tcp, walk::Tracking,
};
use viaduct_topology::{ResourceId, inventory::AttachmentId};
use viaduct_wire::Flow;

/// Where names begin.
pub(super) const NAMES_AT: u64 = 4096;

/// Where records begin, and names end.
pub(super) const RECORDS_AT: u64 = 64 << 20;

/// Bytes of a record.
pub(super) const RECORD: usize = 128;

/// Bytes of the header.
pub(super) const HEADER: usize = 64;

/// Bytes of a name's beginning, before the text.
pub(super) const NAME: usize = 11;

/// What tells the file from others, and its format from others.
const MAGIC: [u8; 16] = *b"viaduct notes 1\n";

/// A record as it is in the file.
pub(super) type Record = [u8; RECORD];

/// The record of a slot in which there is nothing.
pub(super) const EMPTY: Record = [0; RECORD];

/// Which time the machine runs since it was last switched on: connections do not outlive that. To be asked
/// before the daemon is confined, which has no such file any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot([u8; 36]);

impl Boot {
    /// This one. All are alike where the kernel does not say: then it is for whoever chose the
    /// directory to have it emptied by a boot, as /run is.
    pub(crate) fn of_this_machine() -> Self {
        let text = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self(text.first_chunk().copied().unwrap_or([0; 36]))
    }

    /// Another one.
    #[cfg(test)]
    pub(super) const fn of(text: [u8; 36]) -> Self {
        Self(text)
    }
}

/// The beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) boot: Boot,
    /// The engine's time when it was last written.
    pub(super) now: Moment,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut put = Put(&mut bytes[4..]);
        put.bytes(&MAGIC);
        put.bytes(&self.boot.0);
        put.bytes(&self.now.as_millis().to_be_bytes());
        seal(bytes)
    }

    /// None if these bytes are no header of this format.
    pub(super) fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut take = Take(unsealed(bytes)?);
        if take.bytes() != MAGIC {
            return None;
        }
        let (boot, now) = (Boot(take.bytes()), u64::from_be_bytes(take.bytes()));
        Some(Self { boot, now: Moment::from_millis(now) })
    }
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Host = 1,
    Interface = 2,
}

/// A name's bytes. None if it is too long.
pub(super) fn name(kind: Kind, number: u32, text: &str) -> Option<Vec<u8>> {
    let length = u16::try_from(text.len()).ok()?;
    let mut bytes = vec![0; NAME + text.len()];
    let mut put = Put(&mut bytes[4..]);
    put.bytes(&number.to_be_bytes());
    put.bytes(&[kind as u8]);
    put.bytes(&length.to_be_bytes());
    put.bytes(text.as_bytes());
    let sum = sum(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

/// How long the text is of which this is the beginning.
pub(super) fn name_length(beginning: &[u8; NAME]) -> usize {
    usize::from(u16::from_be_bytes([beginning[9], beginning[10]]))
}

/// What a name says. None if it is none.
pub(super) fn named(bytes: &[u8]) -> Option<(Kind, u32, &str)> {
    let (beginning, text) = bytes.split_first_chunk::<NAME>()?;
    let (sealed, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_be_bytes(*sealed) != sum(rest) {
        return None;
    }
    let number = u32::from_be_bytes([beginning[4], beginning[5], beginning[6], beginning[7]]);
    let kind = match beginning[8] {
        1 => Kind::Host,
        2 => Kind::Interface,
        _ => return None,
    };
    Some((kind, number, std::str::from_utf8(text).ok()?))
}

// Flags of a record.
const USED: u8 = 1 << 7;
const TRACKED_BY_SOURCE: u8 = 1;
const TRACKED_BY_DESTINATION: u8 = 1 << 1;
const INTERFACE_ENDPOINT: u8 = 1 << 2;
/// The first of three: whether there is a translator.
const TRANSLATED: u8 = 1 << 3;

/// The record of a connection whose interfaces have these numbers.
pub(super) fn record(memo: &Memo, enis: [u32; 3]) -> Record {
    let mut flags = USED;
    for (flag, set) in [
        (TRACKED_BY_SOURCE, memo.tracking.source),
        (TRACKED_BY_DESTINATION, memo.tracking.destination),
        (INTERFACE_ENDPOINT, memo.interface_endpoint),
    ] {
        flags |= if set { flag } else { 0 };
    }
    for (index, translator) in memo.translators.iter().enumerate() {
        flags |= u8::from(translator.is_some()) * (TRANSLATED << index);
    }
    let mut bytes = EMPTY;
    let mut put = Put(&mut bytes[4..]);
    put.bytes(&[flags, memo.request.protocol, memo.ttl_decrement]);
    put.bytes(&memo.mtu.to_be_bytes());
    put.flow(&memo.request);
    put.flow(&memo.arrival);
    put.bytes(&memo.opener.0.to_be_bytes());
    put.bytes(&memo.target.0.to_be_bytes());
    for (eni, translator) in enis.iter().zip(&memo.translators) {
        put.bytes(&eni.to_be_bytes());
        put.bytes(&translator.as_ref().map_or(0, |it| it.port).to_be_bytes());
    }
    put.bytes(&memo.timeouts.established.to_be_bytes());
    put.bytes(&memo.timeouts.opening.to_be_bytes());
    put.bytes(&memo.timeouts.closing.to_be_bytes());
    put.bytes(&memo.tcp.to_bytes());
    put.large(memo.created.as_millis());
    put.large(memo.last_seen.as_millis());
    for count in [memo.sent.0, memo.sent.1, memo.received.0, memo.received.1] {
        put.large(count);
    }
    seal(bytes)
}

/// Why a connection that was noted does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Lost {
    #[error("a damaged record")]
    Damaged,
    #[error(transparent)]
    NotResumed(#[from] NotResumed),
}

/// The connection of a record, given who has which number. None if there is none.
pub(super) fn recorded(
    bytes: &Record,
    host: impl Fn(u32) -> Option<AttachmentId>,
    eni: impl Fn(u32) -> Option<ResourceId>,
) -> Option<Result<Memo, Lost>> {
    if *bytes == EMPTY {
        return None;
    }
    let Some(fields) = unsealed(bytes).filter(|fields| fields[0] & USED != 0) else {
        return Some(Err(Lost::Damaged));
    };
    let mut take = Take(fields);
    let [flags, protocol, ttl_decrement] = take.bytes();
    let mtu = u16::from_be_bytes(take.bytes());
    let (request, arrival) = (take.flow(protocol), take.flow(protocol));
    let [opener, target] = [0; 2].map(|_| u32::from_be_bytes(take.bytes()));
    let translators = [0, 1, 2].map(|index| {
        let (number, port) = (u32::from_be_bytes(take.bytes()), u16::from_be_bytes(take.bytes()));
        (flags & TRANSLATED << index != 0).then_some((number, port))
    });
    let timeouts = Timeouts {
        established: u32::from_be_bytes(take.bytes()),
        opening: u16::from_be_bytes(take.bytes()),
        closing: u16::from_be_bytes(take.bytes()),
    };
    let tcp = tcp::State::from_bytes(&take.bytes());
    let [created, last_seen] = [0; 2].map(|_| Moment::from_millis(take.large()));
    let [sent, received] = [0; 2].map(|_| (take.large(), take.large()));

    let memo = || -> Result<Memo, NotResumed> {
        let host = |number| host(number).ok_or(NotResumed::HostGone);
        let mut memo = Memo {
            opener: host(opener)?,
            target: host(target)?,
            request,
            arrival,
            translators: [const { None }; 3],
            tracking: Tracking {
                source: flags & TRACKED_BY_SOURCE != 0,
                destination: flags & TRACKED_BY_DESTINATION != 0,
            },
            interface_endpoint: flags & INTERFACE_ENDPOINT != 0,
            ttl_decrement,
            mtu,
            timeouts,
            tcp,
            sent,
            received,
            created,
            last_seen,
        };
        for (place, translator) in memo.translators.iter_mut().zip(translators) {
            if let Some((number, port)) = translator {
                let eni = eni(number).ok_or(NotResumed::InterfaceGone)?;
                *place = Some(Translator { eni, port });
            }
        }
        Ok(memo)
    };
    Some(memo().map_err(Lost::from))
}

/// A record's sum: what tells it from another.
pub(super) fn sum_of(record: &Record) -> u32 {
    let [a, b, c, d, ..] = *record;
    u32::from_be_bytes([a, b, c, d])
}

fn seal<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let sum = sum(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What the sum is of, if it is.
fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (sealed, rest) = bytes.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*sealed) == sum(rest)).then_some(rest)
}

/// A sum that each bit has a part in; never 0.
fn sum(bytes: &[u8]) -> u32 {
    // The constants of splitmix64, a permutation of 64 bits, over one word after the other.
    let mix = |sum: u64, word: &[u8]| {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        let mut z = (sum ^ u64::from_be_bytes(padded)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let sum = bytes.chunks(8).fold(bytes.len() as u64, mix);
    ((sum >> 32) as u32 ^ sum as u32).max(1)
}

/// Writes one field after the other.
struct Put<'a>(&'a mut [u8]);

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let (field, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        field.copy_from_slice(bytes);
        self.0 = rest;
    }

    /// A number of 48 bits: more is as much as that.
    fn large(&mut self, number: u64) {
        self.bytes(&number.min((1 << 48) - 1).to_be_bytes()[2..]);
    }

    fn flow(&mut self, flow: &Flow) {
        self.bytes(&flow.source.octets());
        self.bytes(&flow.destination.octets());
        self.bytes(&flow.source_port.to_be_bytes());
        self.bytes(&flow.destination_port.to_be_bytes());
    }
}

/// Reads one field after the other; zeros behind the last.
struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn large(&mut self) -> u64 {
        let [a, b, c, d, e, f] = self.bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn flow(&mut self, protocol: u8) -> Flow {
        let [source, destination] = [0; 2].map(|_| Ipv4Addr::from(self.bytes::<4>()));
        let [source_port, destination_port] = [0; 2].map(|_| u16::from_be_bytes(self.bytes()));
        Flow { protocol, source, destination, source_port, destination_port }
    }
}
