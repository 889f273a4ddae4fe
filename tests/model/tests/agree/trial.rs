//! One random network, in the engine and in the model.

use std::{collections::BTreeSet, fmt};

use viaduct_control_plane::Plan;
use viaduct_dataplane::{Dropped, Engine, EngineConfig, Moment, Scratch, Verdict};
use viaduct_model::{
    Packet, Segment, TCP,
    generate::{self, Dice, Flow},
    model::{Answer, Fate, Network},
};
use viaduct_topology::{
    Reason, Topology,
    inventory::{Attachment, AttachmentId, Host},
    model::PortRange,
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

/// When a trial begins, in milliseconds.
const BEGINNING: u64 = 1_000_000_000;

/// Packets that a disagreement tells of.
const TOLD: usize = 60;

/// Legs of a way at most: a packet that is led round goes no further.
const MOST_LEGS: usize = 6;

/// A network and who judges it.
pub(crate) struct Trial<'t> {
    pub(crate) plan: &'t Plan,
    pub(crate) engine: Engine,
    pub(crate) scratch: Scratch,
    pub(crate) network: Network<'t>,
    /// Milliseconds.
    pub(crate) now: u64,
    /// The ports that there are for translated connections.
    ports: PortRange,
    failed_zones: BTreeSet<String>,
    /// Exchanges that worked.
    pub(crate) live: Vec<Exchange>,
    /// Every packet so far.
    history: Vec<Sent>,
}

/// A packet that was sent, and what arrived of it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    now: u64,
    from: AttachmentId,
    packet: Packet,
    arrived: Option<Packet>,
}

/// A packet on one side of an appliance, or all the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) from: AttachmentId,
    pub(crate) sent: Packet,
    pub(crate) at: AttachmentId,
    pub(crate) arrived: Packet,
}

/// A request and its reply, both as their senders sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) from: AttachmentId,
    pub(crate) request: Packet,
    pub(crate) at: AttachmentId,
    pub(crate) reply: Packet,
}

/// A topology and its plan.
struct Loaded {
    yaml: String,
    topology: Topology,
    plan: Plan,
}

impl Loaded {
    fn new(seed: u64, yaml: String, before: Option<&Plan>) -> Self {
        let loaded = viaduct_config_plane::load("random.yaml", &yaml).unwrap_or_else(|problems| {
            panic!("seed {seed} makes no topology: {}\n{yaml}", problems.render(false))
        });
        let topology = loaded.topology;
        let plan = match before {
            None => viaduct_control_plane::plan(&topology),
            Some(before) => viaduct_control_plane::plan_after(before, &topology),
        };
        let plan =
            plan.unwrap_or_else(|error| panic!("seed {seed} makes no plan: {error}\n{yaml}"));
        Self { yaml, topology, plan }
    }
}

/// Makes the network of a seed and sends flows through it; half of them after a few objects of the
/// network have changed. In the end, ports are used up if there are no more than `patience`.
pub(crate) fn run(
    seed: u64,
    flows: usize,
    patience: usize,
    tally: &mut Tally,
) -> Result<(), Disagreement> {
    let before = Loaded::new(seed, generate::topology(seed), None);
    let changed = generate::changed_topology(seed, seed ^ CHANGE);
    let after = Loaded::new(seed, changed, Some(&before.plan));
    let mut dice = Dice::labelled(seed, "flows");
    let mut trial = Trial::new(seed, &mut dice, &before.topology, &before.plan);
    let mut earlier: Vec<Flow> = Vec::new();
    let mut now = &before;
    for number in 0..flows {
        let mut disagreed = Ok(());
        if number == flows / 4 {
            disagreed = trial.session(&mut dice, ROUNDS / 3, tally);
        } else if number == flows / 2 {
            trial.reload(&before, &after);
            now = &after;
            disagreed = trial.go_on(&mut dice, tally);
        } else if number == flows * 5 / 8 || number == flows * 7 / 8 {
            // A zone fails in some of the networks, and is back later.
            let failed = if number < flows * 7 / 8 { failing(seed, &now.topology) } else { None };
            disagreed = trial.fail_zones(failed, &mut dice, tally);
        }
        let flow = generate::flow(&mut dice, &now.topology, &now.plan, &earlier);
        disagreed
            .and_then(|()| trial.exchange(&flow, tally))
            .map_err(|it| trial.told_whole(it, seed, Some(&flow), now))?;
        earlier.push(flow);
    }
    let at_last = trial.session(&mut dice, ROUNDS, tally);
    at_last
        .and_then(|()| {
            if trial.port_count() <= patience { trial.burst(&mut dice, tally) } else { Ok(()) }
        })
        .and_then(|()| trial.records())
        .map_err(|it| trial.told_whole(it, seed, None, now))?;
    tally.recycled += trial.network.recycled();
    Ok(())
}

/// The zone that fails in the network of a seed, if one does.
fn failing(seed: u64, topology: &Topology) -> Option<String> {
    let mut dice = Dice::labelled(seed, "zone");
    let zones = topology.subnets.values().map(|subnet| subnet.availability_zone.as_str());
    let zones: Vec<&str> = zones.collect();
    dice.percent(25).then(|| dice.one(&zones).to_owned())
}

/// So few ports are used up by flows as they come.
const SCARCE: usize = 9;

/// So many are not: of which one gets which is chance, and is counted.
const PLENTY: usize = 10_000;

/// What happens in a session, in the end.
const ROUNDS: usize = 30;

/// Makes the seed of a change out of that of a network.
const CHANGE: u64 = 0x6368_616e_6765;

/// The topology in force, and what was changed in it.
fn told_changes(yaml: &str, seed: u64) -> String {
    let mut text = yaml.to_owned();
    let before = generate::topology(seed);
    if *yaml != before {
        let gone = before.lines().filter(|line| !yaml.lines().any(|other| other == *line));
        text.push_str("before the reload:\n");
        text.extend(gone.flat_map(|line| [line, "\n"]));
    }
    text
}

impl<'t> Trial<'t> {
    fn new(seed: u64, dice: &mut Dice, topology: &'t Topology, plan: &'t Plan) -> Self {
        let engine = Engine::new(EngineConfig { connections: 65_536, seed });
        engine.load(topology);
        for eni in &plan.enis {
            engine.add_eni(eni).expect("the interface");
        }
        let ports = topology.settings.source_ports;
        let scarce = count(ports) < SCARCE;
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
        let mut network = Network::new(topology, plan, down);
        network.at(BEGINNING);
        let (live, history) = (Vec::new(), Vec::new());
        let failed_zones = BTreeSet::new();
        Self { plan, engine, scratch, network, now: BEGINNING, ports, failed_zones, live, history }
    }

    /// A disagreement with all that led to it.
    fn told_whole(
        &self,
        Disagreement { kind, text }: Disagreement,
        seed: u64,
        flow: Option<&Flow>,
        now: &Loaded,
    ) -> Disagreement {
        let mut said = format!("seed {seed}\n{text}\n");
        if let Some(flow) = flow {
            let Flow { from, packet, .. } = flow;
            let explained = self.explained(flow).map_or_else(
                || "cannot be asked: the source is not its own".to_owned(),
                |it| format!("{:?} {:?} {:?}", it.verdict, it.reason, it.direction),
            );
            let model = self.network.explain(*from, packet);
            said += &format!(
                "flow from {}: {packet}\nexplanation: {explained}\nmodel explains: {model:?}\n",
                self.name(*from)
            );
        }
        for Sent { now, from, packet, arrived } in self.history.iter().rev().take(TOLD).rev() {
            let now = *now - BEGINNING;
            let arrived = arrived.map_or_else(|| "lost".to_owned(), |it| format!("as {it}"));
            said += &format!("  {now:9} {packet} from {}: {arrived}\n", self.name(*from));
        }
        said += &format!("zones that have failed: {:?}\n", self.failed_zones);
        said += &told_changes(&now.yaml, seed);
        Disagreement { kind, text: said }
    }

    /// How many ports there are for translated connections.
    pub(crate) fn port_count(&self) -> usize {
        count(self.ports)
    }

    pub(crate) const fn moment(&self) -> Moment {
        Moment::from_millis(self.now)
    }

    /// Another topology takes the place of the first one, in the engine and in the model.
    fn reload(&mut self, before: &'t Loaded, after: &'t Loaded) {
        let changes = viaduct_control_plane::changes(&before.plan, &after.plan);
        self.engine.reload(&after.topology, &changes, self.moment()).expect("a reload");
        for (attachment, host) in after.plan.attachments.iter().zip(&after.plan.hosts) {
            if before.plan.attachments.iter().all(|other| other.id != attachment.id) {
                self.engine.attached(attachment.id, host.device_mtu);
            }
        }
        self.network.reload(&after.topology, &after.plan);
        self.plan = &after.plan;
    }

    /// Other zones fail, in the engine and in the model; if there is a difference, the connections are
    /// looked at, and stay.
    fn fail_zones(
        &mut self,
        failed: Option<String>,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let failed = failed.into_iter().collect();
        if failed == self.failed_zones {
            return Ok(());
        }
        self.engine.fail_zones(&failed);
        self.network.fail_zones(&failed);
        self.failed_zones = failed;
        self.each_goes_on(self.live.clone(), dice, tally)
    }

    /// What is left of the connections after a reload: each gets packets from both of its ends.
    fn go_on(&mut self, dice: &mut Dice, tally: &mut Tally) -> Result<(), Disagreement> {
        let live = std::mem::take(&mut self.live);
        self.each_goes_on(live, dice, tally)
    }

    fn each_goes_on(
        &mut self,
        live: Vec<Exchange>,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        for Exchange { from, request, at, reply } in live {
            let request = Packet { segment: Segment::Carry, ..request };
            let reply = Packet { segment: Segment::Carry, ..reply };
            let mut packets = [(from, request), (at, reply), (from, request), (at, reply)];
            if dice.percent(50) {
                packets.swap(0, 1);
            }
            for (from, packet) in packets {
                if self.plan.attachments.iter().any(|host| host.id == from) {
                    let survived = self.carry(from, &packet, tally)?.is_some();
                    tally.went_on(survived);
                }
            }
        }
        Ok(())
    }

    /// A request, its reply, the request again, its reply again; and what the explanation says.
    fn exchange(&mut self, flow: &Flow, tally: &mut Tally) -> Result<(), Disagreement> {
        tally.flows += 1;
        self.explanation(flow, tally)?;
        let Flow { from, packet, .. } = *flow;
        if self.plan.attachments.iter().all(|host| host.id != from) {
            return Ok(());
        }
        if let Some(oddity) = flow.oddity {
            self.odd(from, &packet, oddity, tally)?;
        }
        let Some(legs) = self.carry(from, &packet, tally)? else { return Ok(()) };
        let Leg { at, arrived, .. } = *legs.last().expect("one leg at least");
        // Whose address it is has the reply, and that is another way.
        if !flow.own_source {
            return Ok(());
        }
        if let Some(icmp) = flow.complaint {
            self.complain(&legs, icmp, tally)?;
        }
        let Some(answer) = arrived.answer() else {
            tally.allowed(self.host(from), self.host(at), &self.crossed(&legs));
            return Ok(());
        };
        if let Some(back) = self.carry(at, &answer, tally)? {
            tally.allowed(self.host(from), self.host(at), &self.crossed(&legs));
            if let Some(icmp) = flow.complaint {
                self.complain(&back, icmp, tally)?;
            }
        }
        let again = Packet { segment: Segment::Carry, ttl: 64, ..packet };
        let answer = Packet { segment: Segment::Carry, ..answer };
        let mut standing = None;
        if let Some(there) = self.carry(from, &again, tally)? {
            standing = self.carry(at, &answer, tally)?.map(|back| (there, back));
        }
        if packet.protocol == TCP && flow.resets {
            let reset = Packet { segment: Segment::Reset, ..again };
            if self.carry(from, &reset, tally)?.is_some() {
                // The connection is gone, in both directions.
                self.carry(at, &answer, tally)?;
                self.carry(from, &again, tally)?;
            }
        } else if let Some((there, back)) = standing {
            self.live.push(Exchange { from, request: again, at, reply: answer });
            if there.len() > 1 {
                self.live.extend(legs_apart(&there, &back));
            }
        }
        Ok(())
    }

    /// One packet to its end, through whatever appliances it is led. `None` if it is lost.
    pub(crate) fn carry(
        &mut self,
        from: AttachmentId,
        packet: &Packet,
        tally: &mut Tally,
    ) -> Result<Option<Vec<Leg>>, Disagreement> {
        let (mut from, mut sent) = (from, *packet);
        let mut legs = Vec::new();
        while legs.len() < MOST_LEGS {
            let Some((at, arrived)) = self.step(from, &sent, tally)? else { return Ok(None) };
            legs.push(Leg { from, sent, at, arrived });
            if !self.network.is_led_through(at, &arrived) {
                return Ok(Some(legs));
            }
            // An appliance sends on what it gets, as it is.
            (from, sent) = (at, arrived);
        }
        Ok(None)
    }

    /// One packet: the engine's outcome must be one of the model's fates.
    fn step(
        &mut self,
        from: AttachmentId,
        packet: &Packet,
        tally: &mut Tally,
    ) -> Result<Option<(AttachmentId, Packet)>, Disagreement> {
        let sent = *packet;
        let fates = self.network.fates(from, packet);
        tally.packets += 1;
        tally.open += usize::from(fates.len() > 1);
        let outcome = self.send(from, packet);
        let arrived = match &outcome {
            Outcome::Delivered { packet, .. } => Some(*packet),
            _ => None,
        };
        self.history.push(Sent { now: self.now, from, packet: *packet, arrived });
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
                    match self.network.settle(fate.clone(), from, &sent, packet) {
                        Ok(()) => {
                            let opened = matches!(fate, Fate::Arrives { opened: Some(_), .. });
                            if opened
                                && packet.source_port != sent.source_port
                                && self.port_count() > PLENTY
                            {
                                tally.port(packet.source_port, self.ports);
                            }
                            return Ok(Some((*at, *packet)));
                        }
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
        match self.engine.forward(&mut buffer, from, self.moment(), &mut self.scratch) {
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
            other => Outcome::Broken(format!("{other:?} of a whole packet that must not be cut")),
        }
    }

    fn host(&self, id: AttachmentId) -> &'t Attachment {
        self.plan.attachments.iter().find(|it| it.id == id).expect("a host of the plan")
    }

    /// What the legs of a way led through.
    fn crossed(&self, legs: &[Leg]) -> BTreeSet<&'static str> {
        let mut crossed = BTreeSet::new();
        for leg in legs {
            crossed.extend(self.network.crossed(leg.from, &leg.sent));
        }
        crossed
    }

    pub(crate) fn name(&self, id: AttachmentId) -> &'t str {
        self.plan
            .attachments
            .iter()
            .find(|it| it.id == id)
            .map_or("a host that is gone", |it| &it.name)
    }

    fn told(&self, fate: &Fate<'_>) -> String {
        match fate {
            Fate::Arrives { at, packet, .. } => format!("arrives at {}: {packet}", self.name(*at)),
            Fate::Dropped { reason, answer } => kind_of_drop(*reason, *answer),
        }
    }
}

/// The connections on either side of each appliance of a way, where the replies come back as the
/// requests went.
fn legs_apart(there: &[Leg], back: &[Leg]) -> Vec<Exchange> {
    let pairs = there.iter().zip(back.iter().rev());
    pairs
        .filter(|(there, back)| (there.from, there.at) == (back.at, back.from))
        .map(|(there, back)| {
            let (Leg { from, sent: request, at, .. }, reply) = (*there, back.sent);
            Exchange { from, request, at, reply }
        })
        .collect()
}

fn count(ports: PortRange) -> usize {
    usize::from(ports.last - ports.first) + 1
}

fn kind_of_fate(fate: &Fate<'_>) -> String {
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

/// What a host is.
pub(crate) fn kind_of_host(host: &Attachment) -> &'static str {
    match host.host {
        Host::Environment { .. } => "function",
        Host::Instance { .. } => "instance",
        Host::Service { .. } => "service",
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
