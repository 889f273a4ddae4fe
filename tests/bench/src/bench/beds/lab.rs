//! `viaduct` and `plain`: a lab of the benchmark's topology.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use viaduct_tun::netns;

use super::Ground;
use crate::{error::Error, process, tools::Tools};

/// The topology: what it is about is in the file.
pub(crate) const TOPOLOGY: &str = include_str!("../../../topology.yaml");

/// The server's address in it.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);

/// MTU of a VPC: viaduct carries nothing larger, whatever the devices would.
pub(crate) const LARGEST_MTU: u32 = 9001;

/// A lab that is up; it ends with this.
pub(crate) struct Lab {
    pub(crate) name: String,
    viaduct: PathBuf,
    /// The topology's file.
    _directory: tempfile::TempDir,
}

impl Lab {
    /// Brings a topology up under a name that carries the process id.
    pub(crate) fn up(
        tools: &Tools,
        what: &str,
        topology: &str,
        arguments: &[&str],
    ) -> Result<(Self, PathBuf), Error> {
        let directory =
            tempfile::tempdir().map_err(Error::system("create a temporary directory"))?;
        let file = directory.path().join("topology.yaml");
        fs::write(&file, topology).map_err(Error::system("write the topology"))?;
        let name = format!("bench-{what}-{}", std::process::id());
        // Before it is up: what was half made is taken down as well.
        let lab = Self { name, viaduct: tools.viaduct.clone(), _directory: directory };
        let mut command = Command::new(&tools.viaduct);
        command.args(["lab", "up", "--name", &lab.name]).args(arguments).arg(&file);
        process::run(command, None, "")?;
        Ok((lab, file))
    }

    /// The namespace of one of its hosts, as in `function.client.1`.
    pub(crate) fn namespace(&self, host: &str) -> Result<viaduct_tun::Namespace, Error> {
        Ok(netns::open(&format!("vd-{}.{host}", self.name))?)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut command = Command::new(&self.viaduct);
        command.args(["lab", "down", &self.name]);
        if let Err(error) = process::run(command, None, "") {
            eprintln!("the lab was not taken down: {error}");
        }
    }
}

pub(super) fn make(tools: &Tools, device: Option<&str>) -> Result<Ground, Error> {
    let arguments = device.map(|device| ["--device", device]);
    let arguments = arguments.as_ref().map_or(&[][..], |arguments| &arguments[..]);
    let (lab, file) = Lab::up(tools, device.unwrap_or("tun"), TOPOLOGY, arguments)?;
    let (client, server) = (lab.namespace("function.client.1")?, lab.namespace("instance.server")?);
    let eth0 = viaduct_tun::holder::DEVICE_NAME.to_owned();
    Ok(Ground {
        devices: vec![(client.try_clone()?, eth0.clone()), (server.try_clone()?, eth0)],
        client,
        server,
        target: SERVER,
        seen: translated(tools, &file)?,
        largest_mtu: LARGEST_MTU,
        held: vec![Box::new(lab)],
    })
}

/// What the client's address becomes, according to `viaduct explain`.
pub(crate) fn translated(tools: &Tools, topology: &Path) -> Result<Ipv4Addr, Error> {
    #[derive(Deserialize)]
    struct Explanation {
        translated_source: Ipv4Addr,
    }
    let mut command = Command::new(&tools.viaduct);
    command.arg("explain").arg(topology).arg("--json");
    command.args(["--from", "function/client", "--to", "instance/server", "--port", "tcp/7000"]);
    let explanation: Explanation = serde_json::from_str(&process::run(command, None, "")?)
        .map_err(Error::system("read what `viaduct explain` says"))?;
    Ok(explanation.translated_source)
}
