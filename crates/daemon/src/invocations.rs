//! Invocations: given to agents, which run them, and waited for.
//!
//! # Theory of operation
//!
//! The daemon starts no process. An agent that runs functions holds one request open; invocations are
//! lines of its answer ([`Jobs`]), and each is answered by a request of its own. The connection is the
//! agent: when it ends, whoever waits for one of its invocations is told so, and nobody waits for ever.
//!
//! Nothing is queued, as Lambda queues nothing for who waits: with room at an agent an invocation begins
//! at once, without it is throttled. An agent says how many it runs at the same time.
//!
//! An environment runs one invocation at a time, and which one it is decided here, where it is known
//! what stands where: one that the same agent kept from an invocation before, if there is one; else the
//! lowest number at which nobody stands. What a file declares of its functions stands already, and is
//! all there is of them. An agent may end an environment that it kept; it begins anew under its name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use viaduct_client::{Ended, Invocation, Octets};
use viaduct_control_plane::{
    environments::{EnvironmentName, MOST_ENVIRONMENTS},
    lifecycle::VersionId,
};
use viaduct_topology::inventory::Host;

use crate::{environments::is_declared, functions::Functions};

/// How long beyond its timeout an invocation may take: an environment may have to be made.
const GRACE: Duration = Duration::from_secs(60);

/// The environment variable that is a function's command, for the shell, where no image has one.
pub(crate) const COMMAND: &str = "VIADUCT_COMMAND";

/// What is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The directory that it starts in, if it has one.
    pub(crate) directory: Option<String>,
    /// Environment variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// Standard input.
    pub(crate) payload: Vec<u8>,
    /// Seconds it may take.
    pub(crate) timeout: u16,
}

/// Why nothing came of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRun {
    #[error("no agent runs functions: start one with `viaduct agent --invoke`")]
    NoAgent,
    #[error(
        "Rate Exceeded: every agent runs as many functions as it may, or every environment is in use"
    )]
    Throttled,
    #[error(
        "the function has no command: give it an ImageConfig with a Command, or {COMMAND} among its \
         environment variables, or put a command behind `viaduct invoke FUNCTION --`"
    )]
    NoCommand,
    #[error("the agent that ran it has gone")]
    AgentGone,
    #[error("the agent that runs it has not said what came of it")]
    Silent,
}

/// All that is being run.
#[derive(Debug, Default)]
pub(crate) struct Invocations {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers given out, to agents and to invocations.
    issued: u64,
    agents: BTreeMap<u64, Agent>,
    running: HashMap<u64, Running>,
}

#[derive(Debug)]
struct Agent {
    at_once: usize,
    busy: usize,
    jobs: mpsc::UnboundedSender<Invocation>,
    /// Environments that it has kept, as far as is known.
    kept: BTreeSet<(VersionId, u32)>,
}

/// Where something runs, and who waits for it.
#[derive(Debug)]
struct Running {
    agent: u64,
    place: (VersionId, u32),
    answer: oneshot::Sender<Ended>,
}

/// An invocation that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    ended: oneshot::Receiver<Ended>,
    patience: Duration,
}

impl Begun {
    /// Waits for what comes of it.
    pub(crate) async fn wait(self) -> Result<Ended, NotRun> {
        match tokio::time::timeout(self.patience, self.ended).await {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(_)) => Err(NotRun::AgentGone),
            Err(_) => Err(NotRun::Silent),
        }
    }
}

/// The environments of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    /// Those that stand, by number.
    standing: BTreeMap<u32, String>,
    /// Whether they are all there is.
    declared: bool,
}

impl Places {
    fn of(functions: &Functions, version: &VersionId) -> Self {
        let machine = functions.machine();
        let hosts = functions.registry().hosts();
        let declared = is_declared(&machine, version);
        let standing = if declared {
            let of_file = hosts.network.attachments().iter().filter(|attachment| {
                matches!(&attachment.host, Host::Environment { function, .. }
                    if *function == *version.function.name)
            });
            (1..).zip(of_file.map(|attachment| attachment.name.clone())).collect()
        } else {
            let of_version = hosts.environments.of(version);
            of_version.map(|it| (it.number, it.attachment.name.clone())).collect()
        };
        Self { standing, declared }
    }

    /// Where an invocation is to run, given where others do and which environments the agent has kept.
    fn choose(&self, busy: &BTreeSet<u32>, kept: &BTreeSet<u32>) -> Option<u32> {
        let mut free = self.standing.keys().copied().filter(|number| !busy.contains(number));
        if self.declared {
            return free.next();
        }
        // One that was not kept is somebody else's.
        free.find(|number| kept.contains(number)).or_else(|| {
            (1..=MOST_ENVIRONMENTS)
                .find(|number| !busy.contains(number) && !self.standing.contains_key(number))
        })
    }
}

impl Invocations {
    /// Gives something to an agent. The version may be invoked.
    pub(crate) fn begin(
        &self,
        functions: &Functions,
        version: &VersionId,
        work: Work,
    ) -> Result<Begun, NotRun> {
        // Before the places are looked at: two that begin at once never choose the same.
        let mut state = self.state();
        if state.agents.is_empty() {
            return Err(NotRun::NoAgent);
        }
        if work.command.is_empty() {
            return Err(NotRun::NoCommand);
        }
        let places = Places::of(functions, version);
        let agent = state.agent_for(version, &places).ok_or(NotRun::Throttled)?;
        let number = state.choose(agent, version, &places).ok_or(NotRun::Throttled)?;
        let environment = match places.standing.get(&number) {
            Some(name) => name.clone(),
            None => named(functions, version, number).to_string(),
        };
        let Work { command, directory, variables, payload, timeout } = work;
        state.issued += 1;
        let id = state.issued;
        let payload = Octets(payload);
        let job = Invocation { id, environment, command, directory, variables, payload, timeout };
        let at = state.agents.get_mut(&agent).ok_or(NotRun::NoAgent)?;
        at.jobs.send(job).map_err(|_| NotRun::AgentGone)?;
        at.busy += 1;
        let place = (version.clone(), number);
        at.kept.remove(&place);
        let (answer, ended) = oneshot::channel();
        state.running.insert(id, Running { agent, place, answer });
        Ok(Begun { ended, patience: GRACE + Duration::from_secs(timeout.into()) })
    }

    /// Says what came of an invocation. False: nobody waits for it, or it is none.
    pub(crate) fn ended(&self, id: u64, ended: Ended) -> bool {
        let mut state = self.state();
        let Some(Running { agent, place, answer }) = state.running.remove(&id) else {
            return false;
        };
        if let Some(agent) = state.agents.get_mut(&agent) {
            agent.busy -= 1;
            agent.kept.insert(place);
        }
        answer.send(ended).is_ok()
    }

    /// Invocations for an agent, until `until` is ready.
    pub(crate) fn take(
        self: &Arc<Self>,
        at_once: usize,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Jobs {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.issued += 1;
        let agent = state.issued;
        state.agents.insert(agent, Agent { at_once, busy: 0, jobs, kept: BTreeSet::new() });
        drop(state);
        tracing::info!(agent, at_once, "an agent runs functions");
        Jobs { inbox, until: Box::pin(until), agent, invocations: Arc::clone(self) }
    }

    fn leave(&self, agent: u64) {
        let mut state = self.state();
        state.agents.remove(&agent);
        let before = state.running.len();
        // Who waits sees that nobody will answer.
        state.running.retain(|_, running| running.agent != agent);
        let unfinished = before - state.running.len();
        tracing::info!(agent, unfinished, "an agent that ran functions has gone");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The agent with room that has kept an environment of the version, or else has the least to do.
    fn agent_for(&self, version: &VersionId, places: &Places) -> Option<u64> {
        let with_room = self.agents.iter().filter(|(_, agent)| agent.busy < agent.at_once);
        let order = |agent: &Agent| {
            let kept = places
                .standing
                .keys()
                .any(|number| agent.kept.contains(&(version.clone(), *number)));
            (!kept, agent.busy)
        };
        with_room.min_by_key(|(_, agent)| order(agent)).map(|(id, _)| *id)
    }

    fn choose(&mut self, agent: u64, version: &VersionId, places: &Places) -> Option<u32> {
        let of_version = |place: &(VersionId, u32)| (place.0 == *version).then_some(place.1);
        let busy = self.running.values().filter_map(|running| of_version(&running.place)).collect();
        let agent = self.agents.get_mut(&agent)?;
        // What stands no longer is kept by nobody.
        agent.kept.retain(|place| {
            of_version(place).is_none_or(|number| places.standing.contains_key(&number))
        });
        let kept = agent.kept.iter().filter_map(of_version).collect();
        places.choose(&busy, &kept)
    }
}

/// What an environment that does not stand yet will be called.
fn named(functions: &Functions, version: &VersionId, number: u32) -> EnvironmentName {
    EnvironmentName::new(&functions.machine(), version, number)
}

/// Invocations for one agent, a line each. The agent is there as long as this is.
pub(crate) struct Jobs {
    inbox: mpsc::UnboundedReceiver<Invocation>,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    agent: u64,
    invocations: Arc<Invocations>,
}

impl HttpBody for Jobs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.inbox.poll_recv(context).map(|job| {
            let mut line = serde_json::to_vec(&job?).expect("it is text and numbers");
            line.push(b'\n');
            Some(Ok(Frame::data(line.into())))
        })
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.invocations.leave(self.agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(numbers: &[u32], declared: bool) -> Places {
        let standing = numbers.iter().map(|number| (*number, format!("function/f/{number}")));
        Places { standing: standing.collect(), declared }
    }

    fn set<const N: usize>(numbers: [u32; N]) -> BTreeSet<u32> {
        numbers.into()
    }

    #[test]
    fn what_was_kept_is_used_again_and_what_is_somebodys_is_not_touched() {
        let api = places(&[1, 2, 4], false);
        assert_eq!(api.choose(&set([]), &set([4])), Some(4));
        assert_eq!(api.choose(&set([4]), &set([4])), Some(3), "2 is somebody else's");
        assert_eq!(api.choose(&set([3, 4]), &set([])), Some(5));
        assert_eq!(places(&[], false).choose(&set([]), &set([])), Some(1));
    }

    #[test]
    fn of_a_files_functions_there_is_what_the_file_declares() {
        let file = places(&[1, 2], true);
        assert_eq!(file.choose(&set([]), &set([])), Some(1));
        assert_eq!(file.choose(&set([1]), &set([])), Some(2));
        assert_eq!(file.choose(&set([1, 2]), &set([])), None);
    }

    #[test]
    fn nobody_waits_for_an_agent_that_has_gone() {
        let invocations = Arc::new(Invocations::default());
        let jobs = invocations.take(1, std::future::pending());
        let (answer, mut ended) = oneshot::channel();
        let function = viaduct_control_plane::lifecycle::FunctionName::new("1", "f");
        let place = (VersionId { function, version: Default::default() }, 1);
        let running = Running { agent: jobs.agent, place, answer };
        invocations.state().running.insert(9, running);
        drop(jobs);
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(!invocations.ended(9, Ended::not_run("late")), "nobody waits any more");
        assert!(invocations.state().agents.is_empty());
    }
}
