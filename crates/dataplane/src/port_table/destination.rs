//! The ports that are in use towards one destination.
//!
//! Most destinations see a handful of connections, a few see tens of thousands: the set begins
//! inside its entry, moves to a short list, and ends as a bitmap. It shrinks again well below the
//! size at which it grew, so that nobody can leave a bitmap behind with a single connection in it.

use std::net::Ipv4Addr;

use super::bitmap::Bitmap;

const INLINE: usize = 6;
const LIST: usize = 128;
/// A bitmap with no more members than this becomes a list again.
const SHRINK: u32 = 32;

/// A destination and the ports in use towards it, as offsets into the table's range.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) to: (Ipv4Addr, u16),
    used: Used,
}

#[derive(Debug)]
enum Used {
    Inline {
        len: u8,
        ports: [u16; INLINE],
    },
    List(Box<List>),
    /// The members are the ports that are *not* in use: that is what is searched for.
    Map(Box<Map>),
}

#[derive(Debug)]
struct List {
    len: u16,
    ports: [u16; LIST],
}

#[derive(Debug)]
struct Map {
    used: u32,
    unused: Bitmap,
}

impl Destination {
    pub(super) fn new(to: (Ipv4Addr, u16)) -> Self {
        Self { to, used: Used::Inline { len: 0, ports: [0; INLINE] } }
    }

    /// How many ports are in use.
    pub(super) fn len(&self) -> u32 {
        match &self.used {
            Used::Inline { len, .. } => u32::from(*len),
            Used::List(list) => u32::from(list.len),
            Used::Map(map) => map.used,
        }
    }

    /// Notes that `port` is in use; it must not be yet. `size` is the number of ports in the range.
    pub(super) fn insert(&mut self, port: u16, size: u32) {
        match &mut self.used {
            Used::Inline { len, ports } => {
                if usize::from(*len) < INLINE {
                    ports[usize::from(*len)] = port;
                    *len += 1;
                    return;
                }
                self.used = Used::List(Box::new(List::of(ports)));
            }
            Used::List(list) => {
                if usize::from(list.len) < LIST {
                    list.push(port);
                    return;
                }
                self.used = Used::Map(Box::new(Map::of(&list.ports, size)));
            }
            Used::Map(map) => {
                map.unused.remove(u32::from(port));
                map.used += 1;
                return;
            }
        }
        self.insert(port, size);
    }

    /// Notes that `port` is no longer in use; whether it was.
    pub(super) fn remove(&mut self, port: u16) -> bool {
        match &mut self.used {
            Used::Inline { len, ports } => {
                let used = &ports[..usize::from(*len)];
                let Some(found) = used.iter().position(|&used| used == port) else { return false };
                ports[found] = ports[usize::from(*len) - 1];
                *len -= 1;
                true
            }
            Used::List(list) => {
                let Some(found) = list.used().iter().position(|&used| used == port) else {
                    return false;
                };
                list.ports[found] = list.ports[usize::from(list.len) - 1];
                list.len -= 1;
                if usize::from(list.len) < INLINE {
                    let mut ports = [0; INLINE];
                    ports[..list.used().len()].copy_from_slice(list.used());
                    self.used = Used::Inline { len: list.len as u8, ports };
                }
                true
            }
            Used::Map(map) => {
                if map.unused.contains(u32::from(port)) {
                    return false;
                }
                map.unused.insert(u32::from(port));
                map.used -= 1;
                if map.used <= SHRINK {
                    self.used = Used::List(Box::new(map.list()));
                }
                true
            }
        }
    }

    /// Whether a port is in use.
    pub(super) fn uses(&self, port: u16) -> bool {
        match &self.used {
            Used::Inline { len, ports } => ports[..usize::from(*len)].contains(&port),
            Used::List(list) => list.used().contains(&port),
            Used::Map(map) => !map.unused.contains(u32::from(port)),
        }
    }

    /// A port that is not in use, the first from `start` on, going round a range of `size`.
    pub(super) fn unused(&self, start: u32, size: u32) -> Option<u32> {
        let used = match &self.used {
            Used::Inline { len, ports } => &ports[..usize::from(*len)],
            Used::List(list) => list.used(),
            Used::Map(map) => return map.unused.at_or_after(start),
        };
        // One of any `used.len() + 1` ports is unused, so this ends within 129 looks.
        (start..size).chain(0..start).find(|&port| !used.contains(&(port as u16)))
    }

    /// Calls `f` with each port in use.
    pub(super) fn for_each(&self, mut f: impl FnMut(u16)) {
        match &self.used {
            Used::Inline { len, ports } => {
                ports[..usize::from(*len)].iter().for_each(|&port| f(port));
            }
            Used::List(list) => list.used().iter().for_each(|&port| f(port)),
            Used::Map(map) => map.unused.for_each_missing(|port| f(port as u16)),
        }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.used {
            Used::Inline { .. } => 0,
            Used::List(_) => size_of::<List>(),
            Used::Map(map) => size_of::<Map>() + map.unused.memory(),
        }
    }
}

impl List {
    fn of(ports: &[u16]) -> Self {
        let mut list = Self { len: 0, ports: [0; LIST] };
        ports.iter().for_each(|&port| list.push(port));
        list
    }

    fn push(&mut self, port: u16) {
        self.ports[usize::from(self.len)] = port;
        self.len += 1;
    }

    fn used(&self) -> &[u16] {
        &self.ports[..usize::from(self.len)]
    }
}

impl Map {
    fn of(ports: &[u16], size: u32) -> Self {
        let mut unused = Bitmap::full(size);
        ports.iter().for_each(|&port| unused.remove(u32::from(port)));
        Self { used: ports.len() as u32, unused }
    }

    fn list(&self) -> List {
        let mut list = List::of(&[]);
        self.unused.for_each_missing(|port| list.push(port as u16));
        list
    }
}

// An entry for each destination: with one connection each, this is what a connection pays here.
const _: () = assert!(size_of::<Destination>() <= 24);
