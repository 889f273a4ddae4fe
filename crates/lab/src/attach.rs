//! One host attached by hand: a device in a namespace that exists already, for as long as a
//! command runs in it.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Child, Command},
    thread,
};

use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};
use viaduct_tun::{
    Holder, Namespace,
    handover::Token,
    holder::{Attached, Attachment},
    netns,
};

use crate::Error;

/// What the command inside loses: the right to configure its network, and those that would give
/// it back (entering other namespaces, changing the kernel or processes that have it).
pub(crate) const LOST: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::BPF);

/// The variable in which helpers find their token. Commands do not get it.
pub const TOKEN_VARIABLE: &str = "VIADUCT_TOKEN";

/// What to attach, and where.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The daemon's socket for queues.
    pub socket: PathBuf,
    /// The host's name in the topology.
    pub host: String,
    /// Proof of being allowed to, where the socket is not proof enough.
    pub token: Option<Token>,
    /// The device's name.
    pub device: String,
    /// The namespace by name, path or process; the calling one if there is none.
    pub namespace: Option<String>,
}

/// A host that is attached; it ends with this.
#[derive(Debug)]
pub struct Held {
    /// How the device was set up.
    pub attached: Attached,
    namespace: Namespace,
    _holder: Holder,
}

impl Attach {
    /// Attaches. Returns when packets flow.
    pub fn attach(&self) -> Result<Held, Error> {
        let namespace = match &self.namespace {
            Some(named) => netns::resolve(named)?,
            None => Namespace::current()?,
        };
        let holder = Holder::start(&self.socket)?;
        let attachment = Attachment {
            name: self.host.clone(),
            token: self.token.clone(),
            device: self.device.clone(),
        };
        match holder.attach(&attachment, &namespace) {
            Ok(attached) => Ok(Held { attached, namespace, _holder: holder }),
            Err(_) if !self.socket.exists() => {
                Err(Error::NoAttachSocket { socket: self.socket.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Held {
    /// Starts a command in the namespace, without the right to change its network.
    pub fn spawn(&self, command: &[OsString]) -> Result<Child, Error> {
        let Some((program, arguments)) = command.split_first() else {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(Error::System { action: "run an empty command".to_owned(), source });
        };
        // Namespace and capabilities are a thread's own, and a child gets those of the thread
        // that starts it. This one keeps its own: the holder still needs them.
        let start = || {
            self.namespace.enter()?;
            give_up_capabilities(LOST)?;
            Command::new(program)
                .args(arguments)
                .env_remove(TOKEN_VARIABLE)
                .spawn()
                .map_err(Error::system(format!("run `{}`", program.display())))
        };
        thread::scope(|scope| match scope.spawn(start).join() {
            Ok(child) => child,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Takes capabilities from the calling thread for good: also from programs that would gain it on
/// `exec`, as root's do.
///
/// The bounding set can be made smaller only by who has CAP_SETPCAP, which a container with
/// CAP_NET_ADMIN alone has not. What keeps a program from gaining anything is `no_new_privs`: the kernel
/// gives it no more than the thread had (capabilities(7), "exec" and "no_new_privs").
pub(crate) fn give_up_capabilities(lost: CapabilitySet) -> Result<(), Error> {
    let failed = "give up capabilities";
    for capability in lost.iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The latter: one that this kernel does not know.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(errno) => return Err(Error::system(failed)(errno)),
        }
    }
    let CapabilitySets { effective, permitted, inheritable } =
        rustix::thread::capabilities(None).map_err(Error::system(failed))?;
    let left = CapabilitySets {
        effective: effective - lost,
        permitted: permitted - lost,
        inheritable: inheritable - lost,
    };
    rustix::thread::set_capabilities(None, left).map_err(Error::system(failed))?;
    rustix::thread::set_no_new_privs(true).map_err(Error::system(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_the_thread_has_lost_them() {
        if crate::up::may_make_labs().is_err() {
            eprintln!("skipped: only a process that has the capabilities can lose them");
            return;
        }
        let status = thread::spawn(|| {
            give_up_capabilities(LOST).unwrap();
            Command::new("cat").arg("/proc/self/status").output().unwrap().stdout
        });
        let status = String::from_utf8(status.join().unwrap()).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
        };
        for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set) & LOST.bits(), 0, "{set} of\n{status}");
        }
        assert_eq!(field("NoNewPrivs:"), 1);
    }
}
