//! What the service manager that started the daemon is told (sd_notify(3)): that it takes attachments, and
//! that it ends.
//!
//! The socket is opened at the start, for a confined daemon opens none.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// A service manager that wants to be told, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// The one that listens at this address: a path, or `@` and an abstract name, as in NOTIFY_SOCKET.
    pub(crate) fn at(address: Option<&OsStr>) -> Self {
        let socket = address.and_then(|address| match connect(address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, ?address, "the service manager cannot be told anything");
                None
            }
        });
        Self(socket)
    }

    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::warn!(%error, state, "the service manager was not told");
        }
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read is nothing to wait for.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn it_is_told_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("viaduct-notify-{}", std::process::id());
        let abstractly = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstractly).unwrap(), format!("@{name}").into()),
        ] {
            let manager = ServiceManager::at(Some(&address));
            manager.ready();
            assert_eq!(told(&socket), "READY=1");
            manager.stopping();
            assert_eq!(told(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_no_obstacle() {
        let manager = ServiceManager::at(Some(OsStr::new("/nonexistent/notify")));
        manager.ready();
        assert!(manager.0.is_none());
    }
}
