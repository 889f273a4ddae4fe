//! Every input of the corpora, and every case that was ever found, through its target.

use std::{fs, path::Path};

/// The inputs in a folder of this crate, with their names.
fn inputs(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), fs::read(&path).expect("a file"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs a target on all inputs of a folder; a panic is told with the input's name.
fn replay(target: &str, folder: &str) -> usize {
    let (_, run) = *viaduct_fuzz::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .unwrap_or_else(|| panic!("no target {target}"));
    let inputs = inputs(&format!("{folder}/{target}"));
    for (name, bytes) in &inputs {
        if std::panic::catch_unwind(|| run(bytes)).is_err() {
            panic!("the target {target} fails on {name}");
        }
    }
    inputs.len()
}

#[test]
fn the_corpus_of_packets_is_survived() {
    assert!(replay("packet", "corpus") > 50);
}

#[test]
fn the_corpus_of_engine_histories_is_survived() {
    assert!(replay("engine", "corpus") > 50);
}

#[test]
fn the_corpus_of_requests_is_survived() {
    assert!(replay("requests", "corpus") > 40);
}

#[test]
fn the_corpus_of_topologies_is_survived() {
    assert!(replay("topology", "corpus") > 50);
}

#[test]
fn cases_that_were_found_stay_fixed() {
    for (target, _) in viaduct_fuzz::TARGETS {
        replay(target, "cases");
    }
}
