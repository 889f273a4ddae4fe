//! The holder's thread: one connection, every queue, all waiting.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Status;
use crate::{
    Client, Device, Error, HandoverError, Offer, Plan, Reply, Request,
    handover::{DetachReason, PROTOCOL_VERSION, RefusalReason, Token},
};

/// Between attempts to reach the daemon. Each wait is an eighth longer, so that it is an eighth of the
/// time for which the daemon was away: one that is started anew at once is found at once, and connections
/// hardly stand still.
const RECONNECT: Waits =
    Waits { first: Duration::from_millis(10), longest: Duration::from_secs(1), grow_by: 8 };

/// Between offers of a queue that was refused. Each wait is twice as long.
const REOFFER: Waits =
    Waits { first: Duration::from_millis(250), longest: Duration::from_secs(5), grow_by: 1 };

/// What callers ask of the thread.
pub(super) enum Command {
    Describe { name: String, token: Option<Token>, answer: mpsc::Sender<Result<Plan, Error>> },
    Hold { offer: Offer, device: Device, answer: mpsc::Sender<Result<u64, (Error, Device)>> },
    Detach { name: String, answer: mpsc::Sender<Option<Device>> },
    Statuses { answer: mpsc::Sender<Vec<(String, Status)>> },
    Stop,
}

/// A queue in our keeping.
struct Held {
    offer: Offer,
    device: Device,
    status: Status,
    /// Who waits for the first answer. Once it was good, nobody does.
    first: Option<mpsc::Sender<Result<u64, (Error, Device)>>>,
    /// When to offer it again, if it was refused.
    retry: Option<Instant>,
    backoff: Backoff,
}

/// A question about an attachment that is not answered.
#[derive(Default)]
struct Describing {
    /// The token that was given last.
    token: Option<Token>,
    /// Who waits.
    answers: Vec<mpsc::Sender<Result<Plan, Error>>>,
}

/// A request, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Describe,
    Offer,
    Withdraw,
}

pub(super) struct Keeper {
    socket: PathBuf,
    wake: Arc<OwnedFd>,
    inbox: mpsc::Receiver<Command>,
    client: Option<Client>,
    /// When to connect next, while there is no connection.
    reconnect: Instant,
    backoff: Backoff,
    held: BTreeMap<String, Held>,
    describing: HashMap<String, Describing>,
    /// What is still to be sent on this connection.
    outbox: VecDeque<(Kind, String)>,
    /// What was sent and not answered on this connection, for each attachment in order.
    asked: HashMap<String, VecDeque<Kind>>,
}

impl Keeper {
    pub(super) fn new(socket: PathBuf, wake: Arc<OwnedFd>, inbox: mpsc::Receiver<Command>) -> Self {
        Self {
            socket,
            wake,
            inbox,
            client: None,
            reconnect: Instant::now(),
            backoff: Backoff::new(RECONNECT),
            held: BTreeMap::new(),
            describing: HashMap::new(),
            outbox: VecDeque::new(),
            asked: HashMap::new(),
        }
    }

    /// Works until told to stop; returns the devices, for their owner to let go.
    pub(super) fn run(mut self) -> Vec<Device> {
        loop {
            let now = Instant::now();
            self.connect(now);
            self.reoffer(now);
            if let Err(error) = self.flush() {
                self.disconnect(&error);
                continue;
            }
            self.sleep();
            if !self.obey() {
                return self.held.into_values().map(|held| held.device).collect();
            }
            if let Err(error) = self.listen() {
                self.disconnect(&error);
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        if self.client.is_some() || now < self.reconnect {
            return;
        }
        let hello = Request::Hello { version: PROTOCOL_VERSION };
        let client = match Client::connect(&self.socket) {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "no daemon yet");
                self.reconnect = now + self.backoff.next();
                return;
            }
        };
        match client.try_send(&hello, None) {
            Ok(true) => {}
            answer => {
                tracing::debug!(?answer, "the daemon does not take a greeting");
                self.reconnect = now + self.backoff.next();
                return;
            }
        }
        self.client = Some(client);
        for name in self.describing.keys() {
            self.outbox.push_back((Kind::Describe, name.clone()));
        }
        for (name, held) in &mut self.held {
            if !matches!(held.status, Status::Lost { .. }) {
                held.retry = None;
                self.outbox.push_back((Kind::Offer, name.clone()));
            }
        }
    }

    fn disconnect(&mut self, error: &HandoverError) {
        if !self.held.is_empty() {
            tracing::warn!(%error, queues = self.held.len(), "lost the daemon; holding the queues");
        }
        self.client = None;
        self.outbox.clear();
        self.asked.clear();
        self.reconnect = Instant::now() + self.backoff.next();
        for held in self.held.values_mut() {
            if !matches!(held.status, Status::Lost { .. }) {
                held.status = Status::Waiting;
            }
        }
    }

    /// Offers again what was refused and is due.
    fn reoffer(&mut self, now: Instant) {
        if self.client.is_none() {
            return;
        }
        for (name, held) in &mut self.held {
            if held.retry.is_some_and(|due| due <= now) {
                held.retry = None;
                self.outbox.push_back((Kind::Offer, name.clone()));
            }
        }
    }

    /// Sends what there is room for.
    fn flush(&mut self) -> Result<(), HandoverError> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        while let Some((kind, name)) = self.outbox.front() {
            let (request, queue) = match kind {
                Kind::Describe => {
                    let token = self.describing.get(name).and_then(|it| it.token.clone());
                    (Request::Describe { name: name.clone(), token }, None)
                }
                Kind::Withdraw => (Request::Withdraw { name: name.clone() }, None),
                Kind::Offer => match self.held.get(name) {
                    Some(held) => (Request::Offer(held.offer.clone()), Some(held.device.as_fd())),
                    // Detached before its offer left.
                    None => {
                        self.outbox.pop_front();
                        continue;
                    }
                },
            };
            if !client.try_send(&request, queue)? {
                return Ok(());
            }
            if let Some((kind, name)) = self.outbox.pop_front() {
                self.asked.entry(name).or_default().push_back(kind);
            }
        }
        Ok(())
    }

    /// Waits for a command, a reply, room to send, or the next thing due.
    fn sleep(&self) {
        let mut due = self.held.values().filter_map(|held| held.retry).min();
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        match &self.client {
            Some(client) => {
                let mut events = PollFlags::IN;
                if !self.outbox.is_empty() {
                    events |= PollFlags::OUT;
                }
                fds.push(PollFd::new(client, events));
            }
            None => due = Some(self.reconnect),
        }
        let left = due
            .and_then(|due| Timespec::try_from(due.saturating_duration_since(Instant::now())).ok());
        // Any error is a reason to look around, as any event is.
        let _ = poll(&mut fds, left.as_ref());
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
    }

    /// Follows the commands that wait. False: stop.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Describe { name, token, answer }) => {
                    self.say(Kind::Describe, &name);
                    let describing = self.describing.entry(name).or_default();
                    describing.token = token;
                    describing.answers.push(answer);
                }
                Ok(Command::Hold { offer, device, answer }) => self.hold(offer, device, answer),
                Ok(Command::Detach { name, answer }) => {
                    let device = self.held.remove(&name).map(|held| {
                        self.say(Kind::Withdraw, &name);
                        held.device
                    });
                    // A caller who gave up has no use for the answer; the device goes here.
                    let _ = answer.send(device);
                }
                Ok(Command::Statuses { answer }) => {
                    let statuses = self.held.iter();
                    let _ = answer.send(
                        statuses.map(|(name, held)| (name.clone(), held.status.clone())).collect(),
                    );
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn hold(
        &mut self,
        offer: Offer,
        device: Device,
        answer: mpsc::Sender<Result<u64, (Error, Device)>>,
    ) {
        if self.held.contains_key(&offer.name) {
            let error = Error::Refused {
                name: offer.name,
                reason: RefusalReason::AlreadyAttached,
                message: "this holder has a queue of that name already".to_owned(),
            };
            let _ = answer.send(Err((error, device)));
            return;
        }
        self.say(Kind::Offer, &offer.name);
        let held = Held {
            device,
            status: Status::Waiting,
            first: Some(answer),
            retry: None,
            backoff: Backoff::new(REOFFER),
            offer: offer.clone(),
        };
        self.held.insert(offer.name, held);
    }

    /// Has something sent, if there is a connection; a new one sends what is needed by itself.
    fn say(&mut self, kind: Kind, name: &str) {
        if self.client.is_some() {
            self.outbox.push_back((kind, name.to_owned()));
        }
    }

    /// Follows the replies that wait.
    fn listen(&mut self) -> Result<(), HandoverError> {
        while let Some(client) = &self.client {
            let Some(reply) = client.try_recv()? else {
                break;
            };
            self.backoff = Backoff::new(RECONNECT);
            self.hear(reply)?;
        }
        Ok(())
    }

    fn hear(&mut self, reply: Reply) -> Result<(), HandoverError> {
        match reply {
            Reply::Plan(plan) => {
                self.answered(&plan.name);
                for answer in self.described(&plan.name) {
                    let _ = answer.send(Ok(plan.clone()));
                }
            }
            Reply::Attached { name, queue_id } => {
                self.answered(&name);
                if let Some(held) = self.held.get_mut(&name) {
                    held.status = Status::Attached { queue_id };
                    held.backoff = Backoff::new(REOFFER);
                    match held.first.take() {
                        Some(answer) => drop(answer.send(Ok(queue_id))),
                        None => tracing::info!(name, queue_id, "attached again"),
                    }
                }
            }
            Reply::Refused { name: Some(name), reason, message } => {
                self.refused(name, reason, message);
            }
            Reply::Refused { name: None, reason, message } => {
                tracing::warn!(?reason, message, "the daemon refused this connection");
                // A crowd passes, and whoever waits has patience.
                if reason != RefusalReason::TooMany {
                    self.fail_waiting(reason, &message);
                }
                // Its cause does not go away quickly; neither is it for us to say never.
                self.backoff.exhaust();
                return Err(HandoverError::Closed);
            }
            Reply::Detached { name, reason } => self.detached(&name, reason),
        }
        Ok(())
    }

    fn refused(&mut self, name: String, reason: RefusalReason, message: String) {
        match self.answered(&name) {
            Some(Kind::Describe) => {
                for answer in self.described(&name) {
                    let _ = answer.send(Err(Error::Refused {
                        name: name.clone(),
                        reason,
                        message: message.clone(),
                    }));
                }
            }
            Some(Kind::Offer) => {
                let Some(held) = self.held.get_mut(&name) else {
                    return;
                };
                if held.first.is_none() {
                    tracing::warn!(name, ?reason, message, "refused; holding the queue");
                    held.status = Status::Waiting;
                    held.retry = Some(Instant::now() + held.backoff.next());
                } else if let Some(Held { device, first: Some(answer), .. }) =
                    self.held.remove(&name)
                {
                    let error = Error::Refused { name, reason, message };
                    let _ = answer.send(Err((error, device)));
                }
            }
            Some(Kind::Withdraw) | None => {
                tracing::debug!(name, ?reason, message, "refused");
            }
        }
    }

    fn detached(&mut self, name: &str, reason: DetachReason) {
        if reason == DetachReason::Withdrawn {
            self.answered(name);
            return;
        }
        let Some(held) = self.held.get_mut(name) else {
            return;
        };
        tracing::warn!(name, %reason, "detached");
        match reason {
            DetachReason::Replaced | DetachReason::QueueGone | DetachReason::Changed => {
                held.status = Status::Lost { reason };
                held.retry = None;
            }
            DetachReason::Removed | DetachReason::Shutdown | DetachReason::Withdrawn => {
                held.status = Status::Waiting;
                held.retry = Some(Instant::now() + held.backoff.next());
            }
        }
    }

    /// Who waits for an answer to the question about `name`.
    fn described(&mut self, name: &str) -> Vec<mpsc::Sender<Result<Plan, Error>>> {
        self.describing.remove(name).unwrap_or_default().answers
    }

    /// What the reply about `name` that just came answers.
    fn answered(&mut self, name: &str) -> Option<Kind> {
        let asked = self.asked.get_mut(name)?;
        let kind = asked.pop_front();
        if asked.is_empty() {
            self.asked.remove(name);
        }
        kind
    }

    /// Tells everybody who waits for a first answer that there will be none.
    fn fail_waiting(&mut self, reason: RefusalReason, message: &str) {
        let error = |name: &str| Error::Refused {
            name: name.to_owned(),
            reason,
            message: message.to_owned(),
        };
        for (name, describing) in self.describing.drain() {
            for answer in describing.answers {
                let _ = answer.send(Err(error(&name)));
            }
        }
        for (name, held) in self.held.extract_if(.., |_, held| held.first.is_some()) {
            if let Some(answer) = held.first {
                let _ = answer.send(Err((error(&name), held.device)));
            }
        }
    }
}

/// How waits grow.
#[derive(Clone, Copy, Debug)]
struct Waits {
    first: Duration,
    longest: Duration,
    /// Each is longer than the one before by this part of it.
    grow_by: u32,
}

/// Waits that grow up to a bound.
struct Backoff {
    wait: Duration,
    longest: Duration,
    grow_by: u32,
}

impl Backoff {
    fn new(Waits { first, longest, grow_by }: Waits) -> Self {
        Self { wait: first, longest, grow_by }
    }

    fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait + wait / self.grow_by).min(self.longest);
        wait
    }

    fn exhaust(&mut self) {
        self.wait = self.longest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound() {
        let mut backoff = Backoff::new(REOFFER);
        let waits: Vec<_> = (0..6).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000]);

        let mut backoff = Backoff::new(RECONNECT);
        let mut away = Duration::ZERO;
        loop {
            let wait = backoff.next();
            if wait == RECONNECT.longest {
                break;
            }
            assert!(wait <= RECONNECT.first + away / 8, "{wait:?} after {away:?}");
            away += wait;
        }
        assert!(away > Duration::from_secs(7), "{away:?}");
    }
}
