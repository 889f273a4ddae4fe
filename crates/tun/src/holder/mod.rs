//! The giver's side as a whole: makes devices, hands their queues over, and holds them.
//!
//! # Theory of operation
//!
//! A TUN device lives as long as a descriptor of its queue is open. If the daemon had the only
//! one, its death would take every sandbox's link away, and with it addresses, routes and
//! connections. So the holder keeps a duplicate of each queue, and when a daemon comes back it
//! hands them over again: inside the sandbox nothing was seen but packets not answered.
//!
//! One [`Holder`] is one connection to the daemon and one thread (`keeper.rs`), whatever the
//! number of attachments. Callers ask for things and wait; devices are made on the caller's
//! threads, so many can be made at once.
//!
//! - The connection ends: connect again at once, then after 10 ms, doubling up to 1 s; say hello,
//!   offer every queue. Nobody gives up: a daemon that comes back after an hour is served.
//! - The daemon refuses a queue it had before (a topology without it, for now), or lets it go
//!   because it stops: offer it again after 250 ms, doubling up to 5 s.
//! - Another connection took the attachment over, or the queue's device was deleted: final.
//!   Offering again would take it back for ever, or is hopeless.

mod keeper;
mod set_up;

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use self::keeper::{Command, Keeper};
pub use self::set_up::set_up;
use crate::{
    Device, Error, HandoverError, Namespace, Offer, Plan, device,
    handover::{DetachReason, Token},
};

/// What a device is called inside a sandbox, unless asked otherwise.
pub const DEVICE_NAME: &str = "eth0";

/// How long [`Holder::attach`] and its parts wait for the daemon, which may just be starting.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Something to attach.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its name in the topology: `function/api/1`, `instance/db`.
    pub name: String,
    /// Proof of being allowed to, where the daemon's socket is not proof enough.
    pub token: Option<Token>,
    /// The device's name inside the namespace.
    pub device: String,
}

impl Attachment {
    /// An attachment without a token, on a device called [`DEVICE_NAME`].
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), token: None, device: DEVICE_NAME.to_owned() }
    }
}

/// What came of attaching.
#[derive(Clone, Debug)]
pub struct Attached {
    /// How the device was set up.
    pub plan: Plan,
    /// The daemon's number for the queue.
    pub queue_id: u64,
}

/// How an attachment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The daemon has the queue.
    Attached {
        /// The daemon's number for it.
        queue_id: u64,
    },
    /// The queue is held, and offered again when there is a daemon that takes it.
    Waiting,
    /// Over: it will not be offered again.
    Lost {
        /// Why.
        reason: DetachReason,
    },
}

/// Holds queues and keeps them attached. See the module's documentation.
#[derive(Debug)]
pub struct Holder {
    commands: mpsc::Sender<Command>,
    /// An eventfd that wakes the thread for a command.
    wake: Arc<OwnedFd>,
    keeper: Option<thread::JoinHandle<Vec<Device>>>,
}

impl Holder {
    /// Starts holding, over the daemon's socket at `socket`. The daemon need not be there yet.
    pub fn start(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("create an eventfd", errno))?;
        let wake = Arc::new(wake);
        let (commands, inbox) = mpsc::channel();
        let keeper = Keeper::new(socket.into(), Arc::clone(&wake), inbox);
        let keeper = thread::Builder::new()
            .name("holder".to_owned())
            .spawn(move || keeper.run())
            .map_err(|source| Error::system("start a thread", source))?;
        Ok(Self { commands, wake, keeper: Some(keeper) })
    }

    /// Asks the daemon for the plan, makes the device in `namespace`, hands its queue over.
    ///
    /// Returns when packets flow. After an error nothing is left of the device.
    pub fn attach(
        &self,
        attachment: &Attachment,
        namespace: &Namespace,
    ) -> Result<Attached, Error> {
        let plan = self.describe(&attachment.name, attachment.token.as_ref())?;
        let device = set_up(namespace, &attachment.device, &plan)?;
        let offer =
            Offer { name: attachment.name.clone(), token: attachment.token.clone(), mtu: plan.mtu };
        let queue_id = self.hold(offer, device)?;
        Ok(Attached { plan, queue_id })
    }

    /// Asks the daemon how the device of an attachment is to be set up.
    pub fn describe(&self, name: &str, token: Option<&Token>) -> Result<Plan, Error> {
        let (name, token) = (name.to_owned(), token.cloned());
        self.ask(|answer| Command::Describe { name, token, answer })?
    }

    /// Hands the queue of `device` over and holds it; returns the daemon's number for it.
    pub fn hold(&self, offer: Offer, device: Device) -> Result<u64, Error> {
        let name = offer.name.clone();
        let answer = self.ask(|answer| Command::Hold { offer, device, answer });
        match answer {
            Ok(Ok(queue_id)) => Ok(queue_id),
            Ok(Err((error, device))) => {
                // Here, not on the keeper's thread: it takes 16 ms.
                drop(device);
                Err(error)
            }
            Err(error) => {
                self.detach(&name)?;
                Err(error)
            }
        }
    }

    /// Ends an attachment: withdraws it, and lets its device go. Unknown names are no error.
    pub fn detach(&self, name: &str) -> Result<(), Error> {
        let device = self.ask(|answer| Command::Detach { name: name.to_owned(), answer })?;
        drop(device);
        Ok(())
    }

    /// How every attachment stands, by name.
    pub fn statuses(&self) -> Result<Vec<(String, Status)>, Error> {
        self.ask(|answer| Command::Statuses { answer })
    }

    /// Ends every attachment and lets all devices go.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, Error> {
        let (answer, reply) = mpsc::channel();
        self.commands.send(command(answer)).map_err(|_| Error::Stopped)?;
        self.wake();
        reply.recv_timeout(PATIENCE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Error::Handover(HandoverError::TimedOut(PATIENCE)),
            mpsc::RecvTimeoutError::Disconnected => Error::Stopped,
        })
    }

    fn wake(&self) {
        // The counter of an eventfd is full only when the thread is long since awake.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }

    fn shut_down(&mut self) {
        let Some(keeper) = self.keeper.take() else {
            return;
        };
        // A keeper that is gone already has let go of everything.
        let _ = self.commands.send(Command::Stop);
        self.wake();
        if let Ok(devices) = keeper.join() {
            device::close_all(devices);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.shut_down();
    }
}
