//! Sockets that listen before the daemon does: opened by a service manager, which has them while no daemon
//! runs (systemd.socket(5)). Who connects meanwhile waits, and is not refused.
//!
//! Which is which can be seen from what they are: messages in sequence over a Unix socket are queues that
//! are handed over, a stream is questions, and a stream over TCP is for clients of AWS. Names
//! (`FileDescriptorName=`) may say so, and must then be right. What is not handed on the daemon opens itself.
//!
//! They stay whose they are: their paths and modes are for the service manager to make and to remove.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    sync::Arc,
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use viaduct_tun::{
    Listener,
    inherited::{self, Inherited},
};

use crate::error::Error;

/// The sockets that a daemon was started with.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// By [`Role`].
    sockets: [Option<Arc<OwnedFd>>; 3],
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Attach,
    Control,
    LambdaApi,
}

impl Role {
    const ALL: [Self; 3] = [Self::Attach, Self::Control, Self::LambdaApi];

    /// As in FileDescriptorName=.
    const fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Control => "control",
            Self::LambdaApi => "lambda-api",
        }
    }

    /// How systemd is told to open one.
    const fn directive(self) -> &'static str {
        match self {
            Self::Attach => "ListenSequentialPacket= with a path",
            Self::Control => "ListenStream= with a path",
            Self::LambdaApi => "ListenStream= with a loopback address and a port",
        }
    }

    /// What a socket is good for.
    fn of(socket: impl AsFd) -> Result<Self, String> {
        let asked = |errno: rustix::io::Errno| format!("cannot be looked at: {errno}");
        let socket = socket.as_fd();
        let domain = sockopt::socket_domain(socket).map_err(asked)?;
        let kind = sockopt::socket_type(socket).map_err(asked)?;
        if !sockopt::socket_acceptconn(socket).map_err(asked)? {
            return Err("does not listen (Accept=no is what systemd needs to be told)".to_owned());
        }
        match (domain, kind) {
            (AddressFamily::UNIX, SocketType::SEQPACKET) => Ok(Self::Attach),
            (AddressFamily::UNIX, SocketType::STREAM) => Ok(Self::Control),
            (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM) => Ok(Self::LambdaApi),
            _ => Err("is of a kind that nothing here listens on".to_owned()),
        }
    }
}

impl Listeners {
    /// Those that were opened for this process. Called before it opens anything itself.
    ///
    /// # Errors
    ///
    /// When what was opened, or what is said of it, makes no sense.
    pub fn inherited() -> Result<Self, Error> {
        Self::sorted(inherited::take().map_err(|error| Error::Inherited(error.to_string()))?)
    }

    fn sorted(inherited: Vec<Inherited>) -> Result<Self, Error> {
        let mut found = Self::default();
        for Inherited { name, fd } in inherited {
            let wrong = |what: &str| {
                Error::Inherited(format!(
                    "the socket `{name}` that the daemon was started with {what}"
                ))
            };
            let role = Role::of(&fd).map_err(|what| wrong(&what))?;
            if let Some(meant) = Role::ALL.iter().find(|role| role.name() == name)
                && *meant != role
            {
                let (found, needed) = (role.directive(), meant.directive());
                return Err(wrong(&format!("is one of {found}, and must be of {needed}")));
            }
            if let Some(twice) = found.sockets[role as usize].replace(Arc::new(fd)) {
                drop(twice);
                return Err(wrong(&format!("is the second one for `{}`", role.name())));
            }
        }
        Ok(found)
    }

    /// Where queues are handed over, if that is open.
    pub(crate) fn attach(&self) -> Result<Option<Listener>, Error> {
        let socket = self.another(Role::Attach)?;
        Ok(socket.map(Listener::inherited).transpose()?)
    }

    /// Where questions are answered, with its path, if that is open.
    pub(crate) fn control(&self) -> Result<Option<(tokio::net::UnixListener, PathBuf)>, Error> {
        let Some(socket) = self.another(Role::Control)? else { return Ok(None) };
        let failed = |source| Error::System { what: "listen on the control socket", source };
        let socket = UnixListener::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let path = address.as_pathname().unwrap_or("".as_ref()).to_owned();
        Ok(Some((tokio::net::UnixListener::from_std(socket).map_err(failed)?, path)))
    }

    /// Where clients of AWS are answered, with its address, if that is open.
    pub(crate) fn lambda_api(&self) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
        let Some(socket) = self.another(Role::LambdaApi)? else { return Ok(None) };
        let failed = |source| Error::System { what: "listen on the port of AWS's APIs", source };
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Some((socket, address)))
    }

    /// Another descriptor of a socket.
    fn another(&self, role: Role) -> Result<Option<OwnedFd>, Error> {
        let socket = self.sockets[role as usize].as_ref().map(|socket| socket.try_clone());
        let failed = |source: io::Error| Error::System { what: "duplicate a socket", source };
        socket.transpose().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    struct Sockets {
        directory: tempfile::TempDir,
    }

    impl Sockets {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn attach(&self) -> OwnedFd {
            let flags = rustix::net::SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
            let (socket, path) = (socket.unwrap(), self.path("attach"));
            let address = rustix::net::SocketAddrUnix::new(path).unwrap();
            rustix::net::bind(&socket, &address).unwrap();
            rustix::net::listen(&socket, 1).unwrap();
            socket
        }

        fn control(&self, name: &str) -> OwnedFd {
            UnixListener::bind(self.path(name)).unwrap().into()
        }
    }

    fn lambda_api() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn sorted(sockets: Vec<(&str, OwnedFd)>) -> Result<Listeners, String> {
        let named = sockets.into_iter().map(|(name, fd)| Inherited { name: name.to_owned(), fd });
        Listeners::sorted(named.collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn each_is_taken_for_what_it_is_whatever_it_is_called() {
        let sockets = Sockets::new();
        let given = vec![
            ("unknown", lambda_api()),
            ("viaduct.socket", sockets.attach()),
            ("control", sockets.control("control")),
        ];
        let found = sorted(given).unwrap();
        assert_eq!(found.attach().unwrap().unwrap().path(), sockets.path("attach"));
        assert_eq!(found.control().unwrap().unwrap().1, sockets.path("control"));
        assert!(found.lambda_api().unwrap().unwrap().1.ip().is_loopback());
        let none = Listeners::default();
        assert!(none.attach().unwrap().is_none());
        assert!(none.control().unwrap().is_none() && none.lambda_api().unwrap().is_none());
    }

    #[test]
    fn what_is_not_what_it_is_called_is_refused() {
        let sockets = Sockets::new();
        let datagrams = || UnixDatagram::unbound().unwrap().into();
        let deaf = || rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let file = || std::fs::File::open("/dev/null").unwrap().into();
        for (given, said) in [
            (vec![("attach", sockets.control("one"))], "must be of ListenSequentialPacket="),
            (vec![("lambda-api", sockets.attach())], "with a loopback address"),
            (vec![("control", deaf())], "does not listen"),
            (vec![("unknown", datagrams())], "does not listen"),
            (vec![("unknown", file())], "cannot be looked at"),
            (
                vec![("a", sockets.control("two")), ("b", sockets.control("three"))],
                "`b` that the daemon was started with is the second one for `control`",
            ),
        ] {
            let error = sorted(given).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
