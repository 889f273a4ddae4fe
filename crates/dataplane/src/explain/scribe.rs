//! Writes down, in words, what the walk looks at.

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, model::PortRange};

use super::{Blocker, Component, Hop, Verdict, Way};
use crate::{
    inventory::{Interface, Owner, Place, View},
    policy::{
        Direction, ICMP, Peer, Policy, PortWords, Route, Rule, Ruling, TCP, Target, UDP, Words,
    },
    recorder::{GroupDecision, Header, Recorder, Step},
};

/// A recorder of one way.
pub(super) struct Scribe<'a> {
    way: Way,
    sender: String,
    sender_component: Component,
    view: &'a View<'a>,
    hops: Vec<Hop>,
    blockers: Vec<Blocker>,
}

/// What is said of a step.
struct Said {
    component: Component,
    id: Option<String>,
    name: String,
    check: String,
    rule: Option<String>,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(
        way: Way,
        sender: &str,
        sender_component: Component,
        view: &'a View<'a>,
    ) -> Self {
        let sender = sender.to_owned();
        Self { way, sender, sender_component, view, hops: Vec::new(), blockers: Vec::new() }
    }

    /// What follows is what an appliance makes of the packet.
    pub(super) fn go_on_from(&mut self, appliance: &str) {
        appliance.clone_into(&mut self.sender);
        self.sender_component = Component::Instance;
    }

    /// An appliance has the packet again.
    pub(super) fn came_back(&mut self, header: &Header) {
        let said = Said {
            component: self.sender_component,
            id: None,
            name: self.sender.clone(),
            check: "has had this packet before".into(),
            rule: None,
        };
        self.note(said, words(header), words(header), Some(Reason::RoutingLoop));
    }

    /// All that was written down. The walk's outcome is never milder than its steps: a walk that
    /// ended without one, for want of a resource that interfaces still name, is told as such.
    pub(super) fn finish(mut self, blocked: Option<Reason>) -> (Vec<Hop>, Vec<Blocker>) {
        if let Some(reason) = blocked
            && self.blockers.is_empty()
        {
            let header = self.hops.last().map_or_else(String::new, |hop| hop.after.clone());
            let said = Said {
                component: self.sender_component,
                id: None,
                name: self.sender.clone(),
                check: "is somewhere that the policy in force does not have".into(),
                rule: None,
            };
            self.note(said, header.clone(), header, Some(reason));
        }
        (self.hops, self.blockers)
    }

    fn note(&mut self, said: Said, before: String, after: String, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.blockers.push(Blocker {
                direction: self.way,
                reason,
                hop: self.hops.len() + 1,
                component: said.component,
                id: said.id.clone(),
                name: said.name.clone(),
                rule: said.rule.clone(),
            });
        }
        self.hops.push(Hop {
            component: said.component,
            id: said.id,
            name: said.name,
            check: said.check,
            rule: said.rule,
            before,
            after,
            verdict: if reason.is_none() { Verdict::Allow } else { Verdict::Deny },
            reason,
        });
    }

    fn say(&self, policy: &Policy, before: &Header, after: &Header, step: Step<'_>) -> Said {
        match step {
            Step::Source { own, interface } => {
                let source = before.flow.source;
                let check = if source == own {
                    format!("sends from its own address {own}")
                } else {
                    format!("sends from {source}, which is not its own address {own}")
                };
                let id = interface.map(|interface| interface.id.to_string());
                Said {
                    component: self.sender_component,
                    id,
                    name: self.sender.clone(),
                    check,
                    rule: None,
                }
            }
            Step::FunctionProtocol => Said {
                component: self.sender_component,
                id: None,
                name: self.sender.clone(),
                check: "functions speak TCP and UDP only".into(),
                rule: None,
            },
            Step::Service => Said {
                component: Component::Vpc,
                id: None,
                name: before.flow.destination.to_string(),
                check: "is an address that the VPC itself serves".into(),
                rule: None,
            },
            Step::SecurityGroups { interface, direction, decision } => {
                groups(policy, before, interface, direction, decision)
            }
            Step::V2n { interface } => {
                let (component, what) = match interface.owner {
                    Owner::ServiceVpc => (Component::NatGateway, ""),
                    _ => (Component::NetworkInterface, "V2N: "),
                };
                Said {
                    component,
                    id: Some(interface.id.to_string()),
                    name: describe(policy, interface),
                    check: match self.way {
                        Way::Forward => format!("{what}the source becomes {}", source(after)),
                        Way::Return => format!("{what}the reply goes back to {}", self.sender),
                    },
                    rule: None,
                }
            }
            Step::ServiceVpc => Said {
                component: Component::Vpc,
                id: None,
                name: before.flow.destination.to_string(),
                check: "a function without a VPC reaches nothing but the internet".into(),
                rule: None,
            },
            Step::Zone { interface, subnet } => Said {
                component: Component::NetworkInterface,
                id: Some(interface.id.to_string()),
                name: describe(policy, interface),
                check: format!("stands in {}, and zone {} has failed", subnet.name, subnet.zone),
                rule: None,
            },
            Step::Unshared { interface, subnet, account } => Said {
                component: Component::NetworkInterface,
                id: Some(interface.id.to_string()),
                name: describe(policy, interface),
                check: format!("stands in {}, which is not shared with {account}", subnet.name),
                rule: None,
            },
            Step::NetworkAcl { subnet, acl, direction, rulings } => Said {
                component: Component::NetworkAcl,
                id: Some(acl.id.to_string()),
                name: acl.name.clone(),
                check: match direction {
                    Direction::Egress => format!("leaving {}", subnet.name),
                    Direction::Ingress => format!("entering {}", subnet.name),
                },
                rule: Some(acl_rules(direction, rulings)),
            },
            Step::Route { subnet, table, route } => Said {
                component: Component::RouteTable,
                id: Some(table.id.to_string()),
                name: table.name.clone(),
                check: format!("routes {} from {}", before.flow.destination, subnet.name),
                rule: Some(match route {
                    Some(route) => route_words(policy, route),
                    None => "no route matches".into(),
                }),
            },
            Step::GatewayRoute { gateway, table, route } => Said {
                component: Component::RouteTable,
                id: Some(table.id.to_string()),
                name: table.name.clone(),
                check: format!("routes {} from {}", before.flow.destination, gateway.name),
                rule: Some(match route {
                    Some(route) => route_words(policy, route),
                    None => "no route matches".into(),
                }),
            },
            Step::VpcEndpoint { endpoint, side } => Said {
                component: Component::VpcEndpoint,
                id: Some(endpoint.id.to_string()),
                name: endpoint.name.clone(),
                check: match self.way {
                    Way::Forward if after.flow.destination != before.flow.destination => format!(
                        "the source becomes {}, the destination {}",
                        source(after),
                        after.flow.destination
                    ),
                    Way::Forward => format!("the source becomes {}", source(after)),
                    Way::Return => {
                        format!("{} is turned back into {}", side.ip, after.flow.destination)
                    }
                },
                rule: None,
            },
            Step::NatGateway { gateway, interface } => Said {
                component: Component::NatGateway,
                id: Some(gateway.id.to_string()),
                name: gateway.name.clone(),
                check: match self.way {
                    Way::Forward => format!("the source becomes {}", source(after)),
                    Way::Return => {
                        format!("{} is turned back into {}", interface.ip, after.flow.destination)
                    }
                },
                rule: None,
            },
            Step::Peering { peering, to } => Said {
                component: Component::VpcPeeringConnection,
                id: Some(peering.id.to_string()),
                name: peering.name.clone(),
                check: format!("leads into VPC {}", to.name),
                rule: None,
            },
            Step::InternetGateway { gateway, direction } => Said {
                component: Component::InternetGateway,
                id: Some(gateway.id.to_string()),
                name: gateway.name.clone(),
                check: gateway_words(before, after, direction),
                rule: None,
            },
            Step::Destination { interface: Some(interface) } => Said {
                component: Component::NetworkInterface,
                id: Some(interface.id.to_string()),
                name: describe(policy, interface),
                check: if interface.holds(before.flow.destination) {
                    format!("holds {}", before.flow.destination)
                } else {
                    format!("is led {}, which is not its own", before.flow.destination)
                },
                rule: None,
            },
            Step::Destination { interface: None } => Said {
                component: Component::Vpc,
                id: None,
                name: before.flow.destination.to_string(),
                check: "nobody holds this address".into(),
                rule: None,
            },
            Step::Delivery { target } => {
                let attachment = self.view.attachment(target);
                Said {
                    component: match attachment.map(|attachment| &attachment.place) {
                        Some(Place::Internet(_)) => Component::Internet,
                        Some(Place::Service(_)) => Component::Service,
                        _ => Component::Instance,
                    },
                    id: None,
                    name: attachment
                        .map_or_else(|| target.to_string(), |attachment| attachment.name.clone()),
                    check: format!("delivered, from {}", source(before)),
                    rule: None,
                }
            }
        }
    }
}

impl Recorder for Scribe<'_> {
    const COLLECTS: bool = true;

    fn record(
        &mut self,
        policy: &Policy,
        before: &Header,
        after: &Header,
        step: Step<'_>,
        verdict: Result<(), Reason>,
    ) {
        let said = self.say(policy, before, after, step);
        self.note(said, words(before), words(after), verdict.err());
    }
}

/// An interface by what it belongs to.
fn describe(policy: &Policy, interface: &Interface) -> String {
    match &interface.owner {
        Owner::Instance { path, .. } => path.clone(),
        Owner::NatGateway(gateway) => match policy.nat_gateway(*gateway) {
            Some(gateway) => gateway.name.clone(),
            None => interface.id.to_string(),
        },
        Owner::VpcEndpoint(endpoint) | Owner::ServiceSide(endpoint) => {
            match policy.vpc_endpoint(*endpoint) {
                Some(endpoint) => endpoint.name.clone(),
                None => interface.id.to_string(),
            }
        }
        Owner::ServiceVpc => "the service VPC's NAT".to_owned(),
        Owner::Functions(key) => {
            let Interface { id, ip, .. } = interface;
            match policy.vpc(interface.vpc) {
                // Where it is a guest, it matters whose it is.
                Some(vpc) if vpc.account != key.account => {
                    format!("{id} ({ip}, of account {})", key.account)
                }
                _ => format!("{id} ({ip})"),
            }
        }
    }
}

fn groups(
    policy: &Policy,
    header: &Header,
    interface: &Interface,
    direction: Direction,
    decision: GroupDecision<'_>,
) -> Said {
    let carried = interface.groups.iter().filter_map(|group| policy.security_group(*group));
    let (way, towards, peer) = match direction {
        Direction::Egress => ("egress", "to", header.flow.destination),
        Direction::Ingress => ("ingress", "from", header.flow.source),
    };
    let (ids, names): (Vec<_>, Vec<_>) = match decision {
        GroupDecision::Admitted(group, _) | GroupDecision::Hidden(group, _) => {
            (vec![group.id.as_str()], vec![group.name.as_str()])
        }
        _ => carried.map(|group| (group.id.as_str(), group.name.as_str())).unzip(),
    };
    let rule = match decision {
        GroupDecision::Admitted(_, rule) => {
            format!("{way} allow {}", rule_words(policy, rule, towards))
        }
        GroupDecision::Hidden(_, rule) => {
            let rule = rule_words(policy, rule, towards);
            format!("{way} allow {rule} does not match behind a middlebox")
        }
        GroupDecision::Tracked => "the connection is tracked".into(),
        GroupDecision::NoRules => format!("no {way} rule at all"),
        GroupDecision::NoMatch => format!("no {way} rule admits this {towards} {peer}"),
    };
    Said {
        component: Component::SecurityGroup,
        id: (!ids.is_empty()).then(|| ids.join(", ")),
        name: if names.is_empty() { "no security group".into() } else { names.join(", ") },
        check: match direction {
            Direction::Egress => format!("out of {}", describe(policy, interface)),
            Direction::Ingress => format!("into {}", describe(policy, interface)),
        },
        rule: Some(rule),
    }
}

fn rule_words(policy: &Policy, rule: &Rule, towards: &str) -> String {
    let traffic = Words(rule.traffic);
    match rule.peer {
        Peer::Block(block) => format!("{traffic} {towards} {block}"),
        Peer::PrefixList(list) => match policy.prefix_list(list) {
            Some(list) => format!("{traffic} {towards} {}", list.name),
            None => format!("{traffic} {towards} a prefix list that is gone"),
        },
        Peer::Group(group) => match policy.security_group(group) {
            Some(group) => format!("{traffic} {towards} {}", group.name),
            None => format!("{traffic} {towards} a group that is gone"),
        },
    }
}

/// The rule that decides: of several the one that denies the first port, and which ports pass.
fn acl_rules(direction: Direction, rulings: &[Ruling<'_>]) -> String {
    let way = match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    };
    let denied = rulings.iter().find(|ruling| !ruling.allows());
    let Some(decisive) = denied.or(rulings.first()) else { return String::new() };
    let mut text = match decisive.rule {
        Some(rule) => {
            let action = if decisive.allows() { "allow" } else { "deny" };
            let traffic = Words(rule.traffic);
            format!("{way} rule {} {action} {traffic} {}", rule.number, rule.cidr_block)
        }
        None => format!("{way} rule * deny all traffic"),
    };
    let passing = spans(rulings, true);
    if denied.is_some() && !passing.is_empty() {
        text.push_str(&format!("; ports {passing} pass, {} do not", spans(rulings, false)));
    }
    text
}

/// The ports that pass, or do not, neighbouring ranges joined.
fn spans(rulings: &[Ruling<'_>], allowed: bool) -> String {
    let mut spans: Vec<PortRange> = Vec::new();
    for ruling in rulings.iter().filter(|ruling| ruling.allows() == allowed) {
        match spans.last_mut() {
            Some(last) if last.last.checked_add(1) == Some(ruling.values.first) => {
                last.last = ruling.values.last;
            }
            _ => spans.push(ruling.values),
        }
    }
    spans.iter().map(|span| PortWords(*span).to_string()).collect::<Vec<_>>().join(", ")
}

fn route_words(policy: &Policy, route: &Route) -> String {
    let target = match route.target {
        Target::Local => "local",
        Target::Blackhole => "blackhole",
        Target::InternetGateway(gateway) => {
            policy.internet_gateway(gateway).map_or("a gateway that is gone", |it| &it.name)
        }
        Target::NatGateway(gateway) => {
            policy.nat_gateway(gateway).map_or("a gateway that is gone", |it| &it.name)
        }
        Target::VpcEndpoint(endpoint) => {
            policy.vpc_endpoint(endpoint).map_or("an endpoint that is gone", |it| &it.name)
        }
        Target::Peering(peering) => {
            policy.peering(peering).map_or("a peering connection that is gone", |it| &it.name)
        }
        Target::Instance(instance) => {
            policy.instance(instance).map_or("an instance that is gone", |it| &it.name)
        }
    };
    match route.prefix_list.and_then(|list| policy.prefix_list(list)) {
        Some(list) => format!("{} of {} to {target}", route.destination, list.name),
        None => format!("{} to {target}", route.destination),
    }
}

fn gateway_words(before: &Header, after: &Header, direction: Direction) -> String {
    let (from, to) = (before.flow, after.flow);
    if from.source != to.source {
        format!("the source becomes {}", to.source)
    } else if from.destination != to.destination {
        format!("the destination {} becomes {}", from.destination, to.destination)
    } else {
        match direction {
            Direction::Egress => format!("sends {} to {}", from.source, from.destination),
            Direction::Ingress => format!("lets {} in to {}", from.source, from.destination),
        }
    }
}

/// `10.0.1.4:1024-65535`, or the address alone where there are no ports.
fn source(header: &Header) -> String {
    end(header.flow.source, header.source_ports, header.flow.protocol)
}

fn end(ip: Ipv4Addr, ports: PortRange, protocol: u8) -> String {
    if matches!(protocol, TCP | UDP) {
        format!("{ip}:{}", PortWords(ports))
    } else {
        ip.to_string()
    }
}

/// `tcp 10.0.1.4:1024-65535 > 10.0.2.10:5432`
fn words(header: &Header) -> String {
    let flow = header.flow;
    let protocol = match flow.protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => format!("protocol {other}"),
    };
    let destination = end(flow.destination, header.destination_ports, flow.protocol);
    format!("{protocol} {} > {destination}", source(header))
}
