//! The agent: gives hosts their namespaces and devices, and keeps the queues.
//!
//! One process serves all hosts of one daemon. For each it makes a network namespace called after
//! it, writes the hosts file that programs inside will see, makes the TUN device and hands its
//! queue over ([`viaduct_tun::holder`]). It then only waits: for the daemon to go away and come
//! back, which the holder handles, or for its own end, when it removes what it made.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use viaduct_tun::{
    Holder, Offer, Plan,
    handover::Token,
    holder::{self, Status},
    netns,
};

use crate::{Error, api::Api, layout, name};

/// Hosts that are set up at the same time: the kernel serialises most of it anyway.
const THREADS: usize = 4;

/// What an agent serves.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The daemon's runtime directory, with both of its sockets.
    pub runtime_dir: PathBuf,
    /// Before the names of the namespaces.
    pub prefix: String,
    /// The hosts; all that the daemon knows, if empty.
    pub hosts: Vec<String>,
    /// Proof of being allowed to attach them, where the socket is not proof enough.
    pub token: Option<Token>,
}

/// Hosts that an agent set up; they end with this.
#[derive(Debug)]
pub struct Served {
    // Declared first, so dropped first: devices go before the namespaces they are in.
    holder: Holder,
    namespaces: Vec<OwnNamespace>,
    _directory: OwnDirectory,
}

impl Served {
    /// How many hosts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.namespaces.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Whether one of them has this namespace.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|own| own.name == namespace)
    }
}

/// An environment of a function that was made over the API; it ends with this.
#[derive(Debug)]
pub(crate) struct Environment {
    host: String,
    namespace: OwnNamespace,
    served: Arc<Served>,
}

impl Environment {
    /// The name of its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// Whether the daemon has its queue.
    pub(crate) fn stands(&self) -> bool {
        let statuses = self.served.holder.statuses().unwrap_or_default();
        let mut own = statuses.into_iter().filter(|(host, _)| *host == self.host);
        own.any(|(_, status)| matches!(status, Status::Attached { .. }))
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // The device, before the namespace that it is in.
        if let Err(error) = self.served.holder.detach(&self.host) {
            tracing::debug!(host = self.host, %error, "not detached");
        }
    }
}

impl Agent {
    /// Sets every host up, or none. Gives up between two hosts once `stop` is set.
    pub fn serve(&self, stop: &AtomicBool) -> Result<Served, Error> {
        let holder = Holder::start(self.runtime_dir.join("attach.sock"))?;
        let hosts = if self.hosts.is_empty() {
            Api::new(&self.runtime_dir.join("control.sock"))?.attachment_names(stop)?
        } else {
            self.hosts.clone()
        };
        let directory = OwnDirectory { made: !layout::etc_netns().exists() };
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let made = Mutex::new(Vec::with_capacity(hosts.len()));
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                match self.set_up(&holder, host) {
                    Ok(namespace) => push(&made, namespace),
                    Err(error) => {
                        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                            Some(error);
                        // The others need not go on.
                        next.store(hosts.len(), Ordering::Relaxed);
                        return;
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..THREADS.min(hosts.len()) {
                scope.spawn(work);
            }
        });
        let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let namespaces = made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let served = Served { holder, namespaces, _directory: directory };
        match failed {
            None => Ok(served),
            Some(error) => Err(error),
        }
    }

    /// Sets up an environment that the daemon has begin.
    pub(crate) fn environment(
        &self,
        served: &Arc<Served>,
        host: &str,
    ) -> Result<Environment, Error> {
        let namespace = self.set_up(&served.holder, host)?;
        Ok(Environment { host: host.to_owned(), namespace, served: Arc::clone(served) })
    }

    fn set_up(&self, holder: &Holder, host: &str) -> Result<OwnNamespace, Error> {
        let plan = holder.describe(host, self.token.as_ref())?;
        let name = name::namespace(&self.prefix, host);
        let namespace = netns::create(&name)?;
        let own = OwnNamespace { name };
        write_files(&own.name, &plan)?;
        let device = holder::set_up(&namespace, holder::DEVICE_NAME, &plan)?;
        let offer = Offer { name: host.to_owned(), token: self.token.clone(), mtu: plan.mtu };
        holder.hold(offer, device)?;
        tracing::debug!(host, namespace = own.name, "attached");
        Ok(own)
    }
}

fn push<T>(to: &Mutex<Vec<T>>, item: T) {
    to.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(item);
}

/// The directory of such files; removed when dropped if it was made here and nobody else uses it.
#[derive(Debug)]
struct OwnDirectory {
    made: bool,
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        if self.made {
            // Refused while somebody else has files in it.
            let _ = fs::remove_dir(layout::etc_netns());
        }
    }
}

/// A namespace with its files; both are removed when dropped.
#[derive(Debug)]
struct OwnNamespace {
    name: String,
}

impl Drop for OwnNamespace {
    fn drop(&mut self) {
        if let Err(error) = netns::remove(&self.name) {
            tracing::debug!(namespace = self.name, %error, "not removed");
        }
        // It may never have been written.
        let _ = fs::remove_dir_all(layout::etc_netns().join(&self.name));
    }
}

/// What stands in for `/etc/resolv.conf`: the host's own resolver cannot be reached from inside, and
/// asking it would only take seconds to fail. Without a server named here the resolver asks the
/// loopback, where nobody listens, and fails at once.
const RESOLV_CONF: &str = "# names come from /etc/hosts: the VPC's resolver is not provided\n";

fn write_files(namespace: &str, plan: &Plan) -> Result<(), Error> {
    let directory = layout::etc_netns().join(namespace);
    fs::create_dir_all(&directory)
        .map_err(Error::system(format!("create {}", directory.display())))?;
    let names = plan.hosts.iter().map(|entry| (entry.address, entry.name.as_str()));
    for (file, text) in [("hosts", hosts_file(names).as_str()), ("resolv.conf", RESOLV_CONF)] {
        let path = directory.join(file);
        fs::write(&path, text).map_err(Error::system(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// The text of a hosts file, in the order given: a resolver takes the first match.
fn hosts_file<'n>(names: impl Iterator<Item = (IpAddr, &'n str)>) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (address, name) in names {
        writeln!(text, "{address} {name}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_names_everybody_once() {
        let address: IpAddr = "10.0.2.10".parse().unwrap();
        let text = hosts_file([(address, "db"), (address, "db.main")].into_iter());
        assert_eq!(text, "127.0.0.1 localhost\n10.0.2.10 db\n10.0.2.10 db.main\n");
    }
}
