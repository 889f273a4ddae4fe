//! The difference between two topologies, for people: which objects come, go and change, and what
//! changes inside.
//!
//! Objects are matched by their ids, which outlive renaming and reordering; functions and internet
//! hosts, which have none, by their names. What is compared is how an object would be written:
//! `describe` turns each into a few fields of text, in which every reference is a path, so that
//! objects of two topologies can be held against each other.

mod describe;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use self::describe::{Described, Field, describe};
use crate::model::Topology;

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is new.
    Added,
    /// It stays, and something in it is different.
    Changed,
    /// It is there no more.
    Removed,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "+",
            Self::Changed => "~",
            Self::Removed => "-",
        })
    }
}

/// What becomes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What becomes of it.
    pub action: Action,
    /// Its path: in the new topology, or in the old one if it is removed.
    pub path: String,
    /// Of a changed object: what changes, a line for each value or element of a list.
    pub details: Vec<String>,
}

impl Topology {
    /// What becomes of each object when this topology takes the place of `previous`, kind by kind;
    /// of each kind first what changes or goes, in the old order, then what comes, in the new one.
    /// Expectations are no part of the network.
    #[must_use]
    pub fn difference(&self, previous: &Self) -> Vec<Difference> {
        let (before, after) = (describe(previous), describe(self));
        let now: HashMap<_, _> = after.iter().map(|object| (&object.identity, object)).collect();
        let stood: HashSet<_> = before.iter().map(|object| &object.identity).collect();

        let stays = before.iter().filter_map(|was| {
            let of = |action, path: &str, details| {
                Some((was.order, Difference { action, path: path.to_owned(), details }))
            };
            match now.get(&was.identity) {
                None => of(Action::Removed, &was.path, Vec::new()),
                Some(is) => {
                    let details = details(was, is);
                    if details.is_empty() { None } else { of(Action::Changed, &is.path, details) }
                }
            }
        });
        let comes = after.iter().filter(|object| !stood.contains(&object.identity)).map(|is| {
            let path = is.path.clone();
            (is.order, Difference { action: Action::Added, path, details: Vec::new() })
        });
        let mut found: Vec<_> = stays.chain(comes).collect();
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, difference)| difference).collect()
    }
}

/// What is different in an object that stays.
fn details(was: &Described, is: &Described) -> Vec<String> {
    let mut details = Vec::new();
    if was.path != is.path {
        details.push(format!("path: {} → {}", was.path, is.path));
    }
    // Objects of one kind have the same fields in the same order.
    for ((name, was), (_, is)) in was.fields.iter().zip(&is.fields) {
        match (was, is) {
            (Field::One(was), Field::One(is)) if was != is => {
                details.push(format!("{name}: {was} → {is}"));
            }
            (Field::Many(was), Field::Many(is)) => {
                let gone = missing(was, is).map(|line| format!("{name}: - {line}"));
                let new = missing(is, was).map(|line| format!("{name}: + {line}"));
                details.extend(gone.chain(new));
            }
            _ => {}
        }
    }
    details
}

/// The lines that are not among the others.
fn missing<'l>(lines: &'l [String], others: &'l [String]) -> impl Iterator<Item = &'l String> {
    let others: HashSet<_> = others.iter().collect();
    lines.iter().filter(move |line| !others.contains(line))
}
