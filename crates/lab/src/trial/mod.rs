//! Expectations tried with real packets: three answers to each, which must be the same.
//!
//! What the file expects, what the explanation says, and what a packet met. For a flow that must
//! pass, a listener is started at the destination and something is sent there and back. For one
//! that must not, success is the daemon's own word: a drop event with exactly the flow that was
//! sent. Nothing is concluded from silence; a packet of which nothing is heard is an answer of its
//! own, and no agreement.

mod case;
mod probe;
mod raw;

use std::{
    collections::{HashMap, HashSet},
    iter,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;
use viaduct_client::{DropEvent, Flow};
use viaduct_control_plane::Plan;
use viaduct_topology::{
    Reason, Span, Topology,
    inventory::AttachmentId,
    model::{Endpoint, Expectation, ExpectedVerdict, Traffic},
};
use viaduct_tun::{Namespace, netns};

use self::{
    case::Case,
    probe::{Probe, Progress},
};
use crate::{Api, Error, Host};

/// How long a flow may take to pass or to be dropped: both happen within milliseconds, unless the
/// machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to look one way, at the sockets or at the drops, before looking the other.
const LOOK: Duration = Duration::from_millis(10);

/// What somebody says becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Answer {
    /// It passes, there and back.
    Allow {
        /// The source that the destination sees, if it was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        translated_source: Option<IpAddr>,
    },
    /// It is refused.
    Deny {
        /// Why, where that is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Nothing was heard of it.
    Lost,
    /// It is not one flow, so there is nothing to send.
    Untried,
}

impl Answer {
    /// Whether two answers can both be true. A reason or a source that is not given contradicts
    /// none.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Allow { translated_source: ours },
                Self::Allow { translated_source: theirs },
            ) => ours.is_none() || theirs.is_none() || ours == theirs,
            (Self::Deny { reason: ours }, Self::Deny { reason: theirs }) => {
                ours.is_none() || theirs.is_none() || ours == theirs
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allow { translated_source: None } => f.write_str("allow"),
            Self::Allow { translated_source: Some(source) } => write!(f, "allow as {source}"),
            Self::Deny { reason: None } => f.write_str("deny"),
            Self::Deny { reason: Some(reason) } => write!(f, "deny {reason}"),
            Self::Lost => f.write_str("nothing heard"),
            Self::Untried => f.write_str("not tried"),
        }
    }
}

/// What came of trying one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The line of the `expect` that speaks of it, from 1.
    pub line: usize,
    /// The host that opens it.
    pub from: String,
    /// The host it goes to, or its address where there is none.
    pub to: String,
    /// `tcp/5432`.
    pub traffic: String,
    /// What the file expects.
    pub expected: Answer,
    /// What the explanation says.
    pub explained: Answer,
    /// What a packet met.
    pub packet: Answer,
    /// Whether all three agree.
    pub agree: bool,
}

/// What explains a flow: the same code that `viaduct explain` runs, with no packet involved.
pub trait Explain {
    /// What becomes of a flow from a host to an address.
    fn explain(&self, from: AttachmentId, to: IpAddr, traffic: Traffic) -> Answer;
}

/// Where flows are tried: hosts that a daemon has attached.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The daemon's control socket.
    pub control_socket: &'p Path,
    /// The hosts. Those that no expectation is about may be missing.
    pub hosts: &'p [Host],
}

/// Tries every expectation of a topology. Calls `progress` after each flow, with how many there are;
/// `line` says on which line a place is.
///
/// # Errors
///
/// When a host of an expectation has no namespace or the daemon cannot be asked: nothing is tried then.
pub fn run(
    place: Place<'_>,
    topology: &Topology,
    line: impl Fn(Span) -> usize,
    explain: &dyn Explain,
    mut progress: impl FnMut(&Tried, usize),
) -> Result<Vec<Tried>, Error> {
    let plan = viaduct_control_plane::plan(topology)?;
    let mut trial = Trial::new(place, &plan)?;
    let flows: Vec<(&Expectation, Case)> = topology
        .expectations
        .iter()
        .flat_map(|expectation| {
            let cases = case::cases(topology, &plan, expectation);
            cases.into_iter().map(move |case| (expectation, case))
        })
        .collect();
    for (_, case) in &flows {
        trial.has_hosts_of(case)?;
    }
    let mut tried = Vec::with_capacity(flows.len());
    for (expectation, case) in &flows {
        let expected = match expectation.verdict {
            ExpectedVerdict::Allow => Answer::Allow { translated_source: None },
            ExpectedVerdict::Deny(reason) => Answer::Deny { reason },
        };
        let explained = explain.explain(case.from, case.to.into(), expectation.traffic);
        let packet = trial.try_packet(case, expectation.traffic)?;
        let agree = expected.agrees_with(&explained)
            && explained.agrees_with(&packet)
            && expected.agrees_with(&packet);
        let one = Tried {
            line: line(expectation.span),
            from: case.from_name.clone(),
            to: match (&case.to_name, &expectation.to) {
                // The interface itself, whoever answers behind it.
                (None, Endpoint::Function(..)) | (Some(_), Endpoint::VpcEndpoint(_)) => {
                    format!("{} ({})", topology.endpoint(&expectation.to), case.to)
                }
                (Some(name), _) => name.clone(),
                (None, _) => case.to.to_string(),
            },
            traffic: expectation.traffic.to_string(),
            expected,
            explained,
            packet,
            agree,
        };
        progress(&one, flows.len());
        tried.push(one);
    }
    Ok(tried)
}

/// The lab, seen by one who sends packets and listens for what is said of them.
struct Trial {
    api: Api,
    namespaces: HashMap<String, Namespace>,
    /// The names of hosts that pass on what is not their own.
    appliances: HashSet<String>,
    /// The private addresses of public ones: what an internet gateway lets in goes on to those, and
    /// that is what an appliance behind it passes on.
    private: HashMap<IpAddr, IpAddr>,
    /// Drop events up to here were looked at.
    seen: u64,
}

impl Trial {
    fn new(place: Place<'_>, plan: &Plan) -> Result<Self, Error> {
        let api = Api::new(place.control_socket)?;
        let mut namespaces = HashMap::with_capacity(plan.hosts.len());
        for host in place.hosts {
            namespaces.insert(host.name.clone(), netns::resolve(&host.namespace)?);
        }
        let seen = api.drops_so_far()?;
        let appliances = plan.hosts.iter().filter(|host| host.forwards);
        let appliances = appliances.map(|host| host.name.clone()).collect();
        let public = plan.enis.iter().filter_map(|eni| Some((eni.public_ip?, eni.private_ip)));
        Ok(Self { api, namespaces, appliances, private: public.collect(), seen })
    }

    /// Whether there is a namespace at both ends of a flow; the error says where not.
    fn has_hosts_of(&self, case: &Case) -> Result<(), Error> {
        let mut hosts = iter::once(&case.from_name).chain(&case.to_name);
        match hosts.find(|name| !self.namespaces.contains_key(*name)) {
            Some(name) => Err(Error::NoNamespaceOf { host: name.clone() }),
            None => Ok(()),
        }
    }

    fn try_packet(&mut self, case: &Case, traffic: Traffic) -> Result<Answer, Error> {
        let from = &self.namespaces[&case.from_name];
        let to = case.to_name.as_ref().and_then(|name| self.namespaces.get(name));
        let Some(mut probe) = Probe::start(from, to, case.to, traffic)? else {
            return Ok(Answer::Untried);
        };
        let deadline = Instant::now() + PATIENCE;
        let mut refused = None;
        while Instant::now() < deadline {
            if refused.is_none() {
                match probe.advance(LOOK)? {
                    Progress::Passed(translated_source) => {
                        return Ok(Answer::Allow { translated_source });
                    }
                    // An RST or an ICMP error can be the daemon's answer to what it drops. Its
                    // event is about to come; only without one was it the destination's own.
                    Progress::Refused => refused = Some(Instant::now()),
                    Progress::Pending => {}
                }
            }
            if let Some(reason) = self.dropped(&case.from_name, &probe.flow)? {
                return Ok(Answer::Deny { reason: Some(reason) });
            }
            if refused.is_some_and(|since| since.elapsed() > PATIENCE / 5) {
                return Ok(Answer::Allow { translated_source: None });
            }
        }
        Ok(Answer::Lost)
    }

    /// Why the flow was dropped, as soon as the daemon says so.
    fn dropped(&mut self, from: &str, flow: &Flow) -> Result<Option<Reason>, Error> {
        let drops = self.api.drops(self.seen, LOOK)?;
        self.seen = drops.next;
        // What an appliance passes on is still the same flow, and can be dropped on its way from
        // there; if a function has sent it, with the address and a port of its ENI (LAM-02).
        let translated = from.starts_with("function/");
        let let_in = self.private.get(&flow.destination);
        let let_in = let_in.map(|private| Flow { destination: *private, ..*flow });
        let same = |other: Option<Flow>, flow: &Flow| {
            let Some(other) = other else { return false };
            let Flow { source, source_port, .. } = if translated { other } else { *flow };
            other == Flow { source, source_port, ..*flow }
        };
        let passed_on = |event: &DropEvent, flow: &Flow| {
            same(event.request, flow)
                || self.appliances.contains(&event.attachment) && same(event.flow, flow)
        };
        let on_the_way = |event: &&DropEvent| {
            is_about(event, from, flow)
                || passed_on(event, flow)
                || let_in.as_ref().is_some_and(|flow| passed_on(event, flow))
        };
        let event = drops.events.iter().find(|event| on_the_way(event));
        Ok(event.map(|event| event.reason))
    }
}

/// Whether a drop was of this flow: its request, where it came in, or the reply to it.
fn is_about(event: &DropEvent, from: &str, flow: &Flow) -> bool {
    event.request == Some(*flow) || (event.attachment == from && event.flow == Some(*flow))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: Answer = Answer::Allow { translated_source: None };
    const DENY: Answer = Answer::Deny { reason: None };

    fn deny(reason: Reason) -> Answer {
        Answer::Deny { reason: Some(reason) }
    }

    #[test]
    fn only_the_same_verdict_and_reason_agree() {
        let (mismatch, restriction) =
            (deny(Reason::EniSgRulesMismatch), deny(Reason::SubnetAclRestriction));
        assert!(ALLOW.agrees_with(&Answer::Allow { translated_source: Some([1, 2, 3, 4].into()) }));
        assert!(DENY.agrees_with(&mismatch));
        assert!(mismatch.agrees_with(&DENY));
        assert!(!mismatch.agrees_with(&restriction));
        assert!(!ALLOW.agrees_with(&DENY));
        let [one, other] =
            [1, 2].map(|last| Answer::Allow { translated_source: Some([10, 0, 1, last].into()) });
        assert!(one.agrees_with(&one));
        assert!(!one.agrees_with(&other));
    }

    #[test]
    fn silence_agrees_with_nothing() {
        for answer in [ALLOW, DENY, Answer::Lost, Answer::Untried] {
            assert!(!Answer::Lost.agrees_with(&answer));
            assert!(!answer.agrees_with(&Answer::Untried));
        }
    }
}
