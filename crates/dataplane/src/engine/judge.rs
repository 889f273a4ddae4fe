//! Judging a connection's half: on its first reply, and after every change of policy.

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Flow, Frame, L4};

use super::{Engine, Way};
use crate::{
    connection::{Connection, ConnectionId, Direction, LEASES},
    inventory::View,
    policy::Policy,
    port_table::TableId,
    recorder::Silent,
    scratch::Scratch,
    walk::{self, Choice, Options, Path, Subject, Translated},
};

/// What must be known of a connection to walk its way again, copied out of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The request as its opener sends it.
    pub(super) request: Flow,
    /// The request as its receiver sees it.
    pub(super) arrival: Flow,
    opener: AttachmentId,
    target: AttachmentId,
    way: Way,
    /// The ports it holds.
    ports: [u16; LEASES],
    /// Whose those ports are: an address may have passed to another interface.
    tables: [Option<TableId>; LEASES],
}

impl Known {
    pub(super) fn of(connection: &Connection<Way>) -> Self {
        Self {
            request: connection.request.key.flow,
            arrival: connection.reply.key.flow.reversed(),
            // The key has only its scope, which all hosts of the internet share.
            opener: connection.reply.target,
            target: connection.request.target,
            way: connection.path,
            ports: connection.ports(),
            tables: connection.tables(),
        }
    }
}

/// The way of a connection under the policy in force.
pub(super) struct Retraced {
    pub(super) path: Path,
    pub(super) translated: Translated,
    /// Why a request would not pass, if it would not.
    pub(super) blocked: Option<Reason>,
}

/// What else became of the way of a connection.
pub(super) enum Lost {
    /// It leads elsewhere, or translates otherwise, or its function is cut off: the connection ends.
    Other,
    /// It leads nowhere.
    Blocked(Reason),
}

impl Engine {
    /// Judges one half of a connection under the policy in force, and marks it or ends the
    /// connection.
    pub(super) fn judge(
        &self,
        id: ConnectionId,
        direction: Direction,
        frame: &Frame<'_>,
        scratch: &mut Scratch,
    ) {
        let Some(known) = self.connections.with(id, |connection| Known::of(connection)) else {
            return;
        };
        // No lock of a connection is held, and the view is gone before the next one is taken.
        let judged = {
            let view = self.view(scratch);
            match retrace(&known, frame, &scratch.policy, &view) {
                Err(Lost::Other) => None,
                Err(Lost::Blocked(reason)) => Some((Some(reason), None)),
                Ok(Retraced { path, translated, blocked }) => {
                    let verdict = match direction {
                        Direction::Request => blocked,
                        Direction::Reply => walk::back_within(
                            &scratch.policy,
                            &view,
                            &path,
                            &translated,
                            frame.l4().icmp(),
                            &mut Silent,
                        )
                        .err(),
                    };
                    Some((verdict, Some(path)))
                }
            }
        };
        let Some((blocked, path)) = judged else { return self.end(id, scratch) };
        self.connections.with(id, |connection| {
            if let Some(path) = path {
                connection.path.tracking = path.tracking;
                connection.path.mtu = path.mtu;
            }
            let half = connection.half_mut(direction);
            half.generation = scratch.policy.generation;
            half.blocked = blocked;
        });
    }
}

/// Walks a connection's way again. Ends that track it do not ask their groups (SG-22).
pub(super) fn retrace(
    known: &Known,
    frame: &Frame<'_>,
    policy: &Policy,
    view: &View<'_>,
) -> Result<Retraced, Lost> {
    let Known { request, way, .. } = *known;
    let options = Options { tracked: way.tracking, choices: known.tables.map(Choice::held) };
    let icmp = match frame.l4() {
        L4::Icmp { kind, code } => (kind, code),
        // Of ICMP, only an echo opens connections besides.
        _ => (8, 0),
    };
    let subject = Subject {
        flow: request,
        icmp,
        source_ports: viaduct_topology::model::PortRange::single(request.source_port),
    };
    let walked = walk::retrace(policy, view, known.opener, &subject, options);
    if walked.blocked == Some(Reason::SubnetNotShared) {
        return Err(Lost::Other);
    }
    let path = match (walked.path, walked.blocked) {
        (Some(path), _) => path,
        (None, reason) => {
            return Err(Lost::Blocked(reason.unwrap_or(Reason::NoPossibleDestination)));
        }
    };
    let translated = path.translate(&request, known.ports);
    let careless = cfg!(viaduct_planted = "port-owner"); // docs/fuzzing.md
    let same = path.target == known.target
        && (careless || path.translators().map(|it| it.and_then(|it| it.table())) == known.tables)
        && translated.arrival() == known.arrival;
    if same { Ok(Retraced { path, translated, blocked: walked.blocked }) } else { Err(Lost::Other) }
}
