//! Topologies of different sizes: how long the daemon takes to be ready, what it holds, and whether
//! the packets of two of its hosts notice.
//!
//! Half of the ENIs are functions', each with a group of its own, so that no two share one; the other
//! half are instances'.

use std::{fmt::Write, net::Ipv4Addr};

use viaduct_bench::{Direction, Work};

use super::{Series, Setting, daemon::Daemon, sample};
use crate::{
    beds::{Bed, Ground, Kind},
    error::Error,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 128, 10);

pub(super) fn run(setting: Setting<'_>, series: &mut Series) -> Result<(), Error> {
    let steps = if setting.quick { [10, 100, 1000] } else { [10, 1000, 10_000] };
    for enis in steps {
        series.step(enis.to_string());
        setting.progress.doing(format!("topology of {enis} ENIs"));
        let daemon = Daemon::start(setting, &topology(enis))?;
        series.add("ready", "ms", daemon.took.as_secs_f64() * 1e3);
        let client = daemon.attach("function/f0", daemon.namespace()?)?;
        let server = daemon.attach("instance/i0", daemon.namespace()?)?;
        let enis = daemon.api().ask(async |client| client.enis().await)?;
        let seen = enis.iter().find(|eni| eni.security_groups == [GROUP.to_owned()]);
        let Some(std::net::IpAddr::V4(seen)) = seen.map(|eni| eni.private_ip) else {
            return Err(Error::Program {
                program: "viaduct".to_owned(),
                what: "has no ENI for function/f0".to_owned(),
                said: format!("{} ENIs, none with {GROUP}", enis.len()),
            });
        };
        let ground = Ground {
            client: client.namespace.try_clone()?,
            server: server.namespace.try_clone()?,
            target: SERVER,
            seen,
            largest_mtu: 9001,
            devices: Vec::new(),
            held: vec![Box::new((client, server))],
        };
        let mut bed = Bed::on(Kind::Viaduct, ground)?;
        let works = [
            (Work::Exchanges { clients: 1 }, ["request p50", "request p99"]),
            (Work::Streams { streams: 4, direction: Direction::Up }, ["four streams", ""]),
        ];
        for _ in 0..setting.method.repetitions {
            for (work, names) in works {
                sample(setting, series, &mut bed, work, names)?;
            }
        }
        series.add("resident", "MiB", daemon.resident()?);
        drop(bed);
    }
    Ok(())
}

/// The id of the first function's group.
const GROUP: &str = "sg-f0";

fn topology(enis: u32) -> String {
    let half = enis / 2;
    let (mut groups, mut functions, mut instances) = (String::new(), String::new(), String::new());
    // Writing to a String cannot fail.
    for n in 0..half {
        let _ = writeln!(groups, "      f{n}: {{ id: sg-f{n} }}");
        let _ = writeln!(
            functions,
            "  f{n}: {{ subnets: [main/functions], security_groups: [main/f{n}] }}"
        );
        let address = Ipv4Addr::from(u32::from(SERVER) + n);
        let _ = writeln!(
            instances,
            "      i{n}: {{ subnet: servers, private_ip: {address}, security_groups: [server] }}"
        );
    }
    format!(
        "settings: {{ enis_per_vpc: 100000 }}\n\
         vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    subnets:\n      \
         functions: {{ cidr_block: 10.0.0.0/17 }}\n      servers: {{ cidr_block: 10.0.128.0/17 }}\n    \
         security_groups:\n      server: {{ ingress: [ {{ protocol: all, from: 10.0.0.0/17 }} ] }}\n\
         {groups}    instances:\n{instances}functions:\n{functions}"
    )
}
