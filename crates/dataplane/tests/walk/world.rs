//! A network to ask: a topology loaded from a text, compiled and planned as the daemon does it.
//!
//! Every answer is asked for twice, as a packet and as an explanation, and the two must agree.

use std::{fmt::Write, net::Ipv4Addr, sync::Arc};

use viaduct_dataplane::{
    explain::{self, Explanation, Probe, Query, Sender, Verdict, Way},
    inventory::{ENVIRONMENT_ADDRESS, Inventory, Place},
    policy::{Numbers, Policy},
    recorder::Silent,
    walk::{self, Options, Path, Subject},
};
use viaduct_topology::{
    Reason, Topology,
    inventory::AttachmentId,
    model::{Endpoint, PortRange},
};
use viaduct_wire::Flow;

/// What a question comes to: nothing, or the first blocker's reason and which packet it refuses.
pub(crate) type Answer = Option<(Way, Reason)>;

pub(crate) const FORWARD: Way = Way::Forward;
pub(crate) const RETURN: Way = Way::Return;

pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) policy: Policy,
    pub(crate) inventory: Inventory,
}

pub(crate) fn load(text: &str) -> Topology {
    match viaduct_config_plane::load("test.yaml", text) {
        Ok(loaded) => loaded.topology,
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

impl World {
    pub(crate) fn new(text: &str) -> Self {
        Self::of(load(text))
    }

    pub(crate) fn of(topology: Topology) -> Self {
        let numbers = Arc::new(Numbers::new());
        let policy = Policy::compile(&topology, None, &numbers);
        let inventory = Inventory::new(Arc::clone(&numbers));
        let plan = viaduct_control_plane::plan(&topology).unwrap();
        for eni in &plan.enis {
            inventory.add_eni(eni, &topology.settings).unwrap();
        }
        for attachment in &plan.attachments {
            inventory.add_attachment(attachment).unwrap();
        }
        Self { topology, numbers, policy, inventory }
    }

    /// Exchanges the policy for that of another text; the inventory stays.
    pub(crate) fn reload(&mut self, text: &str) {
        self.topology = load(text);
        self.policy = Policy::compile(&self.topology, Some(&self.policy), &self.numbers);
    }

    fn endpoint(&self, text: &str) -> Endpoint {
        self.topology.parse_endpoint(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub(crate) fn attachment(&self, name: &str) -> AttachmentId {
        let attachments = self.inventory.attachments();
        let first = format!("{name}/1");
        let found = attachments.iter().find(|it| it.name == name || it.name == first);
        found.unwrap_or_else(|| panic!("no attachment {name} among {attachments:#?}")).id
    }

    pub(crate) fn queries(&self, from: &str, to: &str, traffic: &str) -> Vec<Query> {
        let (from, to) = (self.endpoint(from), self.endpoint(to));
        let traffic = viaduct_topology::flow::parse_traffic(traffic).unwrap();
        explain::queries(&self.topology, &self.inventory, &from, &to, traffic).unwrap()
    }

    pub(crate) fn explain(&self, from: &str, to: &str, traffic: &str) -> Explanation {
        let [query] = &self.queries(from, to, traffic)[..] else {
            panic!("{from} is in several subnets")
        };
        explain::explain(&self.policy, &self.inventory, query).unwrap()
    }

    /// The explanation's answer for the round trip, after making sure that packets agree.
    pub(crate) fn ask(&self, from: &str, to: &str, traffic: &str) -> Answer {
        let [query] = &self.queries(from, to, traffic)[..] else {
            panic!("{from} is in several subnets")
        };
        self.ask_query(query)
    }

    pub(crate) fn ask_query(&self, query: &Query) -> Answer {
        let explained = explain::explain(&self.policy, &self.inventory, query).unwrap();
        let answer = explained.direction.zip(explained.reason);
        assert_eq!(explained.verdict == Verdict::Allow, answer.is_none(), "{explained}");

        let there = self.packets(query, 40_000);
        match (&there, answer) {
            (Err(reason), Some((Way::Forward, told))) if *reason == told => {}
            (Ok(_), None | Some((Way::Return, _))) => {}
            _ => panic!("packets and explanation differ: {there:?}\n{explained}"),
        }
        if let Ok(stages) = there {
            self.agree_on_replies(query, &stages, answer, &explained);
        }
        answer
    }

    /// A reply passes for every port that the request may have had, or the explanation says no.
    fn agree_on_replies(&self, query: &Query, stages: &[Path], answer: Answer, told: &Explanation) {
        let replies: Vec<_> = [1024, 30_000, 32_767, 32_768, 45_000, 60_999, 65_535]
            .into_iter()
            .filter_map(|port| Some((port, self.reply(query, stages, port)?)))
            .collect();
        let agrees = match answer {
            None => replies.iter().all(|(_, reply)| reply.is_ok()),
            Some((_, reason)) => replies.iter().any(|(_, reply)| *reply == Err(reason)),
        };
        let expected = !replies.is_empty() || answer.is_none();
        assert!(agrees && expected, "packets and explanation differ: {replies:?}\n{told}");
    }

    /// Walks the first packet of the flow.
    pub(crate) fn packet(&self, query: &Query, source_port: u16) -> Result<Path, Reason> {
        let (id, flow) = self.first_packet(query, source_port);
        self.walk(id, flow, query.probe, Options::default())
    }

    /// Walks the first packet of the flow, and what each appliance on its way makes of it, which is
    /// to forward it as it is.
    fn packets(&self, query: &Query, source_port: u16) -> Result<Vec<Path>, Reason> {
        const MANY: usize = 10;
        let (mut id, mut flow) = self.first_packet(query, source_port);
        let mut stages = Vec::new();
        while stages.len() < MANY {
            let path = self.walk(id, flow, query.probe, Options::default())?;
            flow = path.translate(&flow, [1024, 2048, 3072]).arrival();
            id = path.target;
            let last = path.appliance(&flow).is_none();
            stages.push(path);
            if last {
                return Ok(stages);
            }
        }
        Err(Reason::RoutingLoop)
    }

    pub(crate) fn walk(
        &self,
        ingress: AttachmentId,
        flow: Flow,
        probe: Probe,
        options: Options,
    ) -> Result<Path, Reason> {
        let icmp = match probe {
            Probe::Icmp { kind, code } => (kind, code),
            _ => (0, 0),
        };
        let source_ports = PortRange::single(flow.source_port);
        let subject = Subject { flow, icmp, source_ports };
        walk::forward(&self.policy, &self.inventory, ingress, &subject, options, &mut Silent)
    }

    pub(crate) fn first_packet(&self, query: &Query, source_port: u16) -> (AttachmentId, Flow) {
        let id = match &query.from {
            Sender::Attachment(id) => *id,
            Sender::Eni { name, .. } | Sender::ServiceVpc { name } => self.attachment(name),
        };
        let source = match self.inventory.attachment(id).unwrap().place {
            Place::Environment { .. } => ENVIRONMENT_ADDRESS,
            Place::Instance(ref interface) => interface.ip,
            Place::Internet(ip) => ip,
            Place::Service(service) => self.policy.service(service).unwrap().ip,
        };
        let (protocol, source_port, destination_port) = match query.probe {
            Probe::Tcp(port) => (6, source_port, port),
            Probe::Udp(port) => (17, source_port, port),
            Probe::Icmp { .. } => (1, source_port, 0),
            Probe::Protocol(protocol) => (protocol, 0, 0),
        };
        (id, Flow { protocol, source, destination: query.to, source_port, destination_port })
    }

    /// Judges the reply to a request whose translated port was this one; none where it cannot be.
    fn reply(&self, query: &Query, stages: &[Path], port: u16) -> Option<Result<(), Reason>> {
        let translates = stages.iter().any(|path| path.translators().iter().any(Option::is_some));
        let host_port = (32_768..=60_999).contains(&port);
        if !translates && !host_port {
            return None;
        }
        let own = if host_port { port } else { 40_000 };
        let (_, mut flow) = self.first_packet(query, own);
        let icmp = match query.probe {
            Probe::Icmp { kind: 8, .. } => Some((0, 0)),
            Probe::Icmp { kind, .. } => Some((kind + 1, 0)),
            _ => None,
        };
        let mut replies = Vec::new();
        for path in stages {
            let translated = path.translate(&flow, [port; 3]);
            flow = translated.arrival();
            let (policy, inventory) = (&self.policy, &self.inventory);
            replies.push(walk::back(policy, inventory, path, &translated, icmp, &mut Silent));
        }
        Some(replies.into_iter().rev().collect())
    }

    /// The source address that the receiver of this flow sees.
    pub(crate) fn seen_source(&self, from: &str, to: &str, traffic: &str) -> Ipv4Addr {
        let query = &self.queries(from, to, traffic)[0];
        let path = self.packet(query, 40_000).unwrap();
        let (_, flow) = self.first_packet(query, 40_000);
        path.translate(&flow, [1024, 2048, 3072]).arrival().source
    }
}

/// A VPC `main` 10.0.0.0/16 with an internet gateway and four subnets of one zone, in which each
/// test changes what it is about. `a` 10.0.1.0/24 and `b` 10.0.2.0/24 use the main table, `public`
/// 10.0.0.0/24 leads to the internet gateway, `nat` 10.0.9.0/24 has the NAT gateway `egress`.
#[derive(Clone, Default)]
pub(crate) struct Network {
    pub(crate) prefix_lists: &'static str,
    pub(crate) services: &'static str,
    pub(crate) vpc_endpoints: &'static str,
    pub(crate) main_routes: &'static str,
    pub(crate) nat_routes: Option<&'static str>,
    pub(crate) groups: &'static str,
    pub(crate) acls: &'static str,
    /// Which ACL each subnet has: `b: strict`.
    pub(crate) acl_of: &'static [(&'static str, &'static str)],
    pub(crate) instances: &'static str,
    pub(crate) functions: &'static str,
    pub(crate) internet: &'static str,
    pub(crate) settings: &'static str,
    /// Other VPCs, one in a line.
    pub(crate) vpcs: &'static str,
    pub(crate) peerings: &'static str,
    /// Subnets of `main` besides those above, and their tables.
    pub(crate) subnets: &'static str,
    pub(crate) route_tables: &'static str,
    /// NAT gateways besides `egress`.
    pub(crate) nat_gateways: &'static str,
    pub(crate) no_internet_gateway: bool,
}

impl Network {
    pub(crate) fn world(&self) -> World {
        World::new(&self.text())
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.settings.is_empty() {
            text.push_str(&format!("settings: {}\n", self.settings));
        }
        section(&mut text, 0, "prefix_lists", self.prefix_lists);
        section(&mut text, 0, "services", self.services);
        text.push_str("vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    subnets:\n");
        lines(&mut text, 6, self.subnets);
        let mut subnet = |name: &str, block: &str, table: &str| {
            let acl = self.acl_of.iter().find(|(subnet, _)| *subnet == name);
            let acl = acl.map_or(String::new(), |(_, acl)| format!(", network_acl: {acl}"));
            writeln!(
                text,
                "      {name}: {{ cidr_block: {block}, availability_zone: a{table}{acl} }}"
            )
            .unwrap();
        };
        subnet("a", "10.0.1.0/24", "");
        subnet("b", "10.0.2.0/24", "");
        if self.no_internet_gateway {
            text.push_str("    route_tables:\n");
        } else {
            subnet("public", "10.0.0.0/24", ", route_table: public");
            subnet("nat", "10.0.9.0/24", ", route_table: nat");
            let nat = self
                .nat_routes
                .unwrap_or("[ { destination: 0.0.0.0/0, target: internet_gateway/igw } ]");
            text.push_str(
                "    internet_gateway: igw
    nat_gateways:
      egress: { subnet: nat, private_ip: 10.0.9.9, public_ips: [203.0.113.9] }
",
            );
            lines(&mut text, 6, self.nat_gateways);
            text.push_str(
                "    route_tables:
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
",
            );
            writeln!(text, "      nat: {{ routes: {nat} }}").unwrap();
        }
        let routes = match self.main_routes {
            "" => "[]",
            routes => routes,
        };
        writeln!(text, "      main: {{ main: true, routes: {routes} }}").unwrap();
        lines(&mut text, 6, self.route_tables);
        for (key, value) in [
            ("vpc_endpoints", self.vpc_endpoints),
            ("security_groups", self.groups),
            ("network_acls", self.acls),
            ("instances", self.instances),
        ] {
            section(&mut text, 4, key, value);
        }
        lines(&mut text, 2, self.vpcs);
        section(&mut text, 0, "vpc_peering_connections", self.peerings);
        section(&mut text, 0, "functions", self.functions);
        section(&mut text, 0, "internet", self.internet);
        text
    }
}

/// A key and its lines, indented.
fn section(text: &mut String, indent: usize, key: &str, under: &str) {
    if !under.trim().is_empty() {
        writeln!(text, "{:indent$}{key}:", "").unwrap();
        lines(text, indent + 2, under);
    }
}

fn lines(text: &mut String, indent: usize, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(text, "{:indent$}{line}", "").unwrap();
    }
}

/// A group that admits everything, in both directions.
pub(crate) const OPEN: &str = "open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }";

/// Whether packets of both ways meet the same borders and translations, and end at the same place.
pub(crate) fn same_way(one: &Path, other: &Path) -> bool {
    let flow = Flow {
        protocol: 6,
        source: ENVIRONMENT_ADDRESS,
        destination: Ipv4Addr::new(192, 0, 2, 1),
        source_port: 1,
        destination_port: 2,
    };
    let seen = |path: &Path| path.translate(&flow, [1024, 2048, 3072]);
    one.target == other.target && one.legs() == other.legs() && seen(one) == seen(other)
}
