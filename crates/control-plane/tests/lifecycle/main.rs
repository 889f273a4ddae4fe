//! The life of functions and their ENIs: the table of states, scenes from the facts, random histories
//! against a naive model, and how much work one more function is.

#[path = "../common/mod.rs"]
#[allow(dead_code)] // plans are another test's
mod common;

mod dice;
mod environments;
mod growth;
mod histories;
mod idle;
mod naive;
mod records;
mod release;
mod scale;
mod sharing;
mod table;
mod updates;
mod world;
mod zones;
