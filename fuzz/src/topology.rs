//! Any text as a topology: loaded, planned, compiled, put in force, and asked about.
//!
//! The input is the file's bytes. What is refused must say why, at a place in the text; what is
//! accepted must load the same again, can be planned (or the plan says what there is too little of),
//! is taken by the engine, and planned after itself changes nothing.
//!
//! Bytes alone do not get far into a language with names that refer to each other, so a mutator
//! that knows words and lines helps them: [`mutate`].

mod mutate;

use viaduct_config_plane::{LoadError, Loaded, Problems, load, load_file};
use viaduct_control_plane::{Plan, changes, plan, plan_after};
use viaduct_dataplane::{
    Engine, EngineConfig, Moment,
    explain::{Probe, Query, Sender},
};
use viaduct_topology::{Severity, Topology};

pub use mutate::mutate;

/// The name that the text has in messages.
const NAME: &str = "fuzzed.yaml";

/// Hosts beyond which a topology is not put in force: that costs time and shows nothing new.
const MOST_HOSTS: usize = 2000;

/// Tries one input.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return from_a_file(bytes) };
    let outcome = load(NAME, text);
    match &outcome {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.count(Severity::Error), 0, "{}", loaded.warnings);
            problems_are_shown(&loaded.warnings);
            stands(&loaded.topology);
        }
        Err(problems) => {
            assert!(problems.count(Severity::Error) > 0, "refused, and nothing is wrong");
            problems_are_shown(problems);
        }
    }
    let again = load(NAME, text);
    assert!(outcome == again, "loaded twice, and it is not the same: {outcome:?} {again:?}");
}

/// Bytes that are no text can only come from a file.
fn from_a_file(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a temporary file can be written");
    match load_file(file.path()) {
        Ok(Loaded { topology, .. }) => panic!("taken, and no text: {topology:?}"),
        Err(LoadError::Refused(problems)) => problems_are_shown(&problems),
        Err(error) => panic!("{error}"),
    }
}

/// Every problem has a place in the text, the order is that of the places, and all of it can be
/// shown to people and to programs.
fn problems_are_shown(problems: &Problems) {
    let text = problems.source().text();
    let places: Vec<_> = problems.iter().map(|problem| problem.span).collect();
    assert!(places.is_sorted(), "{places:?}");
    for (problem, shown) in problems.iter().zip(problems.diagnostics()) {
        let (start, end) = (problem.span.start as usize, problem.span.end as usize);
        let at = text.get(start..end).unwrap_or_else(|| panic!("not in the text: {problem:?}"));
        assert!(!at.contains('\n'), "more than a line: {problem:?}");
        assert!(!problem.message.is_empty());
        assert_eq!(shown.text, at);
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        assert_eq!((shown.line, shown.column), (line, column), "{problem:?}");
        assert_eq!(problems.locate(problem.span), format!("{}:{line}:{column}", shown.file));
    }
    assert_eq!(problems.summary() == "no problems", problems.is_empty());
    assert_eq!(problems.render(false).trim_end(), problems.to_string());
    assert_eq!(problems.render(false).is_empty(), problems.is_empty());
    assert_eq!(problems.render(true).is_empty(), problems.is_empty());
}

/// What is accepted can be planned and put in force.
fn stands(topology: &Topology) {
    let hosts = topology.functions.values().map(|function| function.environments as usize);
    let hosts = hosts.sum::<usize>() + topology.instances.values().count();
    if hosts > MOST_HOSTS {
        return;
    }
    let planned = match plan(topology) {
        Ok(planned) => planned,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let engine = Engine::new(EngineConfig { connections: 16, seed: 7 });
    let steps = changes(&Plan::default(), &planned);
    let generation = engine
        .reload(topology, &steps, Moment::ZERO)
        .unwrap_or_else(|error| panic!("planned, and the engine refuses it: {error}"));
    assert_eq!(engine.enis().len(), planned.enis.len());
    assert_eq!(engine.inventory().attachments().len(), planned.attachments.len());

    let after = plan_after(&planned, topology).expect("it was planned before");
    assert_eq!(after, planned);
    assert_eq!(changes(&planned, &after), []);
    assert_eq!(engine.load(topology), generation, "nothing has changed");
    answers(topology, &planned, &engine);
}

/// The engine has an answer to the first of what the file asks.
fn answers(topology: &Topology, planned: &Plan, engine: &Engine) {
    for (expectation, attachment) in topology.expectations.iter().zip(&planned.attachments).take(4)
    {
        let Ok(probe) = Probe::of(expectation.traffic) else { continue };
        for to in planned.enis.iter().take(4) {
            let std::net::IpAddr::V4(to) = to.private_ip else { continue };
            let from = Sender::Attachment(attachment.id);
            let query = Query { from, to, probe, source_port: None, one_way: false };
            let explanation = engine.explain(&query).expect("a host that is there");
            assert!(!explanation.to_string().is_empty());
        }
    }
}
