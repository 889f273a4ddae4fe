//! Connections that stand: what one more packet of any of them costs, and what they hold.
//!
//! Sixteen functions, each with a group and so an ENI of its own, and one instance with many
//! addresses. A connection is a UDP socket of a function and an address of the instance: the server
//! needs one socket for all of them, the clients a few thousand. Then, at each step: datagrams over
//! all of them in random order; and a stream and requests of one more client among them.

use std::{fmt::Write, net::Ipv4Addr, time::Duration};

use viaduct_bench::{Direction, Order, Report, Spread, Window, Work};

use super::{
    Series, Setting,
    daemon::{Daemon, Host},
    sample,
};
use crate::{
    beds::{self, Bed, Ground, Kind, path_of},
    error::Error,
    figure::figures,
    load::Load,
};

/// Functions, and so ENIs.
const ENIS: u16 = 16;

/// Addresses of the instance.
const ADDRESSES: u16 = 64;

/// The first of them.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);

/// Connections opened a second: slow enough for none to be lost on the way.
const RATE: u32 = 50_000;

/// How many times those that were lost may be opened again.
const TRIES: u32 = 4;

/// Sockets of each function at each step, and what the step is called. 976 × 64 = 62,464 of the
/// 64,512 ports of an ENI; all of them together are 999,424, of the million that a daemon carries
/// unless told otherwise.
const STEPS: [(u16, &str); 3] = [(0, "1"), (64, "64 K"), (976, "1 M")];

pub(super) fn run(setting: Setting<'_>, series: &mut Series) -> Result<(), Error> {
    let daemon = Daemon::start(setting, &topology())?;
    let hosts: Vec<Host> = (0..ENIS)
        .map(|n| daemon.attach(&format!("function/f{n}"), daemon.namespace()?))
        .collect::<Result<_, Error>>()?;
    let server = daemon.attach("instance/server", daemon.namespace()?)?;
    let further = daemon.attach("function/further", daemon.namespace()?)?;
    let mut bed = bed(&daemon, &further, &server)?;
    let all = Spread {
        namespaces: hosts.iter().map(|host| path_of(&host.namespace)).collect(),
        sockets: 1,
        addresses: (0..ADDRESSES).map(address).collect(),
    };

    let steps = if setting.quick { &STEPS[..2] } else { &STEPS[..] };
    for (sockets, name) in steps {
        series.step(*name);
        setting.progress.doing(format!("connections: {name}"));
        let spread = match sockets {
            0 => Spread {
                namespaces: all.namespaces[..1].to_vec(),
                addresses: vec![SERVER],
                ..all.clone()
            },
            _ => Spread { sockets: *sockets, ..all.clone() },
        };
        let mut loads = [
            Load::start(setting.tools, &hosts[0].namespace, "clients")?,
            Load::start(setting.tools, &server.namespace, "server")?,
        ];
        open(&daemon, &spread, &mut loads)?;
        series.add("standing", "", daemon.connections()? as f64);
        for _ in 0..setting.method.repetitions {
            scatter(setting, series, &daemon, &spread, &mut loads)?;
            let work = Work::Streams { streams: 1, direction: Direction::Up };
            sample(setting, series, &mut bed, work, ["one stream", ""])?;
            sample(
                setting,
                series,
                &mut bed,
                Work::Exchanges { clients: 1 },
                ["request p50", "request p99"],
            )?;
        }
        series.add("resident", "MiB", daemon.resident()?);
    }
    if !setting.quick {
        series.limit("resident", 300.0, 300.0);
    }
    Ok(())
}

/// Opens every connection, and again those that were lost on the way.
fn open(daemon: &Daemon, spread: &Spread, [clients, server]: &mut [Load; 2]) -> Result<(), Error> {
    let wanted = spread.connections() as u64;
    let length = Duration::from_secs(wanted / u64::from(RATE) + 3);
    let work = Work::Datagrams { bytes: 64, rate: None };
    for _ in 0..TRIES {
        server.tell(&Order::Serve { work })?;
        server.ready(beds::PATIENCE)?;
        server.tell(&Order::Go { window: Window::after(Duration::ZERO, length) })?;
        clients.tell(&Order::Open { spread: spread.clone(), rate: RATE })?;
        // It may take several times as long as it should on a machine that does other things.
        clients.report(length * 10 + beds::PATIENCE)?;
        server.report(length + beds::PATIENCE)?;
        if daemon.connections()? >= wanted {
            return Ok(());
        }
    }
    let stand = daemon.connections()?;
    Err(Error::Program {
        program: "viaduct".to_owned(),
        what: format!("carries {stand} connections of {wanted}"),
        said: "their first datagrams were dropped, each time".to_owned(),
    })
}

/// Datagrams over connections in random order.
fn scatter(
    setting: Setting<'_>,
    series: &mut Series,
    daemon: &Daemon,
    spread: &Spread,
    [clients, server]: &mut [Load; 2],
) -> Result<(), Error> {
    let work = Work::Datagrams { bytes: 64, rate: None };
    server.tell(&Order::Serve { work })?;
    server.ready(beds::PATIENCE)?;
    // Thousands of sockets are opened first.
    let lead = Duration::from_millis(500 + spread.connections() as u64 / 1000);
    let window = Window::after(lead, setting.method.length);
    server.tell(&Order::Go { window })?;
    clients.tell(&Order::Scatter { spread: spread.clone(), window })?;
    let patience = lead + setting.method.length + beds::PATIENCE;
    let (client, server) = (clients.report(patience)?, server.report(patience)?);
    translated(daemon, &server)?;
    let measured = figures(work, &client, &server, window);
    for (name, (figure, value)) in
        ["random order", "of it lost", "of it cpu"].into_iter().zip(measured)
    {
        series.add(name, figure.unit(), value);
    }
    Ok(())
}

/// Whether what came, came from ENIs.
fn translated(daemon: &Daemon, server: &Report) -> Result<(), Error> {
    let enis = daemon.api().ask(async |client| client.enis().await)?;
    let is_eni = |source: &Ipv4Addr| enis.iter().any(|eni| eni.private_ip == *source);
    let strangers = server.sources.keys().filter(|source| !is_eni(source));
    let strangers: Vec<String> = strangers.map(ToString::to_string).collect();
    if !strangers.is_empty() {
        let (bed, saw, expected) = (Kind::Viaduct, strangers.join(", "), "an ENI".to_owned());
        return Err(Error::NotTranslated { bed, saw, expected });
    }
    if server.sources.is_empty() {
        return Err(Error::Nothing { bed: Kind::Viaduct, failure: None });
    }
    Ok(())
}

/// One more client among them.
fn bed(daemon: &Daemon, client: &Host, server: &Host) -> Result<Bed, Error> {
    let enis = daemon.api().ask(async |client| client.enis().await)?;
    let own = enis.iter().find(|eni| eni.security_groups == ["sg-further".to_owned()]);
    let seen = match own.map(|eni| eni.private_ip) {
        Some(std::net::IpAddr::V4(seen)) => seen,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let ground = Ground {
        client: client.namespace.try_clone()?,
        server: server.namespace.try_clone()?,
        target: SERVER,
        seen,
        largest_mtu: 9001,
        devices: Vec::new(),
        held: Vec::new(),
    };
    Bed::on(Kind::Viaduct, ground)
}

fn address(n: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(SERVER) + u32::from(n))
}

/// Connections stay for as long as the row takes: none is to be opened again while it is measured.
fn topology() -> String {
    let (mut groups, mut functions) = (String::new(), String::new());
    let names = (0..ENIS).map(|n| format!("f{n}")).chain(["further".to_owned()]);
    // Writing to a String cannot fail.
    for name in names {
        let _ = writeln!(groups, "      {name}: {{ id: sg-{name} }}");
        let _ = writeln!(
            functions,
            "  {name}: {{ subnets: [main/functions], security_groups: [main/{name}] }}"
        );
    }
    let secondary: Vec<String> = (1..ADDRESSES).map(|n| address(n).to_string()).collect();
    let secondary = secondary.join(", ");
    format!(
        "settings:\n  environment_connections: none\n  \
         connection_tracking: {{ udp_timeout: 65535, udp_stream_timeout: 65535 }}\n  \
         nat: {{ udp_timeout: 65535 }}\n\
         vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    subnets:\n      \
         functions: {{ cidr_block: 10.0.1.0/24 }}\n      servers: {{ cidr_block: 10.0.2.0/24 }}\n    \
         security_groups:\n      server: {{ ingress: [ {{ protocol: all, from: 10.0.1.0/24 }} ] }}\n\
         {groups}    instances:\n      server: {{ subnet: servers, private_ip: {SERVER}, \
         secondary_private_ips: [{secondary}], security_groups: [server] }}\n\
         functions:\n{functions}"
    )
}
