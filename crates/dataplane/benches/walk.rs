//! What the first packet of a connection costs before it has a port: the walk, over a VPC at AWS's
//! quotas. Interfaces carry 5 groups of 60 rules each way (SG-30), ACLs have 20 rules (ACL-20),
//! tables 500 routes (RT-25), and every packet is admitted by the last rule that could.

use std::{fmt::Write, hint::black_box, net::Ipv4Addr, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use viaduct_dataplane::{
    explain::{Probe, Query, Sender, explain},
    inventory::{ENVIRONMENT_ADDRESS, Inventory},
    policy::{Numbers, Policy},
    recorder::Silent,
    walk::{Options, Subject, back, forward},
};
use viaduct_topology::{Topology, inventory::AttachmentId, model::PortRange};
use viaduct_wire::Flow;

fn text() -> String {
    let mut text = String::from(
        "vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a, network_acl: full }
      data: { cidr_block: 10.0.2.0/24, availability_zone: a, network_acl: full }
      public: { cidr_block: 10.0.0.0/24, availability_zone: a, network_acl: full, route_table: public }
    internet_gateway: igw
    nat_gateways: { egress: { subnet: public, public_ips: [203.0.113.10] } }
    route_tables:
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
      main:
        main: true
        routes:
          - { destination: 0.0.0.0/0, target: nat_gateway/egress }
",
    );
    for index in 0..498 {
        let (high, low) = (index / 250, index % 250);
        writeln!(
            text,
            "          - {{ destination: 172.{}.{low}.0/24, target: blackhole }}",
            16 + high
        )
        .unwrap();
    }
    text.push_str("    network_acls:\n      full:\n");
    for direction in ["ingress", "egress"] {
        writeln!(text, "        {direction}:").unwrap();
        for number in 1..20 {
            writeln!(text, "          {number}: {{ action: deny, protocol: tcp, ports: {number}, cidr_block: 0.0.0.0/0 }}").unwrap();
        }
        text.push_str("          100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 }\n");
    }
    text.push_str("    security_groups:\n");
    for group in 0..5 {
        writeln!(text, "      g{group}:").unwrap();
        for (direction, peer) in [("ingress", "from"), ("egress", "to")] {
            writeln!(text, "        {direction}:").unwrap();
            for rule in 0..60 {
                let last = group == 4 && rule == 59;
                let block =
                    if last { "0.0.0.0/0".into() } else { format!("192.168.{group}.{rule}/32") };
                writeln!(text, "          - {{ protocol: tcp, ports: 443, {peer}: {block} }}")
                    .unwrap();
            }
        }
    }
    text.push_str(
        "    instances: { db: { subnet: data, private_ip: 10.0.2.10, security_groups: [g0, g1, g2, g3, g4] } }
functions:
  api: { subnets: [main/private], security_groups: [main/g0, main/g1, main/g2, main/g3, main/g4] }
internet:
  web: { ip: 198.51.100.7 }
",
    );
    text
}

struct World {
    topology: Topology,
    numbers: Arc<Numbers>,
    policy: Policy,
    inventory: Inventory,
    function: AttachmentId,
}

fn world() -> World {
    let topology = viaduct_config_plane::load("bench.yaml", &text())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .topology;
    let numbers = Arc::new(Numbers::new());
    let policy = Policy::compile(&topology, None, &numbers);
    let inventory = Inventory::new(Arc::clone(&numbers));
    let plan = viaduct_control_plane::plan(&topology).expect("it fits");
    for eni in &plan.enis {
        inventory.add_eni(eni, &topology.settings).expect("ids differ");
    }
    for attachment in &plan.attachments {
        inventory.add_attachment(attachment).expect("ids differ");
    }
    let function = plan.attachments[0].id;
    World { topology, numbers, policy, inventory, function }
}

fn subject(destination: [u8; 4]) -> Subject {
    let flow = Flow {
        protocol: 6,
        source: ENVIRONMENT_ADDRESS,
        destination: destination.into(),
        source_port: 40_000,
        destination_port: 443,
    };
    Subject { flow, icmp: (0, 0), source_ports: PortRange::single(40_000) }
}

fn walks(c: &mut Criterion) {
    let World { topology, numbers, policy, inventory, function } = &world();
    let mut group = c.benchmark_group("walk");
    for (name, destination) in
        [("to_an_instance", [10, 0, 2, 10]), ("through_nat", [198, 51, 100, 7])]
    {
        let subject = subject(destination);
        let walk = || {
            forward(
                policy,
                inventory,
                *function,
                black_box(&subject),
                Options::default(),
                &mut Silent,
            )
        };
        let path = walk().expect("the last rule admits it");
        group.bench_function(format!("forward/{name}"), |b| b.iter(walk));
        let again = Options::again(&path);
        group.bench_function(format!("again/{name}"), |b| {
            b.iter(|| {
                forward(policy, inventory, *function, black_box(&subject), again, &mut Silent)
            });
        });
        let translated = path.translate(&subject.flow, [1024, 2048, 3072]);
        group.bench_function(format!("back/{name}"), |b| {
            b.iter(|| back(policy, inventory, &path, black_box(&translated), None, &mut Silent));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("policy");
    group.bench_function("compile", |b| b.iter(|| Policy::compile(topology, None, numbers)));
    group.bench_function("compile_unchanged", |b| {
        b.iter(|| Policy::compile(topology, Some(policy), numbers));
    });
    group.bench_function("explain", |b| {
        let query = Query {
            from: Sender::Attachment(*function),
            to: Ipv4Addr::new(198, 51, 100, 7),
            probe: Probe::Tcp(443),
            source_port: None,
            one_way: false,
        };
        b.iter(|| explain(policy, inventory, &query));
    });
    group.finish();
}

criterion_group!(benches, walks);
criterion_main!(benches);
