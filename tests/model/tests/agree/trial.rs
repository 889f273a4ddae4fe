//! One random network, in the engine and in the model.

use std::fmt;

use viaduct_control_plane::Plan;
use viaduct_dataplane::{
    Dropped, Engine, EngineConfig, Moment, Scratch, Verdict,
    explain::{self, Explanation, Probe, Query, Sender, Way},
};
use viaduct_model::{
    ICMP, Packet, Segment, TCP, UDP,
    generate::{self, Dice, Flow},
    model::{Answer, Direction, Explained, Fate, Network},
};
use viaduct_topology::{
    Reason, Topology,
    inventory::{Attachment, AttachmentId, Host},
};

use crate::{bytes, tally::Tally};

/// What the engine did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It came out there, like this.
    Delivered { at: AttachmentId, packet: Packet },
    /// It did not.
    Dropped { reason: Reason, answer: Option<Answer> },
    /// Something came out that is no packet any more.
    Broken(String),
}

/// Engine and model, or explanation and model, say different things.
#[derive(Debug)]
pub(crate) struct Disagreement {
    /// What kind it is, without names and numbers.
    pub(crate) kind: String,
    /// All of it.
    pub(crate) text: String,
}

/// A network and who judges it.
struct Trial<'t> {
    plan: &'t Plan,
    engine: Engine,
    scratch: Scratch,
    network: Network<'t>,
}

/// Makes the network of a seed and sends flows through it.
pub(crate) fn run(seed: u64, flows: usize, tally: &mut Tally) -> Result<(), Disagreement> {
    let mut dice = Dice::new(seed);
    let yaml = generate::topology(&mut dice);
    let loaded = viaduct_config_plane::load("random.yaml", &yaml).unwrap_or_else(|problems| {
        panic!("seed {seed} makes no topology: {}\n{yaml}", problems.render(false))
    });
    let topology = &loaded.topology;
    let plan = viaduct_control_plane::plan(topology)
        .unwrap_or_else(|error| panic!("seed {seed} makes no plan: {error}\n{yaml}"));
    let mut trial = Trial::new(seed, &mut dice, topology, &plan);
    let mut earlier: Vec<Flow> = Vec::new();
    for _ in 0..flows {
        let flow = generate::flow(&mut dice, topology, &plan, &earlier);
        trial.exchange(&flow, tally).map_err(|Disagreement { kind, text }| {
            let from = trial.name(flow.from);
            let packet = flow.packet;
            let explained = trial.explained(&flow).map_or_else(
                || "cannot be asked: the source is not its own".to_owned(),
                |it| format!("{:?} {:?} {:?}", it.verdict, it.reason, it.direction),
            );
            let model = trial.network.explain(flow.from, &packet);
            let before: String = earlier
                .iter()
                .filter(|other| other.packet.protocol == packet.protocol)
                .map(|other| {
                    format!("\n  before: {} from {}", other.packet, trial.name(other.from))
                })
                .collect();
            let text = format!(
                "seed {seed}, flow {} from {from}: {packet}\n{text}\nexplanation: {explained}\n\
                 model explains: {model:?}{before}\n{yaml}",
                earlier.len()
            );
            Disagreement { kind, text }
        })?;
        earlier.push(flow);
    }
    Ok(())
}

impl<'t> Trial<'t> {
    fn new(seed: u64, dice: &mut Dice, topology: &'t Topology, plan: &'t Plan) -> Self {
        let engine = Engine::new(EngineConfig { connections: 4096, seed });
        engine.load(topology);
        for eni in &plan.enis {
            engine.add_eni(eni).expect("the interface");
        }
        let scarce = topology.settings.source_ports.last - topology.settings.source_ports.first < 9;
        let mut down = Vec::new();
        for (attachment, host) in plan.attachments.iter().zip(&plan.hosts) {
            engine.add_attachment(attachment).expect("the attachment");
            if !scarce && dice.percent(2) {
                down.push(attachment.id);
            } else {
                engine.attached(attachment.id, host.device_mtu);
            }
        }
        let scratch = engine.scratch([u8::try_from(seed % 251).expect("less than 251"); 32]);
        Self { plan, engine, scratch, network: Network::new(topology, plan, down) }
    }

    /// A request, its reply, the request again, its reply again; and what the explanation says.
    fn exchange(&mut self, flow: &Flow, tally: &mut Tally) -> Result<(), Disagreement> {
        tally.flows += 1;
        self.explanation(flow, tally)?;
        let Flow { from, packet, .. } = *flow;
        let Some((at, arrived)) = self.step(from, &packet, tally)? else { return Ok(()) };
        // Whose address it is has the reply, and that is another way.
        if !flow.own_source {
            return Ok(());
        }
        let Some(answer) = arrived.answer() else {
            tally.allowed(self.host(from), self.host(at), &packet, &arrived);
            return Ok(());
        };
        if self.step(at, &answer, tally)?.is_some() {
            tally.allowed(self.host(from), self.host(at), &packet, &arrived);
        }
        let again = Packet { segment: Segment::Carry, ttl: 64, ..packet };
        let answer = Packet { segment: Segment::Carry, ..answer };
        if self.step(from, &again, tally)?.is_some() {
            self.step(at, &answer, tally)?;
        }
        if packet.protocol == TCP && flow.resets {
            let reset = Packet { segment: Segment::Reset, ..again };
            if self.step(from, &reset, tally)?.is_some() {
                self.network.ended(from, &reset);
                // The connection is gone, in both directions.
                self.step(at, &answer, tally)?;
                self.step(from, &again, tally)?;
            }
        }
        Ok(())
    }

    /// One packet: the engine's outcome must be one of the model's fates.
    fn step(
        &mut self,
        from: AttachmentId,
        packet: &Packet,
        tally: &mut Tally,
    ) -> Result<Option<(AttachmentId, Packet)>, Disagreement> {
        let fates = self.network.fates(from, packet);
        tally.packets += 1;
        tally.open += usize::from(fates.len() > 1);
        let outcome = self.send(from, packet);
        let mut complaints = Vec::new();
        for fate in &fates {
            match (&outcome, fate) {
                (
                    Outcome::Dropped { reason, answer },
                    Fate::Dropped { reason: expected, answer: too },
                ) if reason == expected && answer == too => {
                    tally.reason(*reason);
                    return Ok(None);
                }
                (Outcome::Delivered { at, packet }, Fate::Arrives { at: expected, .. })
                    if at == expected =>
                {
                    match self.network.settle(fate.clone(), packet) {
                        Ok(()) => return Ok(Some((*at, *packet))),
                        Err(complaint) => complaints.push(complaint),
                    }
                }
                _ => {}
            }
        }
        let expected: Vec<String> = fates.iter().map(|fate| self.told(fate)).collect();
        let text = format!(
            "packet {packet} from {}\nengine: {outcome}\nmodel: {}\n{}",
            self.name(from),
            expected.join(", or "),
            complaints.join("\n")
        );
        let kinds: Vec<String> = fates.iter().map(kind_of_fate).collect();
        let kind = match &outcome {
            Outcome::Delivered { .. } => "delivered".to_owned(),
            Outcome::Dropped { reason, answer } => kind_of_drop(*reason, *answer),
            Outcome::Broken(what) => what.clone(),
        };
        Err(Disagreement { kind: format!("engine {kind}, model {}", kinds.join(" or ")), text })
    }

    fn send(&mut self, from: AttachmentId, packet: &Packet) -> Outcome {
        let mut buffer = bytes::build(packet);
        let now = Moment::from_millis(1_000_000_000);
        match self.engine.forward(&mut buffer, from, now, &mut self.scratch) {
            Verdict::Forward { target, length } => match bytes::read(&buffer[..length], packet) {
                Ok(packet) => Outcome::Delivered { at: target, packet },
                Err(what) => Outcome::Broken(what),
            },
            Verdict::Answer(Dropped { reason, .. }) => {
                match bytes::read_answer(self.scratch.answer(), packet) {
                    Ok(answer) => Outcome::Dropped { reason, answer: Some(answer) },
                    Err(what) => Outcome::Broken(what),
                }
            }
            Verdict::Drop(Dropped { reason, .. }) => Outcome::Dropped { reason, answer: None },
        }
    }

    /// The explanation must be one of those that the model allows.
    fn explanation(&self, flow: &Flow, tally: &mut Tally) -> Result<(), Disagreement> {
        let Some(found) = self.explained(flow) else { return Ok(()) };
        tally.explained += 1;
        let right = self.network.explain(flow.from, &flow.packet);
        let blocker = found.reason.zip(found.direction).map(|(reason, way)| {
            let direction = match way {
                Way::Forward => Direction::Forward,
                Way::Return => Direction::Return,
            };
            (reason, direction)
        });
        let verdict =
            if blocker.is_some() { explain::Verdict::Deny } else { explain::Verdict::Allow };
        // Where the request is refused, what would become of it behind the blocker is left open.
        let refused = matches!(blocker, Some((_, Direction::Forward)));
        let translated_source =
            if refused { None } else { found.translated_source.zip(found.translated_source_ports) };
        let has_ports = matches!(flow.packet.protocol, TCP | UDP);
        let agrees = |right: &Explained| {
            let ip = |it: Option<(std::net::Ipv4Addr, _)>| it.map(|(ip, _)| ip);
            right.blocker == blocker
                && if has_ports {
                    right.translated_source == translated_source
                } else {
                    ip(right.translated_source) == ip(translated_source)
                }
        };
        if found.verdict == verdict && right.iter().any(agrees) {
            tally.return_blocked += usize::from(matches!(blocker, Some((_, Direction::Return))));
            return Ok(());
        }
        let kinds: Vec<_> = right.iter().map(|right| format!("{:?}", right.blocker)).collect();
        Err(Disagreement {
            kind: format!("explanation {blocker:?}, model {}", kinds.join(" or ")),
            text: format!("explained: {:?} {blocker:?} {translated_source:?}", found.verdict),
        })
    }

    fn explained(&self, flow: &Flow) -> Option<Explanation> {
        let Flow { from, packet, own_source, .. } = *flow;
        if !own_source {
            return None;
        }
        let (probe, has_ports) = match packet.protocol {
            TCP => (Probe::Tcp(packet.destination_port), true),
            UDP => (Probe::Udp(packet.destination_port), true),
            ICMP => (Probe::Icmp { kind: packet.icmp.0, code: packet.icmp.1 }, false),
            other => (Probe::Protocol(other), false),
        };
        let source_port = has_ports.then_some(packet.source_port);
        let from = Sender::Attachment(from);
        let query = Query { from, to: packet.destination, probe, source_port, one_way: false };
        Some(self.engine.explain(&query).expect("the sender is there"))
    }

    fn host(&self, id: AttachmentId) -> &'t Attachment {
        self.plan.attachments.iter().find(|it| it.id == id).expect("a host of the plan")
    }

    fn name(&self, id: AttachmentId) -> &'t str {
        &self.host(id).name
    }

    fn told(&self, fate: &Fate) -> String {
        match fate {
            Fate::Arrives { at, packet, .. } => format!("arrives at {}: {packet}", self.name(*at)),
            Fate::Dropped { reason, answer } => kind_of_drop(*reason, *answer),
        }
    }
}

fn kind_of_fate(fate: &Fate) -> String {
    match fate {
        Fate::Arrives { .. } => "arrives".to_owned(),
        Fate::Dropped { reason, answer } => kind_of_drop(*reason, *answer),
    }
}

fn kind_of_drop(reason: Reason, answer: Option<Answer>) -> String {
    match answer {
        None => reason.to_string(),
        Some(answer) => format!("{reason} answered by {answer:?}"),
    }
}

/// What a host is: `function`, `instance`, `internet`.
pub(crate) fn kind_of_host(host: &Attachment) -> &'static str {
    match host.host {
        Host::Environment { .. } => "function",
        Host::Instance { .. } => "instance",
        _ => "internet",
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { at, packet } => write!(f, "delivered at attachment {at}: {packet}"),
            Self::Dropped { reason, answer } => f.write_str(&kind_of_drop(*reason, *answer)),
            Self::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}
