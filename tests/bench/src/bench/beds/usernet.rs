//! `slirp4netns` and `pasta`: what containers without privileges have. Either gives the client's
//! namespace a TAP device and plays its packets into sockets of the namespace that it runs in, which
//! stands for the host. The server is a program on that host.
//!
//! They cut what they send to the MTU that they were started with, so each MTU has a bed of its own.
//!
//! Uploads through the pasta of March 2023, which Debian 12 has, come to a halt after a second, those
//! of iperf3 as well: a ratio to it in such a row says that, and nothing about speed.

use std::{net::Ipv4Addr, path::Path, process::Command, time::Duration};

use viaduct_tun::{Namespace, link, link::Links, netns};

use super::{Ground, Kind, bare_namespace, has_default_route, path_of};
use crate::{error::Error, process::Process, tools};

/// The host's address.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const HOST_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The largest that both have.
pub(super) const LARGEST_MTU: u32 = 65520;

/// How long they may take to attach.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the TAP device is called.
const DEVICE: &str = "tap0";

pub(super) fn is_installed(kind: Kind) -> bool {
    tools::is_installed(kind.name())
}

pub(super) fn slirp4netns(mtu: u32) -> Result<Ground, Error> {
    let (client, host) = (bare_namespace()?, host()?);
    let mut command = Command::new("slirp4netns");
    command
        .args(["--configure", "--netns-type=path"])
        .arg(format!("--mtu={mtu}"))
        .args([&path_of(&client), DEVICE])
        .stdout(std::process::Stdio::null());
    let process = Process::start(command, Some(&host))?;
    ground(client, host, process, mtu, Vec::new())
}

pub(super) fn pasta(mtu: u32) -> Result<Ground, Error> {
    let host = host()?;
    // It gives up its privileges before it opens the namespace: a path under another process's
    // descriptors is out of its reach then.
    let made_directory = !Path::new(netns::RUN_DIR).exists();
    let name = Name { name: format!("viaduct-bench-{}-{mtu}", std::process::id()), made_directory };
    let client = netns::create(&name.name)?;
    client.run(|| {
        link::disable_ipv6()?;
        Links::open()?.up("lo")
    })??;
    let mut command = Command::new("pasta");
    command
        .args(["--foreground", "--quiet", "--config-net", "--ipv4-only", "--runas", "0"])
        .args(["--ns-ifname", DEVICE, "--mtu", &mtu.to_string()])
        .args(["--address", "10.1.0.2", "--netmask", "24", "--gateway", "10.1.0.1"])
        // Nothing is to be forwarded to the client, and nothing is to go around the device.
        .args(["--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none"])
        .args(["--udp-ns", "none", "--netns", &format!("{}/{}", netns::RUN_DIR, name.name)])
        .stdout(std::process::Stdio::null());
    let process = Process::start(command, Some(&host))?;
    ground(client, host, process, mtu, vec![Box::new(name)])
}

fn ground(
    client: Namespace,
    host: Namespace,
    mut process: Process,
    mtu: u32,
    further: Vec<Box<dyn std::any::Any>>,
) -> Result<Ground, Error> {
    process.wait_until(PATIENCE, || Ok(client.run(has_default_route)?))?;
    // They only tell their DHCP clients.
    client.run(|| Links::open()?.set_mtu(DEVICE, mtu))??;
    let mut held: Vec<Box<dyn std::any::Any>> = vec![Box::new(process)];
    held.extend(further);
    Ok(Ground {
        devices: Vec::new(),
        client,
        server: host,
        target: HOST,
        seen: HOST,
        largest_mtu: LARGEST_MTU,
        held,
    })
}

/// A namespace that looks like a host: with an address, and a way to everywhere else.
fn host() -> Result<Namespace, Error> {
    let host = bare_namespace()?;
    host.run(|| {
        let links = Links::open()?;
        // Its other end stands for the network that the host is in; nothing ever goes there.
        links.add_veth("eth0", "network")?;
        links.add_address("eth0", HOST.into(), 24)?;
        links.up("network")?;
        links.up("eth0")?;
        links.add_default_route("eth0", Some(HOST_GATEWAY.into()))
    })??;
    Ok(host)
}

/// The name of a namespace; it goes with this, and so does the directory if it was made for it.
struct Name {
    name: String,
    made_directory: bool,
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = netns::remove(&self.name) {
            eprintln!("the namespace was not removed: {error}");
        }
        if self.made_directory {
            // Refused while somebody else has names in it.
            let _ = std::fs::remove_dir(netns::RUN_DIR);
        }
    }
}
