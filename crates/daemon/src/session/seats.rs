//! Who stays connected to a socket when more want to be than can.
//!
//! When every seat is taken and somebody comes, one goes: of those that have not said hello whoever came
//! first, else of those that have attached nothing. Whoever has attached something stays, and if
//! that is everybody the newcomer goes. So nobody is kept out by silence, and none by talk: what
//! keeps a seat is a host, and of those there are as many as the socket is for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, mpsc::WeakUnboundedSender};
use viaduct_tun::Reply;

use crate::registry::{Session, SessionId};

/// The seats of one socket.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

/// Who has one, in the order in which they came.
#[derive(Debug, Default)]
struct Taken {
    silent: BTreeMap<SessionId, Sitter>,
    greeted: BTreeMap<SessionId, Sitter>,
}

#[derive(Debug)]
struct Sitter {
    asked_to_go: Arc<Notify>,
    /// See [`Session`].
    replies: WeakUnboundedSender<Reply>,
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: SessionId,
    asked_to_go: Arc<Notify>,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Gives a session a seat, and has another go if there is no other way. None if there is no way.
    pub(super) fn take(self: &Arc<Self>, session: &Session) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.silent.len() + taken.greeted.len() >= self.most && !taken.free_one() {
            return None;
        }
        let (id, asked_to_go) = (session.id, Arc::new(Notify::new()));
        let replies = session.replies.downgrade();
        taken.silent.insert(id, Sitter { asked_to_go: Arc::clone(&asked_to_go), replies });
        Some(Seat { seats: Arc::clone(self), id, asked_to_go })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Has one go, if one may.
    fn free_one(&mut self) -> bool {
        let silent = self.silent.pop_first().map(|(_, sitter)| sitter);
        let goes = silent.or_else(|| {
            let id = *self.greeted.iter().find(|(_, sitter)| sitter.is_idle())?.0;
            self.greeted.remove(&id)
        });
        goes.map(|sitter| sitter.asked_to_go.notify_one()).is_some()
    }
}

impl Sitter {
    /// Whether its session has attached nothing, nor is about to.
    fn is_idle(&self) -> bool {
        self.replies.strong_count() <= 1
    }
}

impl Seat {
    /// Notes that the session has said hello.
    pub(super) fn greeted(&self) {
        let mut taken = self.seats.taken();
        // Unless it was asked to go.
        if let Some(sitter) = taken.silent.remove(&self.id) {
            taken.greeted.insert(self.id, sitter);
        }
    }

    /// Ready when it has to make room.
    pub(super) async fn asked_to_go(&self) {
        self.asked_to_go.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.silent.remove(&self.id);
        taken.greeted.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// A session with its end of the replies.
    fn session(id: u64) -> (Session, UnboundedReceiver<Reply>) {
        let (replies, unasked) = unbounded_channel();
        (Session { id: SessionId(id), replies }, unasked)
    }

    fn has_to_go(seat: &Seat) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(seat.asked_to_go()).poll(&mut context).is_ready()
    }

    #[test]
    fn the_silent_go_first_then_the_idle_and_those_with_hosts_stay() {
        let seats = Seats::new(3);
        let sessions = [1, 2, 3, 4, 5, 6, 7].map(session);
        let take = |index: usize| seats.take(&sessions[index].0);
        let first = take(0).unwrap();
        first.greeted();
        // An attachment has a session of its own.
        let attachment = sessions[0].0.clone();
        let second = take(1).unwrap();
        second.greeted();
        let third = take(2).unwrap();
        assert!(![&first, &second, &third].into_iter().any(has_to_go));

        let fourth = take(3).unwrap();
        assert!(has_to_go(&third), "it has said nothing");
        fourth.greeted();
        let fifth = take(4).unwrap();
        assert!(has_to_go(&second), "it has attached nothing, and was there before the fourth");
        assert!(!has_to_go(&first) && !has_to_go(&fourth));
        fifth.greeted();
        let others = [sessions[3].0.clone(), sessions[4].0.clone()];
        assert!(take(5).is_none(), "all have hosts");

        drop((fourth, others));
        let sixth = take(5).expect("a seat is free");
        assert!(!has_to_go(&fifth));
        drop(attachment);
        sixth.greeted();
        let _seventh = take(6).unwrap();
        assert!(has_to_go(&first), "its host is detached");
    }

    #[test]
    fn who_was_asked_to_go_has_no_seat_to_keep() {
        let seats = Seats::new(1);
        let sessions = [1, 2].map(session);
        let first = seats.take(&sessions[0].0).unwrap();
        let second = seats.take(&sessions[1].0).unwrap();
        first.greeted();
        drop(first);
        assert!(!has_to_go(&second));
        let taken = seats.taken();
        assert_eq!((taken.silent.len(), taken.greeted.len()), (1, 0));
    }
}
