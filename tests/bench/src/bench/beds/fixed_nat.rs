//! `fixed-nat`: the least that a translating forwarder over TUN devices does.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Ground, bare_namespace, has_default_route, path_of};
use crate::{error::Error, process::Process, tools::Tools};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const SEEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// The largest MTU that the kernel gives a TUN device is 65535; slirp4netns and pasta have this.
const LARGEST_MTU: u32 = 65520;

/// What it calls its devices unless told otherwise.
const DEVICE: &str = "nat0";

/// How long it may take to make its devices.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn make(tools: &Tools) -> Result<Ground, Error> {
    let (client, server) = (bare_namespace()?, bare_namespace()?);
    let mut command = Command::new(&tools.fixed_nat);
    command
        .args(["--inside-netns", &path_of(&client), "--outside-netns", &path_of(&server)])
        .args(["--inside-address", "10.1.0.2/24", "--outside-address", &format!("{SERVER}/24")])
        .args(["--nat-address", &SEEN.to_string(), "--mtu", &LARGEST_MTU.to_string()])
        .stdout(Stdio::null());
    let mut nat = Process::start(command, None)?;
    // The route is the last that it gives a device.
    nat.wait_until(PATIENCE, || {
        Ok(client.run(has_default_route)? && server.run(has_default_route)?)
    })?;
    Ok(Ground {
        devices: vec![
            (client.try_clone()?, DEVICE.to_owned()),
            (server.try_clone()?, DEVICE.to_owned()),
        ],
        client,
        server,
        target: SERVER,
        seen: SEEN,
        largest_mtu: LARGEST_MTU,
        held: vec![Box::new(nat)],
    })
}
