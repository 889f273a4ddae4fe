//! The running network in the shapes of the API.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use viaduct_client::{
    Action, AttachmentCount, AttachmentState, ConnectionState, DropEvent, EniKind, EniState,
    HostKind, ObjectChange, Protocol, Traffic, shapes,
};
use viaduct_control_plane::{
    HostPlan,
    lifecycle::{self, FunctionName, Lifecycle, Owner},
};
use viaduct_dataplane::{ConnectionInfo, Usage, tcp::Phase};
use viaduct_topology::{
    Handle, Reason, ResourceId, diff,
    inventory::{Attachment, AttachmentId, EniOwner, Host},
    model::Vpc,
};
use viaduct_wire::Flow;

use super::Running;
use crate::{
    drops::Drop,
    fleet::{Written, reader},
    functions::called,
    history::After,
    reload::Report,
};

pub(super) fn status(running: &Running) -> shapes::Status {
    let network = running.registry.network();
    shapes::Status {
        version: running.build.version.to_owned(),
        commit: running.build.commit.map(str::to_owned),
        pid: std::process::id(),
        ready: !*running.ending.borrow(),
        uptime_ms: millis(running.clock.passed()),
        topology: network.file.clone(),
        generation: running.engine.generation(),
        workers: running.fleet.len(),
        device: running.registry.device().to_string(),
        attach_socket: running.attach_socket.clone(),
        attachments: AttachmentCount {
            declared: running.registry.hosts().len(),
            attached: running.registry.attached(),
        },
        failed_zones: faults(running).zones,
    }
}

pub(super) fn faults(running: &Running) -> shapes::Faults {
    let machine = running.functions.machine();
    shapes::Faults { zones: machine.failed_zones().map(str::to_owned).collect() }
}

pub(super) fn functions(running: &Running) -> Vec<shapes::Function> {
    let machine = running.functions.machine();
    let hosts = running.registry.hosts();
    let network = &hosts.network;
    let topology = &network.topology;
    let count = |count: &mut AttachmentCount, attachment: &Attachment| {
        count.declared += 1;
        count.attached += usize::from(state(running, attachment.id).0 == AttachmentState::Attached);
    };
    let none = AttachmentCount { declared: 0, attached: 0 };
    let mut declared: HashMap<&str, AttachmentCount> = HashMap::new();
    for attachment in network.attachments() {
        let Host::Environment { function, .. } = &attachment.host else { continue };
        count(declared.entry(function).or_insert(none), attachment);
    }
    let mut others: HashMap<&FunctionName, AttachmentCount> = HashMap::new();
    for environment in hosts.environments.iter() {
        let stand = others.entry(&environment.version.function).or_insert(none);
        count(stand, &environment.attachment);
    }
    // What the file calls them; what it no longer has goes by its id.
    let vpc = |vpc: Handle<Vpc>| topology.vpcs[vpc].name.as_str();
    let subnets: HashMap<&ResourceId, String> = topology
        .subnets
        .values()
        .map(|subnet| (&subnet.id, format!("{}/{}", vpc(subnet.vpc), subnet.name)))
        .collect();
    let groups: HashMap<&ResourceId, String> = topology
        .security_groups
        .values()
        .map(|group| (&group.id, format!("{}/{}", vpc(group.vpc), group.name)))
        .collect();
    let named = |names: &HashMap<&ResourceId, String>, ids: &[ResourceId]| {
        ids.iter().map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
    };
    let function = |function: &lifecycle::Function| {
        let of_file = match function.owner {
            Owner::File => declared.get(&*function.name.name).copied().unwrap_or(none),
            Owner::Api => none,
        };
        let others = others.get(&function.name).copied().unwrap_or(none);
        let environments = AttachmentCount {
            declared: of_file.declared + others.declared,
            attached: of_file.attached + others.attached,
        };
        let latest = &function.latest;
        let code = |reason: &Option<lifecycle::Reason>| {
            reason.as_ref().map(|reason| reason.code.to_string())
        };
        let sentence = |reason: &Option<lifecycle::Reason>| {
            reason.as_ref().map(|reason| reason.message.clone())
        };
        shapes::Function {
            name: function.name.name.to_string(),
            account: function.name.account.to_string(),
            subnets: named(&subnets, latest.configuration.vpc.subnets()),
            security_groups: named(&groups, latest.configuration.vpc.security_groups()),
            enis: enis_of(&machine, &function.name, latest),
            environments,
            made_by: match function.owner {
                Owner::File => "file".to_owned(),
                Owner::Api => "api".to_owned(),
            },
            state: latest.state.to_string(),
            state_reason_code: code(&latest.reason),
            state_reason: sentence(&latest.reason),
            last_update_status: latest.update.to_string(),
            last_update_status_reason_code: code(&latest.update_reason),
            last_update_status_reason: sentence(&latest.update_reason),
        }
    };
    machine.functions().map(function).collect()
}

/// The ENIs that a version uses or waits for.
fn enis_of(machine: &Lifecycle, name: &FunctionName, version: &lifecycle::Version) -> Vec<String> {
    let keys = version.keys(name);
    let sets = keys.iter().filter_map(|key| machine.set(key));
    sets.flat_map(|set| set.enis.values()).map(|eni| eni.id.to_string()).collect()
}

pub(super) fn versions(running: &Running) -> Vec<shapes::Version> {
    let machine = running.functions.machine();
    let texts = |ids: &[ResourceId]| ids.iter().map(ToString::to_string).collect();
    let versions = machine.functions().flat_map(|function| {
        function.versions().map(|(which, version)| (&function.name, which, version))
    });
    versions
        .map(|(name, which, version)| shapes::Version {
            function: name.name.to_string(),
            account: name.account.to_string(),
            version: which.to_string(),
            subnets: texts(version.configuration.vpc.subnets()),
            security_groups: texts(version.configuration.vpc.security_groups()),
            enis: enis_of(&machine, name, version),
            state: version.state.to_string(),
            state_reason_code: version.reason.as_ref().map(|reason| reason.code.to_string()),
        })
        .collect()
}

pub(super) fn events(found: &After<lifecycle::Event>) -> shapes::Events {
    let events = found.events.iter().map(|(sequence, event)| shapes::Event {
        sequence: *sequence,
        time_ms: event.at.as_millis(),
        what: event.what.to_string(),
    });
    shapes::Events { next: found.newest, events: events.collect() }
}

pub(super) fn enis(running: &Running) -> Vec<shapes::Eni> {
    let mut use_of: HashMap<_, _> =
        running.engine.enis().into_iter().map(|info| (info.id.clone(), info)).collect();
    let mut used = |id: &ResourceId| {
        let info = use_of.remove(id);
        (info.as_ref().and_then(|info| info.connections), info.and_then(|info| info.capacity))
    };
    let texts = |ids: &[ResourceId]| ids.iter().map(ToString::to_string).collect();
    let network = running.registry.network();
    let machine = running.functions.machine();
    // The service VPC's NAT is always there, and of interest to whoever has a function without a VPC.
    let mut versions = machine.functions().flat_map(lifecycle::Function::versions);
    let without_vpc = versions.any(|(_, version)| version.configuration.vpc.is_none());
    let others = network.plan.enis.iter().filter_map(|eni| {
        let (kind, owner) = match &eni.owner {
            EniOwner::Instance { path, .. } => (EniKind::Instance, path.clone()),
            EniOwner::NatGateway { id } => (EniKind::NatGateway, id.to_string()),
            EniOwner::VpcEndpoint { path, .. } => (EniKind::VpcEndpoint, path.clone()),
            EniOwner::ServiceSide { path, .. } => (EniKind::ServiceSide, path.clone()),
            EniOwner::ServiceVpc if without_vpc => (EniKind::ServiceVpc, "service VPC".to_owned()),
            // The machine has those of functions.
            _ => return None,
        };
        let (connections, capacity) = used(&eni.id);
        Some(shapes::Eni {
            id: eni.id.to_string(),
            kind,
            owner,
            vpc: eni.vpc.to_string(),
            subnet: eni.subnet.to_string(),
            private_ip: eni.private_ip,
            public_ip: eni.public_ip,
            security_groups: texts(&eni.security_groups),
            connections,
            capacity,
            ordinal: None,
            state: None,
            users: Vec::new(),
            held_by: None,
        })
    });
    let mut enis: Vec<shapes::Eni> = others.collect();
    for set in machine.sets() {
        for (ordinal, eni) in &set.enis {
            let (connections, capacity) = used(&eni.id);
            let state = match (&set.phase, &eni.state) {
                (lifecycle::Phase::Stranded { .. }, _) => EniState::Stranded,
                (lifecycle::Phase::Releasing { .. }, _) => EniState::Releasing,
                (lifecycle::Phase::InUse, lifecycle::EniState::Pending { .. }) => EniState::Pending,
                (lifecycle::Phase::InUse, lifecycle::EniState::InUse) => EniState::InUse,
                (lifecycle::Phase::InUse, lifecycle::EniState::Draining { .. }) => {
                    EniState::Draining
                }
            };
            enis.push(shapes::Eni {
                id: eni.id.to_string(),
                kind: EniKind::Functions,
                owner: set.key.account().to_owned(),
                vpc: set.vpc.to_string(),
                subnet: set.key.subnet().to_string(),
                private_ip: eni.private_ip,
                public_ip: None,
                security_groups: texts(set.key.security_groups()),
                connections,
                capacity,
                ordinal: Some(*ordinal),
                state: Some(state),
                users: set.users.iter().map(called).collect(),
                held_by: set.held_by(),
            });
        }
    }
    enis
}

pub(super) fn attachments(running: &Running) -> Vec<shapes::Attachment> {
    let hosts = running.registry.hosts();
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
            declared: hosts.network.attachment(attachment.id).is_some(),
            state,
            device: held.as_ref().map(|held| held.port.queue.name().to_owned()),
            mtu: held.as_ref().map(|held| held.port.mtu),
            throttled_frames: held.as_ref().map(|held| held.port.throttled_frames()),
            worker: held.map(|_| reader(attachment.id, running.fleet.len())),
            connections,
            capacity,
        }
    };
    hosts.attachments().map(shape).collect()
}

pub(super) fn connections(
    running: &Running,
    limit: usize,
    opener: Option<AttachmentId>,
) -> Vec<shapes::Connection> {
    let traffic = |(packets, bytes)| Traffic { packets, bytes };
    let wanted = |info: &ConnectionInfo| opener.is_none_or(|opener| info.opener == opener);
    let hosts = running.registry.hosts();
    let shape = |info: ConnectionInfo| shapes::Connection {
        opener: hosts.name(info.opener),
        target: hosts.name(info.target),
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
        connections_resumed: running.resumed.resumed,
        connections_lost: running.resumed.lost(),
        dropped_packets,
        overflowed_frames: overflowed,
        throttled_frames: throttled,
        drop_events_lost: running.drops.lost(),
    }
}

pub(super) fn drops(running: &Running, found: &After<Drop>) -> shapes::Drops {
    let hosts = running.registry.hosts();
    let events = found.events.iter().map(|(sequence, event)| DropEvent {
        sequence: *sequence,
        time_ms: millis(running.clock.since_start(event.time)),
        attachment: hosts.name(event.dropped.ingress),
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
