//! Attaching one more host while many are: how long it takes from the first question to packets
//! flowing, what of that the daemon works, and what all of them cost while nothing happens.
//!
//! The many are an agent's; the one more is attached from here, over and over, as `viaduct attach`
//! does it. Its namespace is made before the clock starts.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Series, Setting, daemon::Daemon};
use crate::{error::Error, process::Process};

/// How often one more is attached at each step.
const TIMES: usize = 21;

/// The daemon's is the last reference to a device that goes, and the kernel takes its time to end one.
const DETACHED_AFTER: Duration = Duration::from_millis(50);

/// How long an agent may take for each host.
const PATIENCE_PER_HOST: Duration = Duration::from_millis(200);

pub(super) fn run(setting: Setting<'_>, series: &mut Series) -> Result<(), Error> {
    let steps = if setting.quick { [1, 10, 100] } else { [1, 100, 1000] };
    for hosts in steps {
        series.step(hosts.to_string());
        setting.progress.doing(format!("attachments: {hosts}"));
        let daemon = Daemon::start(setting, &topology(hosts + 1))?;
        let mut command = Command::new(&setting.tools.viaduct);
        command.arg("agent").arg("--runtime-dir").arg(daemon.runtime_dir());
        command.args(["--prefix", &format!("vb-{}-", std::process::id())]);
        command.args((1..=hosts).map(|host| format!("function/client/{host}")));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let mut agent = Process::start(command, None)?;
        let patience = Duration::from_secs(10) + PATIENCE_PER_HOST * hosts;
        let all = hosts as usize;
        agent.wait_until(patience, || Ok(daemon.api().attached().unwrap_or(0) >= all))?;
        series.add("all by an agent", "ms", started.elapsed().as_secs_f64() * 1e3);

        let one_more = format!("function/client/{}", hosts + 1);
        for _ in 0..TIMES {
            let namespace = daemon.namespace()?;
            let (busy, started) = (daemon.busy()?, Instant::now());
            let host = daemon.attach(&one_more, namespace)?;
            series.add("one more", "ms", started.elapsed().as_secs_f64() * 1e3);
            let attached = daemon.busy()?;
            series.add("daemon, attach", "µs of a processor", (attached - busy) * 1e6);
            drop(host);
            thread::sleep(DETACHED_AFTER);
            let detached = daemon.busy()?;
            series.add("daemon, detach", "µs of a processor", (detached - attached) * 1e6);
        }
        series.add("idle", "% of a processor", daemon.idle(setting.method.length)?);
        series.add("resident", "MiB", daemon.resident()?);
    }
    series.limit("one more", 2.0, 1.0);
    series.limit("daemon, attach", 100.0, 100.0);
    series.limit("idle", 1.0, 1.0);
    Ok(())
}

fn topology(environments: u32) -> String {
    format!(
        "vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    subnets: {{ all: {{ cidr_block: \
         10.0.0.0/17 }} }}\nfunctions:\n  client: {{ subnets: [main/all], security_groups: \
         [default], environments: {environments} }}\n"
    )
}
