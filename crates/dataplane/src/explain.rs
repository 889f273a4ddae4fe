//! Why a flow passes or does not, hop by hop, there and back.
//!
//! An explanation is the walk of a packet that nobody sent: the same walk that packets take, with a
//! recorder that writes down what was asked, which rule decided, and what became of addresses and
//! ports. Where the walk can go on behind a blocker it does, so that all blockers are told.
//!
//! Ports that nobody knows beforehand are ranges. A reply goes to whatever source port its request
//! happened to have, so the way back is allowed only if all of them pass (ACL-18).

mod query;
mod scribe;
mod text;

use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};
use viaduct_topology::{Reason, model::PortRange};
use viaduct_wire::Flow;

pub use self::query::{Probe, Query, QueryError, Sender, queries};
use self::scribe::Scribe;
use crate::{
    inventory::{ENVIRONMENT_ADDRESS, Inventory, Owner, Place, View},
    policy::{Policy, PortWords, TCP, UDP},
    recorder::Header,
    walk::{Options, Origin, Path, Subject, Translated, Walk, back_within},
};

/// The ports that hosts open connections from: Linux's `ip_local_port_range` (ACL-17), because
/// Linux is what stands at attachments.
const HOST_PORTS: PortRange = PortRange { first: 32_768, last: 60_999 };

/// The explanation of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The sender: `function/api`, `instance/db`.
    pub from: String,
    /// The address it asks for.
    pub to: Ipv4Addr,
    /// Protocol and destination port: `tcp/5432`, `icmp type 8`.
    pub traffic: String,
    /// Whether it works: the request passes and, unless one way was asked, so does the reply.
    pub verdict: Verdict,
    /// The first blocker's reason: that of the request if it has one.
    pub reason: Option<Reason>,
    /// Where the first blocker is.
    pub direction: Option<Way>,
    /// All blockers that were found, in the order of the walk.
    pub blockers: Vec<Blocker>,
    /// The source address that the receiver sees, when it is not the sender's own.
    pub translated_source: Option<Ipv4Addr>,
    /// The ports that go with it.
    #[serde(serialize_with = "ports")]
    pub translated_source_ports: Option<PortRange>,
    /// The request, hop by hop.
    pub forward: Vec<Hop>,
    /// The reply, hop by hop; empty if the request found no way or nothing answers it.
    #[serde(rename = "return")]
    pub back: Vec<Hop>,
}

/// Whether a flow, or a hop, passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As the request does.
    Forward,
    /// As the reply does.
    Return,
}

/// One thing that refuses the flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// Which packet it refuses.
    pub direction: Way,
    /// Why.
    pub reason: Reason,
    /// The hop's number on that way, from 1.
    pub hop: usize,
    /// What it is: `network_acl`, `security_group`, …
    pub component: Component,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// What it says.
    pub rule: Option<String>,
}

/// What a hop is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// A function's environment.
    Function,
    /// An instance.
    Instance,
    /// An internet host, or the internet.
    Internet,
    /// A network interface.
    NetworkInterface,
    /// The security groups of an interface.
    SecurityGroup,
    /// A subnet's network ACL.
    NetworkAcl,
    /// A subnet's route table.
    RouteTable,
    /// A NAT gateway.
    NatGateway,
    /// An internet gateway.
    InternetGateway,
    /// A peering connection.
    VpcPeeringConnection,
    /// An endpoint.
    VpcEndpoint,
    /// A service.
    Service,
    /// The VPC itself.
    Vpc,
}

/// One hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// What it is.
    pub component: Component,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// What was asked or done.
    pub check: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Addresses and ports on arrival.
    pub before: String,
    /// Addresses and ports behind it.
    pub after: String,
    /// Whether the packet passes.
    pub verdict: Verdict,
    /// Why not.
    pub reason: Option<Reason>,
}

impl Explanation {
    /// Whether both come to the same verdict for the same reasons: what is worth telling apart
    /// when several subnets are explained.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let reasons = |it: &Self| -> Vec<_> {
            it.blockers.iter().map(|blocker| (blocker.direction, blocker.reason)).collect()
        };
        self.verdict == other.verdict && reasons(self) == reasons(other)
    }
}

/// Explains one flow.
///
/// # Errors
///
/// When the sender is not in the inventory.
pub fn explain(
    policy: &Policy,
    inventory: &Inventory,
    query: &Query,
) -> Result<Explanation, QueryError> {
    explain_within(policy, &inventory.view(), query)
}

/// [`explain`], for whoever has a view of the inventory.
pub(crate) fn explain_within(
    policy: &Policy,
    view: &View<'_>,
    query: &Query,
) -> Result<Explanation, QueryError> {
    let sender = find_sender(policy, view, query)?;
    let header = request_header(query, sender.address);

    let Journey { stages, hops: forward, mut blockers, ends } =
        journey(policy, view, query, &sender, header);
    let mut back = Vec::new();
    let mut translated_source = None;
    if let Some(last) = stages.last().filter(|_| ends) {
        let arrival = last.translated.arrival;
        if arrival.flow.source != sender.address {
            translated_source = Some((arrival.flow.source, arrival.source_ports));
        }
        let reply = query.probe.reply();
        if let (false, Some(icmp)) = (query.one_way, reply) {
            let mut scribe = Scribe::new(Way::Return, &sender.name, sender.component, view);
            let mut blocked = None;
            for Stage { path, translated } in stages.iter().rev() {
                let judged = back_within(policy, view, path, translated, icmp, &mut scribe);
                blocked = blocked.or(judged.err());
            }
            let (hops, more) = scribe.finish(blocked);
            back = hops;
            blockers.extend(more);
        }
    }
    let first = blockers.first().map(|blocker| (blocker.direction, blocker.reason));
    Ok(Explanation {
        from: sender.name,
        to: query.to,
        traffic: query.probe.to_string(),
        verdict: if first.is_none() { Verdict::Allow } else { Verdict::Deny },
        reason: first.map(|(_, reason)| reason),
        direction: first.map(|(way, _)| way),
        blockers,
        translated_source: translated_source.map(|(ip, _)| ip),
        translated_source_ports: translated_source.map(|(_, ports)| ports),
        forward,
        back,
    })
}

/// A connection on the way: to the receiver, or to an appliance, whose own connection the next
/// stage is.
struct Stage {
    path: Path,
    translated: Translated,
}

/// The way of a request.
struct Journey {
    stages: Vec<Stage>,
    hops: Vec<Hop>,
    blockers: Vec<Blocker>,
    /// Whether it ends at a receiver.
    ends: bool,
}

/// Follows a request to its receiver. An appliance is taken to forward what it gets as it is.
fn journey(
    policy: &Policy,
    view: &View<'_>,
    query: &Query,
    sender: &Origination<'_>,
    header: Header,
) -> Journey {
    let mut scribe = Scribe::new(Way::Forward, &sender.name, sender.component, view);
    let mut stages: Vec<Stage> = Vec::new();
    let (mut origin, mut header) = (sender.origin, header);
    let mut blocked = None;
    let ends = loop {
        let subject = Subject {
            flow: header.flow,
            icmp: query.probe.icmp(),
            source_ports: header.source_ports,
        };
        let walked = Walk::new(policy, view, &subject, Options::default(), &mut scribe).run(origin);
        blocked = blocked.or(walked.blocked);
        let Some(path) = walked.path else { break false };
        let ports = path.translators().map(|it| it.map_or(PortRange::ALL, |it| it.source_ports));
        let translated = path.translate_ranges(header, ports);
        header = translated.arrival;
        let appliance = path.appliance(&header.flow).cloned();
        let visited = stages.iter().any(|stage| {
            let there = stage.path.destination.as_ref().map(|there| &there.id);
            appliance.is_some() && there == appliance.as_ref().map(|appliance| &appliance.id)
        });
        stages.push(Stage { path, translated });
        let Some(appliance) = appliance else { break true };
        if let Owner::Instance { path, .. } = &appliance.owner {
            scribe.go_on_from(path);
        }
        if visited {
            scribe.came_back(&header);
            break false;
        }
        let Some(interface) = view.by_address(appliance.vpc, appliance.ip) else { break false };
        origin = Origin::Instance(interface);
    };
    let (hops, blockers) = scribe.finish(blocked);
    Journey { stages, hops, blockers, ends }
}

/// Who sends, and from which address.
struct Origination<'a> {
    name: String,
    component: Component,
    address: Ipv4Addr,
    origin: Origin<'a>,
}

fn find_sender<'a>(
    policy: &Policy,
    view: &'a View<'a>,
    query: &Query,
) -> Result<Origination<'a>, QueryError> {
    match &query.from {
        Sender::Attachment(id) => {
            let attachment = view.attachment(*id).ok_or(QueryError::UnknownAttachment(*id))?;
            let (component, address, origin) = match &attachment.place {
                Place::Environment { enis, .. } => {
                    let origin = match enis {
                        Some(enis) => Origin::Environment(view.enis(*enis), &[]),
                        None => Origin::ServiceVpc(view.service_vpc()),
                    };
                    (Component::Function, ENVIRONMENT_ADDRESS, origin)
                }
                Place::Instance(interface) => {
                    (Component::Instance, interface.ip, Origin::Instance(interface))
                }
                Place::Internet(ip) => (Component::Internet, *ip, Origin::Internet(*ip)),
                Place::Service(number) => {
                    let service =
                        policy.service(*number).ok_or(QueryError::UnknownAttachment(*id))?;
                    (Component::Service, service.ip, Origin::Service(*number))
                }
            };
            Ok(Origination { name: attachment.name.clone(), component, address, origin })
        }
        Sender::ServiceVpc { name } => Ok(Origination {
            name: name.clone(),
            component: Component::Function,
            address: ENVIRONMENT_ADDRESS,
            origin: Origin::ServiceVpc(view.service_vpc()),
        }),
        Sender::Eni { id, name } => {
            let interface = view.interface(id).ok_or_else(|| QueryError::UnknownEni(id.clone()))?;
            Ok(Origination {
                name: name.clone(),
                component: Component::Function,
                address: ENVIRONMENT_ADDRESS,
                origin: Origin::Environment(std::slice::from_ref(interface), &[]),
            })
        }
    }
}

fn request_header(query: &Query, source: Ipv4Addr) -> Header {
    let (protocol, destination_port) = query.probe.protocol_and_port();
    let source_ports = match (query.source_port, protocol) {
        (Some(port), _) => PortRange::single(port),
        (None, TCP | UDP) => HOST_PORTS,
        // An echo's identifier is nobody's concern.
        (None, _) => PortRange::single(0),
    };
    let flow = Flow {
        protocol,
        source,
        destination: query.to,
        source_port: source_ports.first,
        destination_port,
    };
    Header { flow, source_ports, destination_ports: PortRange::single(destination_port) }
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn ports<S: Serializer>(ports: &Option<PortRange>, serializer: S) -> Result<S::Ok, S::Error> {
    match ports {
        Some(ports) => serializer.collect_str(&PortWords(*ports)),
        None => serializer.serialize_none(),
    }
}
