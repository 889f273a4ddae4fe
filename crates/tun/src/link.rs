//! Links, addresses, routes and settings of the calling thread's network namespace.
//!
//! A small synchronous face over rtnetlink. A netlink socket belongs to the namespace of the
//! thread that opened it, so [`Links::open`] is called inside [`crate::Namespace::run`], and what
//! it returns may be used from anywhere afterwards. It runs a tokio runtime of its own: do not
//! call it from inside another.

use std::{
    fs,
    future::Future,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use ipnet::IpNet;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::route::{RouteMessage, RouteScope, RouteType},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};

use crate::{Error, Namespace};

/// The table of the host's own addresses (linux/rtnetlink.h).
const RT_TABLE_LOCAL: u8 = 255;

/// A connection to one network namespace's configuration.
#[derive(Debug)]
pub struct Links {
    runtime: tokio::runtime::Runtime,
    handle: rtnetlink::Handle,
    /// Any socket of the namespace: names are turned into indexes by an `ioctl` on it.
    socket: OwnedFd,
}

impl Links {
    /// Connects to the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::system("open a netlink socket", source);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let (connection, handle) = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
            (connection, handle)
        };
        runtime.spawn(connection);
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| Error::system("open a socket", errno))?;
        Ok(Self { runtime, handle, socket })
    }

    /// The index of link `name`.
    pub fn index(&self, name: &str) -> Result<u32, Error> {
        rustix::net::netdevice::name_to_index(&self.socket, name).map_err(|errno| match errno {
            Errno::NODEV => Error::NoLink { name: name.to_owned() },
            _ => Error::system(format!("look up link `{name}`"), errno),
        })
    }

    /// Takes a link up.
    pub fn up(&self, name: &str) -> Result<(), Error> {
        self.change(name, "take up", LinkMessageBuilder::up)
    }

    /// Takes a link down.
    pub fn down(&self, name: &str) -> Result<(), Error> {
        self.change(name, "take down", LinkMessageBuilder::down)
    }

    /// Sets the largest packet of a link, in bytes of IP.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        self.change(name, "set the MTU of", |link| link.mtu(mtu))
    }

    /// Moves a link into another namespace, where it is down and has no address.
    pub fn move_to(&self, name: &str, namespace: &Namespace) -> Result<(), Error> {
        use std::os::fd::AsFd;
        let target = namespace.as_fd().as_raw_fd();
        self.change(name, "move", |link| link.setns_by_fd(target))
    }

    /// Deletes a link.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let index = self.index(name)?;
        self.wait(|| format!("delete link `{name}`"), self.handle.link().del(index).execute())
    }

    /// Makes a pair of virtual Ethernet links.
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<(), Error> {
        self.wait(
            || format!("create veth pair `{name}` and `{peer}`"),
            self.handle.link().add(LinkVeth::new(name, peer).build()).execute(),
        )
    }

    /// Gives a link an address; the kernel adds the route to its prefix when the link is up.
    pub fn add_address(&self, name: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
        let index = self.index(name)?;
        self.wait(
            || format!("add address {address}/{prefix_len} to link `{name}`"),
            self.handle.address().add(index, address, prefix_len).execute(),
        )
    }

    /// Makes all addresses of a block the host's own, however many: a `local` route, which the kernel
    /// takes for as many addresses (AnyIP). Programs can listen at each and answer from it.
    pub fn add_own(&self, block: IpNet) -> Result<(), Error> {
        let index = self.index("lo")?;
        let mut message = route(block.network(), block.prefix_len(), index, None)?;
        message.header.table = RT_TABLE_LOCAL;
        message.header.kind = RouteType::Local;
        message.header.scope = RouteScope::Host;
        self.wait(
            || format!("answer at all addresses of {block}"),
            self.handle.route().add(message).execute(),
        )
    }

    /// Routes a prefix through a link, to a gateway or, without one, straight onto it.
    pub fn add_route(
        &self,
        destination: IpAddr,
        prefix_len: u8,
        name: &str,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let index = self.index(name)?;
        let message = route(destination, prefix_len, index, gateway)?;
        self.wait(
            || format!("route {destination}/{prefix_len} through link `{name}`"),
            self.handle.route().add(message).execute(),
        )
    }

    /// Routes everything (of IPv4) through a link.
    pub fn add_default_route(&self, name: &str, gateway: Option<IpAddr>) -> Result<(), Error> {
        self.add_route(Ipv4Addr::UNSPECIFIED.into(), 0, name, gateway)
    }

    fn change(
        &self,
        name: &str,
        verb: &str,
        edit: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let index = self.index(name)?;
        let message = edit(LinkUnspec::new_with_index(index)).build();
        self.wait(|| format!("{verb} link `{name}`"), self.handle.link().set(message).execute())
    }

    fn wait(
        &self,
        what: impl FnOnce() -> String,
        request: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> Result<(), Error> {
        self.runtime
            .block_on(request)
            .map_err(|source| Error::Netlink { what: what(), source: Box::new(source) })
    }
}

fn route(
    destination: IpAddr,
    prefix_len: u8,
    index: u32,
    gateway: Option<IpAddr>,
) -> Result<RouteMessage, Error> {
    let mixed = || Error::System {
        what: format!("route {destination}/{prefix_len} through {gateway:?}"),
        source: std::io::Error::other("destination and gateway are of different IP versions"),
    };
    // "On the link" is a scope of its own to the kernel: no next hop is looked up for it.
    let scope = match gateway {
        None => RouteScope::Link,
        Some(_) => RouteScope::Universe,
    };
    Ok(match destination {
        IpAddr::V4(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination, prefix_len)
                .output_interface(index)
                .scope(scope);
            match gateway {
                None => {}
                Some(IpAddr::V4(gateway)) => builder = builder.gateway(gateway),
                Some(IpAddr::V6(_)) => return Err(mixed()),
            }
            builder.build()
        }
        IpAddr::V6(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination, prefix_len)
                .output_interface(index);
            match gateway {
                None => {}
                Some(IpAddr::V6(gateway)) => builder = builder.gateway(gateway),
                Some(IpAddr::V4(_)) => return Err(mixed()),
            }
            builder.build()
        }
    })
}

/// Gives a setting of the calling thread's namespace, such as `net/ipv4/ip_forward`, a value. One that
/// has it is not written: where /proc/sys is read-only, whoever made the container may have set it.
///
/// `Ok(false)` where the kernel has no such setting, as without IPv6.
pub fn write_sysctl(key: &str, value: &str) -> Result<bool, Error> {
    let path = format!("/proc/sys/{key}");
    if fs::read_to_string(&path).is_ok_and(|present| present.trim_end() == value) {
        return Ok(true);
    }
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    match written {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::system(format!("write `{value}` to {path}"), source)),
    }
}

/// Has the calling thread's namespace pass on packets that are not its own, on every link made from
/// now on. It has one link, on which they leave as they came; the kernel would tell their senders of
/// a shorter way (`send_redirects`), which there is not.
pub fn forward() -> Result<(), Error> {
    for scope in ["all", "default"] {
        write_sysctl(&format!("net/ipv4/conf/{scope}/send_redirects"), "0")?;
    }
    write_sysctl("net/ipv4/ip_forward", "1")?;
    Ok(())
}

/// Turns IPv6 off on every link of the calling thread's namespace, now and later.
pub fn disable_ipv6() -> Result<(), Error> {
    for scope in ["all", "default"] {
        write_sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    Ok(())
}
