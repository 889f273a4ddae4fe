//! A rule changed every 100 ms: what requests and datagrams notice of it.
//!
//! Sixteen clients ask, while one more sends datagrams at a rate that a bed at rest loses none of.
//! Two topologies that differ by one rule of the client's group take each other's place. Measured by
//! turns without and with.

use std::{
    thread,
    time::{Duration, Instant},
};

use viaduct_bench::{Order, Window, Work};

use super::{Series, Setting, daemon::Daemon};
use crate::{
    beds::{self, Bed, Ground, Kind, lab},
    error::Error,
    stop,
};

/// Between two changes.
const EVERY: Duration = Duration::from_millis(100);

/// Datagrams a second.
const RATE: u32 = 10_000;

/// Where the other topology has one rule more.
const PLACE: &str = "        egress:\n          - { protocol: tcp, ports: 7000-7999";
const RULE: &str = "        egress:\n          - { protocol: tcp, ports: 9000, to: 0.0.0.0/0 }\n          - { protocol: tcp, ports: 7000-7999";

pub(super) fn run(setting: Setting<'_>, series: &mut Series) -> Result<(), Error> {
    let daemon = Daemon::start(setting, lab::TOPOLOGY)?;
    let client = daemon.attach("function/client", daemon.namespace()?)?;
    let server = daemon.attach("instance/server", daemon.namespace()?)?;
    let ground = Ground {
        client: client.namespace.try_clone()?,
        server: server.namespace.try_clone()?,
        target: lab::SERVER,
        seen: lab::translated(setting.tools, &daemon.runtime_dir().join("topology.yaml"))?,
        largest_mtu: lab::LARGEST_MTU,
        devices: Vec::new(),
        held: Vec::new(),
    };
    let bed = Bed::on(Kind::Viaduct, ground)?;
    series.step("without");
    series.step("with");
    for _ in 0..setting.method.repetitions {
        setting.progress.doing("rule-change");
        let without = once(setting, series, &bed, None)?;
        let with = once(setting, series, &bed, Some(&daemon))?;
        series.add("p99.9, to without", "×", with / without);
    }
    series.limit("lost", 0.0, 0.0);
    series.limit("p99.9, to without", 2.0, 1.2);
    Ok(())
}

/// One measurement, with changes if there is a daemon to make them: p99.9 of the requests.
fn once(
    setting: Setting<'_>,
    series: &mut Series,
    bed: &Bed,
    changes: Option<&Daemon>,
) -> Result<f64, Error> {
    let step = usize::from(changes.is_some());
    let requests = Work::Exchanges { clients: 16 };
    let datagrams = Work::Datagrams { bytes: 64, rate: Some(RATE) };
    let (mut asking, mut sending) = (bed.pair(setting.tools)?, bed.pair(setting.tools)?);
    for (loads, work) in [(&mut asking, requests), (&mut sending, datagrams)] {
        loads[1].tell(&Order::Serve { work })?;
        loads[1].ready(beds::PATIENCE)?;
    }
    let window = Window::after(beds::LEAD, setting.method.length);
    bed.begin(&mut asking, requests, window)?;
    bed.begin(&mut sending, datagrams, window)?;
    if let Some(daemon) = changes {
        let other = lab::TOPOLOGY.replacen(PLACE, RULE, 1);
        let mut next = [&other, lab::TOPOLOGY].into_iter().cycle();
        while !window.is_over() {
            stop::check()?;
            let started = Instant::now();
            let text = next.next().map(ToString::to_string).unwrap_or_default();
            let apply = async |client: viaduct_client::Client| {
                client.apply("topology.yaml", text, false).await
            };
            daemon.api().ask(apply)?;
            series.add_at(step, "apply", "ms", started.elapsed().as_secs_f64() * 1e3);
            thread::sleep(EVERY.saturating_sub(started.elapsed()));
        }
    }
    let [client, server] = bed.end(&mut asking, window)?;
    bed.judge(&[client.clone(), server])?;
    let [sender, receiver] = bed.end(&mut sending, window)?;
    let lost = sender.sent_in_all.packets.saturating_sub(receiver.received_in_all.packets);
    series.add_at(step, "lost", "datagrams", lost as f64);
    bed.judge(&[sender, receiver])?;
    let p999 = client.latency.map_or(f64::NAN, |latency| latency.p999 as f64 / 1e3);
    series.add_at(step, "p99.9", "µs", p999);
    Ok(p999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_topology_is_another() {
        let other = lab::TOPOLOGY.replacen(PLACE, RULE, 1);
        assert_eq!(other.lines().count(), lab::TOPOLOGY.lines().count() + 1);
    }
}
