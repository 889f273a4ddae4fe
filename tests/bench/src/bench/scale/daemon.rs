//! A daemon without a lab: started, asked, and hosts attached to it from this process.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use viaduct_bench::machine;
use viaduct_lab::{
    Api,
    attach::{Attach, Held},
};
use viaduct_tun::{Namespace, holder::DEVICE_NAME};

use super::Setting;
use crate::{
    beds::{bare_namespace, path_of},
    error::Error,
    process::Process,
    stop,
};

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions whether it is. What start to ready takes is not known better than this.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// A running daemon; it ends with this.
pub(crate) struct Daemon {
    process: Process,
    api: Api,
    directory: TempDir,
    /// From its start until it was ready.
    pub(crate) took: Duration,
}

/// A host that is attached; it ends with this.
pub(crate) struct Host {
    _held: Held,
    pub(crate) namespace: Namespace,
}

impl Daemon {
    pub(crate) fn start(setting: Setting<'_>, topology: &str) -> Result<Self, Error> {
        let directory =
            tempfile::tempdir().map_err(Error::system("create a temporary directory"))?;
        let file = directory.path().join("topology.yaml");
        fs::write(&file, topology).map_err(Error::system("write the topology"))?;
        let mut command = Command::new(&setting.tools.viaduct);
        command.arg("run").arg(&file).arg("--runtime-dir").arg(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let api = Api::new(&directory.path().join("control.sock"))?;
        let started = Instant::now();
        let mut process = Process::start(command, None)?;
        loop {
            if api.ask(async |client| client.status().await).is_ok_and(|status| status.ready) {
                let took = started.elapsed();
                return Ok(Self { process, api, directory, took });
            }
            // Looked at only now and then: it is the answer that is timed.
            if started.elapsed() > PATIENCE || process.has_ended()? {
                return Err(process.failed("was not ready".to_owned()));
            }
            stop::check()?;
            thread::sleep(LOOK_AGAIN);
        }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// A namespace for a host that is to be attached.
    pub(crate) fn namespace(&self) -> Result<Namespace, Error> {
        bare_namespace()
    }

    pub(crate) fn attach(&self, host: &str, namespace: Namespace) -> Result<Host, Error> {
        let attach = Attach {
            socket: self.directory.path().join("attach.sock"),
            host: host.to_owned(),
            token: None,
            device: DEVICE_NAME.to_owned(),
            namespace: Some(path_of(&namespace)),
        };
        Ok(Host { _held: attach.attach()?, namespace })
    }

    /// How many connections stand.
    pub(crate) fn connections(&self) -> Result<u64, Error> {
        let counters = self.api.ask(async |client| client.counters().await)?;
        Ok(counters.connections_opened - counters.connections_ended)
    }

    /// Mebibytes that it holds.
    pub(crate) fn resident(&self) -> Result<f64, Error> {
        let bytes =
            machine::resident_bytes(self.process.id()).map_err(Error::system("ask /proc"))?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }

    /// Seconds that it has run.
    pub(crate) fn busy(&self) -> Result<f64, Error> {
        machine::busy_seconds_of(self.process.id()).map_err(Error::system("ask /proc"))
    }

    /// How much of a processor it uses while nothing happens, in percent.
    pub(crate) fn idle(&self, length: Duration) -> Result<f64, Error> {
        // What was begun before may end.
        thread::sleep(Duration::from_millis(300));
        let (before, started) = (self.busy()?, Instant::now());
        while started.elapsed() < length {
            stop::check()?;
            thread::sleep(Duration::from_millis(50).min(length));
        }
        Ok(100.0 * (self.busy()? - before) / started.elapsed().as_secs_f64())
    }
}
