//! The running network in the shapes of the API.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use viaduct_client::{
    Action, AttachmentCount, AttachmentState, ConnectionState, DropEvent, EniKind, HostKind,
    ObjectChange, Protocol, Traffic, shapes,
};
use viaduct_control_plane::HostPlan;
use viaduct_dataplane::{ConnectionInfo, Usage, tcp::Phase};
use viaduct_topology::{
    Reason, diff,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
};
use viaduct_wire::Flow;

use super::Running;
use crate::{
    drops::After,
    fleet::{Written, reader},
    reload::Report,
};

pub(super) fn status(running: &Running) -> shapes::Status {
    let network = running.registry.network();
    shapes::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        ready: !*running.ending.borrow(),
        uptime_ms: running.clock.now().as_millis(),
        topology: network.file.clone(),
        generation: running.engine.generation(),
        workers: running.fleet.len(),
        device: running.registry.device().to_string(),
        attach_socket: running.attach_socket.clone(),
        attachments: AttachmentCount {
            declared: network.attachments().len(),
            attached: running.registry.attached(),
        },
    }
}

pub(super) fn functions(running: &Running) -> Vec<shapes::Function> {
    let network = running.registry.network();
    let topology = &network.topology;
    let mut stand: HashMap<&str, (AttachmentCount, Vec<String>)> = HashMap::new();
    for attachment in network.attachments() {
        let Host::Environment { function, enis } = &attachment.host else { continue };
        let none = AttachmentCount { declared: 0, attached: 0 };
        let (count, seen) = stand.entry(function).or_insert_with(|| (none, Vec::new()));
        count.declared += 1;
        count.attached += usize::from(state(running, attachment.id).0 == AttachmentState::Attached);
        for eni in enis {
            if !seen.iter().any(|seen| seen == eni.as_str()) {
                seen.push(eni.to_string());
            }
        }
    }
    let named = |vpc: &str, name: &str| format!("{vpc}/{name}");
    let function = |function: &viaduct_topology::model::Function| {
        let none = (AttachmentCount { declared: 0, attached: 0 }, Vec::new());
        let (environments, enis) = stand.remove(function.name.as_str()).unwrap_or(none);
        shapes::Function {
            name: function.name.clone(),
            account: function.account.clone(),
            subnets: function
                .subnets
                .iter()
                .map(|subnet| &topology.subnets[*subnet])
                .map(|subnet| named(&topology.vpcs[subnet.vpc].name, &subnet.name))
                .collect(),
            security_groups: function
                .security_groups
                .iter()
                .map(|group| &topology.security_groups[*group])
                .map(|group| named(&topology.vpcs[group.vpc].name, &group.name))
                .collect(),
            enis,
            environments,
        }
    };
    topology.functions.values().map(function).collect()
}

pub(super) fn enis(running: &Running) -> Vec<shapes::Eni> {
    let mut use_of: HashMap<_, _> =
        running.engine.enis().into_iter().map(|info| (info.id.clone(), info)).collect();
    let shape = |eni: &Eni| {
        let (kind, owner) = match &eni.owner {
            EniOwner::Functions(key) => (EniKind::Functions, key.account.clone()),
            EniOwner::Instance { path, .. } => (EniKind::Instance, path.clone()),
            EniOwner::NatGateway { id } => (EniKind::NatGateway, id.to_string()),
            EniOwner::VpcEndpoint { path, .. } => (EniKind::VpcEndpoint, path.clone()),
            EniOwner::ServiceSide { path, .. } => (EniKind::ServiceSide, path.clone()),
            other => unreachable!("an ENI of a kind that no plan makes: {other:?}"),
        };
        let info = use_of.remove(&eni.id);
        shapes::Eni {
            id: eni.id.to_string(),
            kind,
            owner,
            vpc: eni.vpc.to_string(),
            subnet: eni.subnet.to_string(),
            private_ip: eni.private_ip,
            public_ip: eni.public_ip,
            security_groups: eni.security_groups.iter().map(ToString::to_string).collect(),
            connections: info.as_ref().and_then(|info| info.connections),
            capacity: info.and_then(|info| info.capacity),
        }
    };
    running.registry.network().plan.enis.iter().map(shape).collect()
}

pub(super) fn attachments(running: &Running) -> Vec<shapes::Attachment> {
    let shape = |attachment: &Attachment| {
        let (state, held) = state(running, attachment.id);
        let Usage { connections, capacity } = running.engine.usage(attachment.id);
        shapes::Attachment {
            id: attachment.id.0,
            name: attachment.name.clone(),
            kind: match attachment.host {
                Host::Environment { .. } => HostKind::Environment,
                Host::Instance { .. } => HostKind::Instance,
                Host::Internet { .. } => HostKind::Internet,
                Host::Service { .. } => HostKind::Service,
                ref other => unreachable!("a host of a kind that no plan makes: {other:?}"),
            },
            state,
            device: held.as_ref().map(|held| held.port.queue.name().to_owned()),
            mtu: held.as_ref().map(|held| held.port.mtu),
            throttled_frames: held.as_ref().map(|held| held.port.throttled_frames()),
            worker: held.map(|_| reader(attachment.id, running.fleet.len())),
            connections,
            capacity,
        }
    };
    running.registry.network().attachments().iter().map(shape).collect()
}

pub(super) fn connections(
    running: &Running,
    limit: usize,
    opener: Option<AttachmentId>,
) -> Vec<shapes::Connection> {
    let traffic = |(packets, bytes)| Traffic { packets, bytes };
    let wanted = |info: &ConnectionInfo| opener.is_none_or(|opener| info.opener == opener);
    let network = running.registry.network();
    let shape = |info: ConnectionInfo| shapes::Connection {
        opener: network.name(info.opener),
        target: network.name(info.target),
        request: flow(info.request),
        translated: flow(info.translated),
        state: match info.phase {
            Phase::Opening => ConnectionState::Opening,
            Phase::Established => ConnectionState::Established,
            Phase::Closing | Phase::Closed => ConnectionState::Closing,
        },
        sent: traffic(info.sent),
        received: traffic(info.received),
        age_ms: millis(info.age),
        idle_ms: millis(info.idle),
    };
    let now = running.clock.now();
    running.engine.connections(now, limit, wanted).into_iter().map(shape).collect()
}

pub(super) fn counters(running: &Running) -> shapes::Counters {
    let counted = running.engine.counters();
    let Written { overflowed, throttled, undeliverable } = running.fleet.written();
    let mut dropped_packets: BTreeMap<String, u64> =
        counted.drops().map(|(reason, packets)| (reason.code().to_owned(), packets)).collect();
    if undeliverable > 0 {
        *dropped_packets.entry(Reason::AttachmentDown.code().to_owned()).or_default() +=
            undeliverable;
    }
    shapes::Counters {
        forwarded_packets: counted.forwarded_packets,
        forwarded_bytes: counted.forwarded_bytes,
        answered_packets: counted.answered_packets,
        reassembled_fragments: counted.reassembled_fragments,
        reassembled_datagrams: counted.reassembled_datagrams,
        fragmented_packets: counted.fragmented_packets,
        sent_fragments: counted.sent_fragments,
        connections_opened: counted.connections_opened,
        connections_ended: counted.connections_ended,
        dropped_packets,
        overflowed_frames: overflowed,
        throttled_frames: throttled,
        drop_events_lost: running.drops.lost(),
    }
}

pub(super) fn drops(running: &Running, found: &After) -> shapes::Drops {
    let network = running.registry.network();
    let events = found.events.iter().map(|(sequence, event)| DropEvent {
        sequence: *sequence,
        time_ms: event.time.as_millis(),
        attachment: network.name(event.dropped.ingress),
        reason: event.dropped.reason,
        flow: event.dropped.flow.map(flow),
        request: event.dropped.request.map(flow),
        packets: event.dropped.packets,
    });
    shapes::Drops { next: found.newest, lost: found.lost, events: events.collect() }
}

pub(super) fn applied(report: Report, dry_run: bool) -> shapes::Applied {
    let Report { generation, differences, detached, warnings } = report;
    let change = |difference: diff::Difference| ObjectChange {
        action: match difference.action {
            diff::Action::Added => Action::Added,
            diff::Action::Changed => Action::Changed,
            diff::Action::Removed => Action::Removed,
        },
        path: difference.path,
        details: difference.details,
    };
    let changes = differences.into_iter().map(change).collect();
    shapes::Applied { dry_run, generation, changes, detached, warnings }
}

pub(super) fn plan(plan: &HostPlan) -> shapes::HostPlan {
    shapes::HostPlan {
        name: plan.name.clone(),
        device_mtu: plan.device_mtu,
        address: plan.address.0,
        prefix_len: plan.address.1,
        further: plan.further.clone(),
        gateway: plan.gateway,
        hosts: plan.hosts.to_vec(),
    }
}

fn state(running: &Running, id: AttachmentId) -> (AttachmentState, Option<crate::registry::Held>) {
    let held = running.registry.held(id);
    let state = match &held {
        Some(held) if held.is_reconnecting() => AttachmentState::Reconnecting,
        Some(held) if held.up => AttachmentState::Attached,
        _ => AttachmentState::Detached,
    };
    (state, held)
}

fn flow(flow: Flow) -> viaduct_client::Flow {
    viaduct_client::Flow {
        protocol: Protocol(flow.protocol),
        source: flow.source.into(),
        source_port: flow.source_port,
        destination: flow.destination.into(),
        destination_port: flow.destination_port,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
