//! An ENI and a NAT gateway's address filled to the last connection, with real ones: several client
//! and several server processes, every connection echoes once the last is open, and one more is
//! refused with the limit that it met.
//!
//! In plain tests the limits are lowered in the file. With `VIADUCT_CONNECTIONS=full` they are AWS's:
//! that is `scripts/soak-connections`.

mod common;

use std::{collections::HashSet, time::Instant};

use common::{
    Lab,
    crowd::{Process, peers},
    eventually, has, permitted, said, viaduct,
};

/// What fills up, and when. The VPC may have no second ENI, which would come before the first is full.
struct Limits {
    settings: &'static str,
    /// Ports of an address, which is how many connections to one destination an ENI carries.
    ports: usize,
    /// Connections of an ENI.
    eni: usize,
    /// Connections of a NAT gateway's address to one destination.
    nat: usize,
}

const LOWERED: Limits = Limits {
    settings: "{ source_ports: 20000-21983, eni_connections: 2000, enis_per_vpc: 1, \
               nat_gateway_connections_per_destination: 1700 }",
    ports: 1_984,
    eni: 2_000,
    nat: 1_700,
};

/// LAM-07, LAM-09, NAT-05.
const FULL: Limits =
    Limits { settings: "{ enis_per_vpc: 1 }", ports: 64_512, eni: 65_000, nat: 55_000 };

fn limits() -> Limits {
    match std::env::var("VIADUCT_CONNECTIONS").as_deref() {
        Ok("full") => FULL,
        _ => LOWERED,
    }
}

/// Four environments behind one ENI, four instances, a NAT gateway and two hosts of the internet.
fn topology(limits: &Limits, public_ips: &str) -> String {
    format!(
        "
settings: {}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  {{ cidr_block: 10.0.0.0/24, route_table: public }}
      private: {{ cidr_block: 10.0.1.0/24 }}
      data:    {{ cidr_block: 10.0.2.0/24 }}
    route_tables:
      main:   {{ routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      egress: {{ subnet: public, private_ip: 10.0.0.5, public_ips: {public_ips} }}
    security_groups:
      function: {{}}
      server: {{ ingress: [ {{ protocol: tcp, ports: 7, from: security_group/function }} ] }}
    instances:
      one:   {{ subnet: data, private_ip: 10.0.2.11, security_groups: [server] }}
      two:   {{ subnet: data, private_ip: 10.0.2.12, security_groups: [server] }}
      three: {{ subnet: data, private_ip: 10.0.2.13, security_groups: [server] }}
      four:  {{ subnet: data, private_ip: 10.0.2.14, security_groups: [server] }}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function], environments: 4 }}
internet:
  red:  {{ ip: 198.51.100.7 }}
  blue: {{ ip: 198.51.100.8 }}
",
        limits.settings
    )
}

const ENVIRONMENTS: [&str; 4] =
    ["function/api/1", "function/api/2", "function/api/3", "function/api/4"];

const INSTANCES: [(&str, &str); 4] = [
    ("instance/one", "10.0.2.11"),
    ("instance/two", "10.0.2.12"),
    ("instance/three", "10.0.2.13"),
    ("instance/four", "10.0.2.14"),
];

/// Has each client do its part, all at once; returns the sum of a number of their answers.
fn all(clients: &mut [Process], number: &str, command: impl Fn(usize) -> String) -> usize {
    for (index, client) in clients.iter_mut().enumerate() {
        client.tell(&command(index));
    }
    let count = |client: &mut Process| client.hear()[number].as_u64().unwrap() as usize;
    clients.iter_mut().map(count).sum()
}

/// How many connections the interface at this address carries.
fn carried(lab: &Lab, ip: &str) -> usize {
    let enis = lab.get("enis");
    let eni = enis.as_array().unwrap().iter().find(|eni| eni["private_ip"] == ip);
    let eni = eni.unwrap_or_else(|| panic!("no interface has {ip}: {enis:#}"));
    eni["connections"].as_u64().unwrap() as usize
}

/// One more connection, which is refused for this reason, and counted.
fn refused(lab: &Lab, client: &mut Process, to: &str, reason: &str) {
    let before = lab.dropped(reason);
    let port = client.ask(&format!("try {to} 7"))["tried"].as_u64().unwrap();
    let event = lab.wait_for_drop(|event| {
        event["flow"]["source_port"] == port && event["flow"]["destination"] == to
    });
    assert_eq!(event["reason"], reason, "{event:#}");
    let counted = eventually(|| (lab.dropped(reason) > before).then_some(()));
    assert!(counted.is_some(), "{reason} was not counted");
    client.ask("forget");
}

/// Says how long a step of a long run took.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        println!("{what}: {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

// Conforms: LAM-09, D-11
#[test]
fn lam_07_lam_09_an_eni_carries_its_connections_and_no_more() {
    if !permitted() || !has("python3") {
        return;
    }
    let limits = limits();
    let lab = Lab::of("crowd-eni", &topology(&limits, "[203.0.113.10]"));
    let beyond = limits.eni - limits.ports;
    let expected = [limits.ports, beyond, beyond, beyond];
    let servers = INSTANCES.iter().zip(expected);
    let mut servers: Vec<_> =
        servers.map(|((host, _), count)| Process::servers(&lab, host, count)).collect();
    let mut clients = Process::clients(&lab, &ENVIRONMENTS);
    let mut steps = Steps(Instant::now());

    let share = limits.ports / clients.len();
    let open = all(&mut clients, "open", |_| format!("open {share} {} 7", INSTANCES[0].1));
    assert_eq!((open, carried(&lab, "10.0.1.4")), (limits.ports, limits.ports));
    steps.done("every port taken, to one destination");
    refused(&lab, &mut clients[0], INSTANCES[0].1, "PORTS_EXHAUSTED");

    // Towards other destinations the ports serve again (D-11), until the ENI is full.
    let share = beyond / clients.len();
    let open =
        all(&mut clients, "open", |index| format!("open {share} {} 7", INSTANCES[1 + index % 3].1));
    assert_eq!((open, carried(&lab, "10.0.1.4")), (limits.eni, limits.eni));
    for (client, (_, server)) in clients.iter_mut().zip(INSTANCES) {
        refused(&lab, client, server, "QUOTA_EXCEEDED");
    }
    steps.done("as many as it carries");

    assert_eq!(all(&mut clients, "echoed", |_| "echo".to_owned()), limits.eni);
    steps.done("every one has echoed");
    let peers: Vec<_> = servers.iter_mut().map(|servers| peers(servers)).collect();
    assert_eq!(peers.iter().map(HashSet::len).sum::<usize>(), limits.eni);
    assert_eq!(peers[0].len(), limits.ports);
    assert!(peers.iter().flatten().all(|(address, _)| address == "10.0.1.4"), "LAM-02");
    assert_eq!(carried(&lab, "10.0.1.4"), limits.eni);
}

/// The second ENI is there before the first is full, and takes over when it is.
// Conforms: LAM-07
#[test]
fn lam_07_the_connection_after_the_last_has_an_eni_and_address_of_its_own() {
    if !permitted() || !has("python3") {
        return;
    }
    let limits = limits();
    let topology =
        topology(&limits, "[203.0.113.10]").replace("enis_per_vpc: 1", "enis_per_vpc: 2");
    let lab = Lab::of("crowd-growth", &topology);
    let more = limits.eni / 10;
    let each = (limits.eni + more) / INSTANCES.len();
    let mut servers: Vec<_> =
        INSTANCES.iter().map(|(host, _)| Process::servers(&lab, host, each)).collect();
    let mut clients = Process::clients(&lab, &ENVIRONMENTS);
    let mut steps = Steps(Instant::now());
    let mut open = |connections: usize| {
        let share = connections / INSTANCES.len();
        all(&mut clients, "open", |index| format!("open {share} {} 7", INSTANCES[index].1))
    };

    assert_eq!(open(limits.eni), limits.eni);
    let second = eventually(|| {
        let enis = lab.get("enis");
        let second = enis.as_array().unwrap().iter().find(|eni| eni["ordinal"] == 1)?;
        (second["state"] == "in_use").then(|| second["private_ip"].as_str().unwrap().to_owned())
    });
    let second = second.unwrap_or_else(|| panic!("no second ENI: {:#}", lab.get("enis")));
    assert_eq!((carried(&lab, "10.0.1.4"), carried(&lab, &second)), (limits.eni, 0));
    steps.done("the first ENI full, and the second there");
    assert_eq!(open(more), limits.eni + more);
    assert_eq!((carried(&lab, "10.0.1.4"), carried(&lab, &second)), (limits.eni, more));
    steps.done("a tenth more, on the second");

    assert_eq!(all(&mut clients, "echoed", |_| "echo".to_owned()), limits.eni + more);
    steps.done("every one has echoed");
    let peers: Vec<_> = servers.iter_mut().flat_map(|servers| peers(servers)).collect();
    let from = |ip: &str| peers.iter().filter(|(address, _)| address == ip).count();
    assert_eq!((from("10.0.1.4"), from(&second)), (limits.eni, more), "none is lost");
}

// Conforms: NAT-05, NAT-09
#[test]
fn nat_05_nat_09_a_nat_address_carries_its_connections_to_each_destination_and_no_more() {
    const RED: &str = "198.51.100.7";
    const BLUE: &str = "198.51.100.8";
    if !permitted() || !has("python3") {
        return;
    }
    let limits = limits();
    let lab = Lab::of("crowd-nat", &topology(&limits, "[203.0.113.10]"));
    let mut red = Process::servers(&lab, "internet/red", 2 * limits.nat);
    let mut blue = Process::servers(&lab, "internet/blue", limits.nat);
    let clients = || Process::clients(&lab, &INSTANCES.map(|(host, _)| host));
    let mut clients = [clients(), clients(), clients()];
    let mut steps = Steps(Instant::now());

    let share = limits.nat / INSTANCES.len();
    for (clients, to) in clients.iter_mut().zip([RED, BLUE]) {
        assert_eq!(all(clients, "open", |_| format!("open {share} {to} 7")), limits.nat);
        steps.done("every connection to one destination");
    }
    assert_eq!(carried(&lab, "10.0.0.5"), 2 * limits.nat);
    for to in [RED, BLUE] {
        refused(&lab, &mut clients[2][0], to, "PORTS_EXHAUSTED");
    }

    // A second address carries as many again (NAT-06).
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), topology(&limits, "[203.0.113.10, 203.0.113.11]")).unwrap();
    let mut apply = viaduct();
    let output = apply.args(["apply", "--lab", &lab.name]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(all(&mut clients[2], "open", |_| format!("open {share} {RED} 7")), limits.nat);
    steps.done("as many again through a second address");
    refused(&lab, &mut clients[2][0], RED, "PORTS_EXHAUSTED");

    for clients in &mut clients {
        assert_eq!(all(clients, "echoed", |_| "echo".to_owned()), limits.nat);
    }
    steps.done("every one has echoed");
    let (red, blue) = (peers(&mut red), peers(&mut blue));
    assert_eq!((red.len(), blue.len()), (2 * limits.nat, limits.nat));
    let from = |peers: &HashSet<(String, u16)>, ip| peers.iter().filter(|it| it.0 == ip).count();
    assert_eq!(from(&red, "203.0.113.10"), limits.nat);
    assert_eq!(from(&red, "203.0.113.11"), limits.nat);
    assert_eq!(from(&blue, "203.0.113.10"), limits.nat);
}
