//! Beds: a namespace for the client, one for the server, and between them what is measured.
//!
//! A bed is everything that it made: namespaces, links and programs end with it, in whatever way the
//! benchmark ends, short of being killed. Namespaces have no name where nothing needs one, so the
//! kernel takes them back with their last user; names carry the process id.
//!
//! | bed | between client and server | the server sees |
//! |---|---|---|
//! | `viaduct` | a lab of `topology.yaml` | the ENI's address |
//! | `plain` | the same over plain TUN devices | the ENI's address |
//! | `fixed-nat` | crates/fixed-nat | its constant |
//! | `nftables` | a router: kernel forwarding, conntrack, source NAT, rules like the topology's | the router's address |
//! | `veth` | a cable | the client |
//! | `slirp4netns`, `pasta` | their stack; the server is the host that they run on | that host |

mod fixed_nat;
pub(crate) mod lab;
mod nftables;
mod usernet;
mod veth;

use std::{any::Any, fmt, net::Ipv4Addr, time::Duration};

use clap::ValueEnum;
use serde::Serialize;
use viaduct_bench::{Order, Report, Window, Work};
use viaduct_tun::{Namespace, link, link::Links};

use crate::{error::Error, load::Load, tools::Tools};

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Viaduct,
    Plain,
    FixedNat,
    Nftables,
    Veth,
    Slirp4netns,
    Pasta,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Viaduct,
        Self::Plain,
        Self::FixedNat,
        Self::Nftables,
        Self::Veth,
        Self::Slirp4netns,
        Self::Pasta,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viaduct => "viaduct",
            Self::Plain => "plain",
            Self::FixedNat => "fixed-nat",
            Self::Nftables => "nftables",
            Self::Veth => "veth",
            Self::Slirp4netns => "slirp4netns",
            Self::Pasta => "pasta",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A bed, or why it is not to be had here.
pub(crate) enum Made {
    Bed(Box<Bed>),
    Absent(String),
}

/// Between telling a client to start and the window: for connecting and getting up to speed.
pub(crate) const LEAD: Duration = Duration::from_millis(400);

/// How long a side may take beyond what it was told, before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Client and server with something between them.
pub(crate) struct Bed {
    pub(crate) kind: Kind,
    /// The address that the client connects to.
    target: Ipv4Addr,
    /// The address that the server must see.
    seen: Ipv4Addr,
    /// The largest MTU that it carries.
    largest_mtu: u32,
    /// The MTU that it was given.
    mtu: Option<u32>,
    /// Every device on the way, for changing it.
    devices: Vec<(Namespace, String)>,
    /// Makes it anew for another MTU, where changing the devices' is not enough.
    remake: Option<fn(u32) -> Result<Ground, Error>>,
    /// The namespaces of client and server.
    sides: [Namespace; 2],
    /// The loads in them, once there are some. After a failure nobody knows what they still do:
    /// others take their place.
    loads: Option<[Load; 2]>,
    /// What ends with the bed: after the loads, in this order.
    _held: Vec<Box<dyn Any>>,
}

/// The parts of a bed that are made before the loads start.
pub(crate) struct Ground {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    pub(crate) target: Ipv4Addr,
    pub(crate) seen: Ipv4Addr,
    pub(crate) largest_mtu: u32,
    /// Devices of the client and the server, and others on the way.
    pub(crate) devices: Vec<(Namespace, String)>,
    pub(crate) held: Vec<Box<dyn Any>>,
}

/// Makes a bed.
pub(crate) fn make(kind: Kind, tools: &Tools) -> Result<Made, Error> {
    let ground = match kind {
        Kind::Viaduct => lab::make(tools, None)?,
        Kind::Plain => lab::make(tools, Some("plain"))?,
        Kind::FixedNat => fixed_nat::make(tools)?,
        Kind::Nftables => nftables::make()?,
        Kind::Veth => veth::make()?,
        Kind::Slirp4netns | Kind::Pasta if !usernet::is_installed(kind) => {
            return Ok(Made::Absent("not installed".to_owned()));
        }
        Kind::Slirp4netns => usernet::slirp4netns(usernet::LARGEST_MTU)?,
        Kind::Pasta => usernet::pasta(usernet::LARGEST_MTU)?,
    };
    let mut bed = Bed::on(kind, ground)?;
    bed.remake = match kind {
        Kind::Slirp4netns => Some(usernet::slirp4netns),
        Kind::Pasta => Some(usernet::pasta),
        _ => None,
    };
    Ok(Made::Bed(Box::new(bed)))
}

impl Bed {
    /// The bed on what was made for it.
    pub(crate) fn on(kind: Kind, ground: Ground) -> Result<Self, Error> {
        prepare(&ground.client)?;
        Ok(Self {
            kind,
            target: ground.target,
            seen: ground.seen,
            largest_mtu: ground.largest_mtu,
            mtu: None,
            devices: ground.devices,
            remake: None,
            sides: [ground.client, ground.server],
            loads: None,
            _held: ground.held,
        })
    }

    /// Sets the MTU of the whole way, as far as the bed goes, and returns what it is now.
    pub(crate) fn set_mtu(&mut self, mtu: u32) -> Result<u32, Error> {
        let mtu = mtu.min(self.largest_mtu);
        if self.mtu == Some(mtu) {
            return Ok(mtu);
        }
        if let Some(remake) = self.remake {
            *self = Self { remake: self.remake, ..Self::on(self.kind, remake(mtu)?)? };
        }
        self.mtu = Some(mtu);
        for (namespace, device) in &self.devices {
            namespace.run(|| Links::open()?.set_mtu(device, mtu))??;
        }
        Ok(mtu)
    }

    /// Has the work done once: what the client and the server counted.
    pub(crate) fn run(
        &mut self,
        tools: &Tools,
        work: Work,
        length: Duration,
    ) -> Result<[Report; 2], Error> {
        let mut loads = match self.loads.take() {
            Some(loads) => loads,
            None => self.pair(tools)?,
        };
        let reports = self.direct(&mut loads, work, length)?;
        self.loads = Some(loads);
        self.judge(&reports)?;
        Ok(reports)
    }

    /// Loads of their own for a further piece of work at the same time.
    pub(crate) fn pair(&self, tools: &Tools) -> Result<[Load; 2], Error> {
        let [client, server] = &self.sides;
        Ok([Load::start(tools, client, "client")?, Load::start(tools, server, "server")?])
    }

    fn direct(
        &self,
        loads: &mut [Load; 2],
        work: Work,
        length: Duration,
    ) -> Result<[Report; 2], Error> {
        loads[1].tell(&Order::Serve { work })?;
        loads[1].ready(PATIENCE)?;
        let window = Window::after(LEAD, length);
        self.begin(loads, work, window)?;
        self.end(loads, window)
    }

    /// Has a server that is ready and its client begin.
    pub(crate) fn begin(
        &self,
        [client, server]: &mut [Load; 2],
        work: Work,
        window: Window,
    ) -> Result<(), Error> {
        server.tell(&Order::Go { window })?;
        client.tell(&Order::Drive { work, server: self.target, window })
    }

    /// Waits for both reports.
    pub(crate) fn end(
        &self,
        [client, server]: &mut [Load; 2],
        window: Window,
    ) -> Result<[Report; 2], Error> {
        // What the client says is the better explanation, where both fail.
        let client = client.report(LEAD + window.length() + PATIENCE);
        let server = server.report(PATIENCE);
        Ok([client?, server?])
    }

    /// Whether the traffic came, and came through the translation.
    pub(crate) fn judge(&self, [client, server]: &[Report; 2]) -> Result<(), Error> {
        let strangers = server.sources.keys().filter(|source| **source != self.seen);
        let strangers: Vec<String> = strangers.map(ToString::to_string).collect();
        if !strangers.is_empty() {
            let saw = strangers.join(", ");
            let expected = self.seen.to_string();
            return Err(Error::NotTranslated { bed: self.kind, saw, expected });
        }
        let received = server.received.bytes.max(client.received.bytes);
        let nothing = received == 0 && client.latency.is_none();
        if nothing || server.sources.is_empty() {
            return Err(Error::Nothing { bed: self.kind, failure: client.failure.clone() });
        }
        Ok(())
    }
}

/// Gives a client enough ports for short connections: closed ones keep theirs for a minute.
fn prepare(client: &Namespace) -> Result<(), Error> {
    client.run(|| link::write_sysctl("net/ipv4/ip_local_port_range", "1024 65535"))??;
    Ok(())
}

/// A namespace without a name, with nothing but a loopback device.
pub(crate) fn bare_namespace() -> Result<Namespace, Error> {
    let namespace = viaduct_tun::netns::create_unnamed()?;
    namespace.run(|| {
        link::disable_ipv6()?;
        Links::open()?.up("lo")
    })??;
    Ok(namespace)
}

/// The path by which other programs open a namespace that has no name.
pub(crate) fn path_of(namespace: &Namespace) -> String {
    use std::os::fd::{AsFd, AsRawFd};
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

/// Whether the calling thread's namespace has a way to everywhere.
fn has_default_route() -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}
