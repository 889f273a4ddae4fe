//! Room for connections: so many, and so many of one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who has connections, and how many may have them.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    most_of_one: usize,
    /// How many each address has. INVARIANT: none of them is 0.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// Room for one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    of: IpAddr,
}

impl Room {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Mutex::default() }
    }

    /// Room for a connection from an address, if there is any.
    pub(super) fn seat(self: &Arc<Self>, of: IpAddr) -> Option<Seat> {
        let mut taken = self.taken();
        let all: usize = taken.values().sum();
        let own = taken.get(&of).copied().unwrap_or(0);
        if all >= self.most || own >= self.most_of_one {
            return None;
        }
        taken.insert(of, own + 1);
        Some(Seat { room: Arc::clone(self), of })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        match taken.get_mut(&self.of) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_keeps_others_out_and_what_ends_makes_room() {
        let room = Arc::new(Room::new(3, 2));
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([100, 64, 0, last]));
        let mut seats: Vec<Seat> = (0..2).map(|_| room.seat(one).unwrap()).collect();
        assert!(room.seat(one).is_none(), "it has as many as one may");
        let last = room.seat(two).unwrap();
        assert!(room.seat(three).is_none(), "there are as many as may be");
        drop(last);
        seats.push(room.seat(three).unwrap());
        seats.remove(0);
        assert!(room.seat(one).is_some());
        drop(seats);
        assert!(room.taken().is_empty(), "nothing is remembered of who has gone");
    }
}
