//! The attachments: which hosts there can be, and what is attached now.
//!
//! # Theory of operation
//!
//! There can be the hosts of the network in force, and the environments of functions that come and go
//! ([`environments`](crate::environments)).
//!
//! An attachment is detached, attached or reconnecting. It is attached by an offer on a session (a
//! connection to `attach.sock`), and lives as long as that session. When the session ends, the
//! attachment reconnects for [`Options::grace`](crate::Options::grace): its queue stays in use, so
//! that packets in flight arrive, and an offer on any session takes it over. Then it is detached.
//!
//! | from | by | to |
//! |---|---|---|
//! | detached, reconnecting | offer | attached |
//! | attached | offer on the same session | attached, with the new queue |
//! | attached | offer on another session | refused |
//! | attached | end of the session | reconnecting |
//! | attached, reconnecting | withdrawal, queue gone, settings that cannot be restored | detached |
//! | reconnecting | end of the grace | detached |
//! | attached, reconnecting | a reload that removes the host or gives it another address, the end of its environment | detached |
//!
//! An attachment comes up in three steps: every worker learns to write to it, the engine is told that
//! it is there, one worker begins to read it. In any other order the answer to its first packet could
//! meet a worker that does not know it yet. It goes down the other way round.
//!
//! A queue that another session has attached for another host is refused, as far as the kernel says which
//! descriptors are of one file ([`Queue::is_one_with`]). That is a question for each attachment, some 0.3 µs,
//! so a session is not asked about its own, of which an agent has ten thousand. Where a queue is attached
//! twice its packets come in at either host, and both are whosever device it is.
//!
//! An offer can meet a reload that removes its host, or the end of its environment. Each first writes
//! and then looks, the offer to the map and then at the hosts, whoever removes the host the other way
//! round, so that one of them sees the other.
//!
//! No guard of the map is held across an `await`.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dashmap::{DashMap, Entry};
use tokio::{sync::mpsc, task::JoinSet};
use viaduct_control_plane::{HostPlan, lifecycle::Time};
use viaduct_dataplane::Engine;
use viaduct_topology::inventory::AttachmentId;
use viaduct_tun::{
    DeviceKind, Queue, Reply,
    handover::{DetachReason, RefusalReason},
};

use crate::{
    fleet::Ports,
    hosts::Hosts,
    network::{Network, set_up_alike},
    refusal::Refusal,
    worker::Port,
};

/// The smallest MTU that is believed: every host must take datagrams of this size (RFC 791).
const SMALLEST_MTU: u16 = 576;

/// One connection to `attach.sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// A session, for replies that nobody asked for.
///
/// INVARIANT: its conversation has one, and so has each of its attachments. Whoever counts the senders
/// of its channel knows whether it has attached something.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) replies: mpsc::UnboundedSender<Reply>,
}

/// A queue that is held for a host, and not in use yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Claim {
    /// How the host is set up.
    host: HostPlan,
    port: Arc<Port>,
    /// The queue that it takes the place of.
    replaced: Option<Arc<Port>>,
}

/// All attachments.
#[derive(Debug)]
pub(crate) struct Registry {
    engine: Arc<Engine>,
    ports: Ports,
    hosts: RwLock<Hosts>,
    /// The kind of device whose queues are taken.
    device: DeviceKind,
    /// What is attached or reconnecting; the others are detached.
    held: DashMap<AttachmentId, Held>,
    /// Locked from the look whether a queue is held by another to its being held.
    holding: Mutex<()>,
    next_serial: AtomicU64,
}

/// A port in use and who gave it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) port: Arc<Port>,
    /// Whether packets flow to it.
    pub(crate) up: bool,
    /// What the session calls the attachment: it may have left out an environment's number.
    called: String,
    /// None: the session has ended, and the grace runs.
    session: Option<Session>,
}

impl Held {
    /// Whether its session has ended.
    pub(crate) fn is_reconnecting(&self) -> bool {
        self.session.is_none()
    }

    fn may_be_replaced(&self, name: &str, by: SessionId) -> Result<(), Refusal> {
        match &self.session {
            Some(holder) if holder.id != by => {
                let message = format!("`{name}` is attached by another process: end that first");
                Err(Refusal::new(RefusalReason::AlreadyAttached, message))
            }
            _ => Ok(()),
        }
    }
}

impl Held {
    /// Tells whoever holds it that it is over.
    fn tell(&self, reason: DetachReason) {
        if let Some(session) = &self.session {
            let detached = Reply::Detached { name: self.called.clone(), reason };
            // A session that is just ending needs no news.
            let _ = session.replies.send(detached);
        }
    }
}

impl Registry {
    pub(crate) fn new(
        engine: Arc<Engine>,
        ports: Ports,
        network: Network,
        device: DeviceKind,
    ) -> Self {
        Self {
            engine,
            ports,
            hosts: RwLock::new(Hosts::of(network)),
            device,
            held: DashMap::new(),
            holding: Mutex::default(),
            next_serial: AtomicU64::new(1),
        }
    }

    /// The kind of device whose queues are taken.
    pub(crate) fn device(&self) -> DeviceKind {
        self.device
    }

    /// The network in force.
    pub(crate) fn network(&self) -> Arc<Network> {
        Arc::clone(&self.hosts().network)
    }

    /// The hosts that there can be, to be read; nothing may wait meanwhile.
    pub(crate) fn hosts(&self) -> RwLockReadGuard<'_, Hosts> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to be changed: what there is, only by whoever has the turn to change something.
    pub(crate) fn hosts_mut(&self) -> RwLockWriteGuard<'_, Hosts> {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an attachment is called; its number, if there is none any more.
    pub(crate) fn name(&self, id: AttachmentId) -> String {
        self.hosts().name(id)
    }

    /// What is attached there, or reconnecting.
    pub(crate) fn held(&self, id: AttachmentId) -> Option<Held> {
        self.held.get(&id).map(|held| held.clone())
    }

    /// Whether something is attached there, or reconnecting.
    pub(crate) fn is_held(&self, id: AttachmentId) -> bool {
        self.held.contains_key(&id)
    }

    /// How many are attached or reconnecting.
    pub(crate) fn held_hosts(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// How many are attached and reached by packets.
    pub(crate) fn attached(&self) -> usize {
        self.held.iter().filter(|held| held.up && !held.is_reconnecting()).count()
    }

    /// Takes the queue of a host from a session: checks what it is and sets it up. What is refused is
    /// closed here.
    ///
    /// Waits for the kernel's RTNL lock, and for as long as whoever sent the descriptor likes.
    pub(crate) fn hold(
        &self,
        name: String,
        mtu: u16,
        queue: OwnedFd,
        session: Session,
    ) -> Result<Claim, Refusal> {
        let (id, host) = self.hosts().find(&name)?;
        if mtu < SMALLEST_MTU {
            let message = format!("`{name}`: an MTU of {mtu} is below {SMALLEST_MTU}");
            return Err(Refusal::new(RefusalReason::BadMessage, message));
        }
        if let Some(held) = self.held.get(&id) {
            held.may_be_replaced(&name, session.id)?;
        }
        let queue = Queue::adopt(queue, self.device)
            .map_err(|error| Refusal::new(RefusalReason::BadQueue, format!("`{name}`: {error}")))?;
        let (serial, by) = (self.next_serial.fetch_add(1, Relaxed), session.id);
        let port = Arc::new(Port::new(id, serial, queue, mtu));
        // Of two offers of one queue at the same time the later sees the other.
        let _one_at_a_time = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = self.other_host_of(&port, by) {
            let other = self.name(other);
            let message = format!(
                "`{name}`: this queue is attached as `{other}` already; each host has a device of its own"
            );
            return Err(Refusal::new(RefusalReason::BadQueue, message));
        }
        let held = Held {
            port: Arc::clone(&port),
            up: false,
            called: name.clone(),
            session: Some(session),
        };
        let replaced = match self.held.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(held);
                None
            }
            Entry::Occupied(mut old) => {
                old.get().may_be_replaced(&name, by)?;
                Some(old.insert(held).port)
            }
        };
        Ok(Claim { host, port, replaced })
    }

    /// The other host, if there is one, where another session has attached the queue of this port.
    fn other_host_of(&self, port: &Port, by: SessionId) -> Option<AttachmentId> {
        let its_own = |held: &Held| held.session.as_ref().is_some_and(|of| of.id == by);
        let one_with = |held: &Held| held.port.queue.is_one_with(&port.queue) == Some(true);
        let mut others = self.held.iter().filter(|held| *held.key() != port.attachment);
        others.find(|held| !its_own(held) && one_with(held)).map(|held| *held.key())
    }

    /// Attaches what is held. Returns its number when packets flow.
    pub(crate) async fn attach(&self, name: &str, claim: Claim) -> Result<u64, Refusal> {
        let Claim { host, port, replaced } = claim;
        let (id, serial) = (port.attachment, port.serial);
        // Or a reload has passed, and did not find it there yet.
        let stands = self.hosts().host(id).is_some_and(|now| set_up_alike(&now, &host));
        if !stands {
            self.held.remove_if(&id, |_, held| held.port.serial == serial);
            if let Some(replaced) = replaced {
                self.engine.detached(id);
                self.ports.detach(replaced).await;
            }
            self.ports.detach(port).await;
            let message = format!("the network has changed, and `{name}` with it: attach it anew");
            return Err(Refusal::new(RefusalReason::UnknownAttachment, message));
        }
        self.ports.attach(Arc::clone(&port), replaced).await;
        self.engine.attached(id, port.mtu);
        self.ports.read(Arc::clone(&port)).await;
        // The queue may have gone in the meantime, or the host from the topology.
        let ours = self.held.get_mut(&id).is_some_and(|mut held| {
            let ours = held.port.serial == serial;
            held.up |= ours;
            ours
        });
        if ours {
            return Ok(serial);
        }
        // Whoever ended it may have told the workers before they were told of it at all.
        if !self.held.contains_key(&id) {
            self.engine.detached(id);
        }
        self.ports.detach(port).await;
        let message = format!("`{name}`: its device, or its host, went away at once");
        Err(Refusal::new(RefusalReason::BadQueue, message))
    }

    /// Ends an attachment that this session holds.
    pub(crate) async fn withdraw(&self, name: &str, session: &Session) -> Result<(), Refusal> {
        let (id, _) = self.hosts().find(name)?;
        let ours = |held: &Held| held.session.as_ref().is_some_and(|of| of.id == session.id);
        match self.held.remove_if(&id, |_, held| ours(held)) {
            Some((_, held)) => {
                self.detach(held).await;
                Ok(())
            }
            None => {
                let message = format!("`{name}` is not attached by this process");
                Err(Refusal::new(RefusalReason::NotAllowed, message))
            }
        }
    }

    /// Notes that a session has ended. Returns the ports whose grace begins.
    pub(crate) fn session_ended(&self, session: SessionId) -> Vec<Arc<Port>> {
        let mut left = Vec::new();
        for mut held in self.held.iter_mut() {
            if held.session.as_ref().is_some_and(|of| of.id == session) {
                held.session = None;
                left.push(Arc::clone(&held.port));
            }
        }
        left
    }

    /// Ends an attachment whose grace is over, unless somebody came back.
    pub(crate) async fn grace_ended(&self, port: &Port) -> bool {
        let over = |held: &Held| held.is_reconnecting() && held.port.serial == port.serial;
        match self.held.remove_if(&port.attachment, |_, held| over(held)) {
            Some((_, held)) => {
                self.detach(held).await;
                true
            }
            None => false,
        }
    }

    /// Ends the attachment of a queue that cannot be used any more, and tells its giver. False if
    /// the attachment has another queue by now.
    pub(crate) async fn queue_gone(&self, id: AttachmentId, serial: u64) -> bool {
        let Some((_, held)) = self.held.remove_if(&id, |_, held| held.port.serial == serial) else {
            return false;
        };
        held.tell(DetachReason::QueueGone);
        self.detach(held).await;
        true
    }

    /// What is attached now and cannot stay when these hosts come into force, and why.
    pub(crate) fn ending(&self, next: &Hosts) -> Vec<(AttachmentId, DetachReason)> {
        self.ending_between(&self.hosts(), next)
    }

    fn ending_between(&self, before: &Hosts, next: &Hosts) -> Vec<(AttachmentId, DetachReason)> {
        self.held
            .iter()
            .filter_map(|held| {
                let id = *held.key();
                match (before.host(id), next.host(id)) {
                    (_, None) => Some((id, DetachReason::Removed)),
                    (Some(before), Some(next)) if !set_up_alike(&before, &next) => {
                        Some((id, DetachReason::Changed))
                    }
                    _ => None,
                }
            })
            .collect()
    }

    /// Answers from these hosts from now on, and ends the attachments that have no place among them.
    /// The engine must have them already. Returns their names.
    pub(crate) async fn install(&self, next: Hosts) -> Vec<String> {
        let (names, ended) = {
            let mut hosts = self.hosts_mut();
            let before = std::mem::replace(&mut *hosts, next);
            let ended = self.ending_between(&before, &hosts);
            (ended.iter().map(|(id, _)| before.name(*id)).collect(), ended)
        };
        self.end(ended).await;
        names
    }

    /// Ends attachments whose hosts are there no more, and tells their holders.
    pub(crate) async fn end(&self, ended: Vec<(AttachmentId, DetachReason)>) {
        let mut detaching = JoinSet::new();
        for (id, reason) in ended {
            let Some((_, held)) = self.held.remove(&id) else { continue };
            held.tell(reason);
            self.engine.detached(id);
            // Each waits for all workers: all of them together.
            let ports = self.ports.clone();
            detaching.spawn(async move { ports.detach(held.port).await });
        }
        while detaching.join_next().await.is_some() {}
    }

    async fn detach(&self, held: Held) {
        let id = held.port.attachment;
        // If it is an environment, it need not wait for anybody.
        self.hosts_mut().environments.wait(id, Time::ZERO);
        // Unless somebody attached anew already.
        if !self.held.contains_key(&id) {
            self.engine.detached(id);
        }
        self.ports.detach(held.port).await;
    }
}

impl Drop for Registry {
    /// The daemon ends, and its workers have. Where the helpers are gone too, these are the last
    /// references to the devices, and the kernel waits for each: better for many at once.
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        viaduct_tun::device::close_all(held.into_iter().map(|(_, held)| held).collect());
    }
}
