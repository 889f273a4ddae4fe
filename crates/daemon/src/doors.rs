//! The sockets over which hosts are attached.

use std::path::{Path, PathBuf};

use viaduct_tun::Listener;

use crate::{
    entitlement::{Entitlement, HostPattern, Tokens},
    error::Error,
    options::Options,
    runtime_dir::RuntimeDir,
};

/// A socket, and what may be attached over it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) entitlement: Entitlement,
}

impl Door {
    /// The directory of its path, if that is for this process to remove.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.listener.is_to_remove().then(|| self.listener.path().parent())?
    }
}

/// The general socket, in the runtime directory unless the process was started with one, and then those
/// of some hosts that were asked for.
pub(crate) fn open(options: &Options, directory: &RuntimeDir) -> Result<Vec<Door>, Error> {
    let general = match &options.attach_tokens {
        Some(file) => Entitlement::Tokens(Tokens::read(file)?),
        None => Entitlement::All,
    };
    let bind = |path| Listener::bind_for(path, options.attach_access);
    let listener = match options.listeners.attach()? {
        Some(inherited) => inherited,
        None => bind(directory.attach_socket())?,
    };
    let mut doors = vec![Door { listener, entitlement: general }];
    for (path, hosts) in own_sockets(options) {
        doors.push(Door { listener: bind(path)?, entitlement: Entitlement::Hosts(hosts) });
    }
    Ok(doors)
}

/// The sockets of some hosts, each with all of its hosts, in the order of their first mention.
fn own_sockets(options: &Options) -> Vec<(PathBuf, Vec<HostPattern>)> {
    let mut own: Vec<(PathBuf, Vec<HostPattern>)> = Vec::new();
    for socket in &options.attach_sockets {
        let hosts = socket.hosts.clone();
        match own.iter_mut().find(|(path, _)| *path == socket.path) {
            Some((_, others)) => others.push(hosts),
            None => own.push((socket.path.clone(), vec![hosts])),
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_is_one_socket() {
        let mut options = Options::new("topology.yaml");
        let sockets = ["function/api=/run/a", "instance/db=/run/b", "function/web=/run/a"];
        options.attach_sockets = sockets.map(|socket| socket.parse().unwrap()).into();
        let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let wanted: [(PathBuf, Vec<HostPattern>); 2] = [
            ("/run/a".into(), hosts(&["function/api", "function/web"])),
            ("/run/b".into(), hosts(&["instance/db"])),
        ];
        assert_eq!(own_sockets(&options), wanted);
    }
}
