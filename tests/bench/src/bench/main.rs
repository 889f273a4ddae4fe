//! Measures viaduct beside the kernel's NAT and its peers.
//!
//! The way through: [`arguments`] say which [`rows`] and [`beds`]; [`measure`] has every bed carry
//! every row's work, by turns; what that came to ([`outcome`]) becomes the [`table`], the [`file`]
//! and the [`picture`]s. What is measured and how is told in each module's header.
#![forbid(unsafe_code)]

mod arguments;
mod beds;
mod error;
mod figure;
mod file;
mod load;
mod measure;
mod outcome;
mod picture;
mod process;
mod progress;
mod rows;
mod statistics;
mod stop;
mod table;
mod tools;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::Arguments,
    beds::{Bed, Kind, Made},
    error::Error,
    progress::Progress,
    rows::Row,
    tools::Tools,
};

/// Something could not be measured; and, as clap has it, nothing could.
const SOMETHING_FAILED: u8 = 1;
const NOTHING_DONE: u8 = 2;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(SOMETHING_FAILED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(NOTHING_DONE)
        }
    }
}

/// Runs everything that was asked for. False: some of it failed.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    let rows = rows::all();
    let chosen = rows::matching(&arguments.rows, rows.iter().map(|row| row.name.as_str()))?;
    let chosen: Vec<&Row> = rows.iter().filter(|row| chosen.contains(&row.name.as_str())).collect();
    if arguments.list {
        for row in chosen {
            print(&format!("{:<20} {}\n", row.name, row.title))?;
        }
        return Ok(true);
    }
    viaduct_lab::up::may_make_labs()?;
    stop::catch()?;
    let tools = Tools::find()?;
    let method = arguments.method();
    let progress = Progress::new();

    let used = |kind: &Kind| chosen.iter().any(|row| row.beds.contains(kind));
    let kinds: Vec<Kind> = arguments.kinds().into_iter().filter(used).collect();
    let (mut beds, absent) = make(&kinds, &tools, &progress)?;
    for row in &chosen {
        progress.more(measure::measurements(row, &beds, method));
    }
    let mut outcomes = Vec::new();
    for row in &chosen {
        match measure::run(row, &mut beds, &tools, method, &progress) {
            Ok(outcome) => outcomes.push(outcome),
            // What was measured before is worth something.
            Err(Error::Interrupted) if !outcomes.is_empty() => {
                progress.say("interrupted: the rest was not measured");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    progress.finish();

    let columns: Vec<Kind> = beds.iter().map(|bed| bed.kind).collect();
    drop(beds);
    print(&table::render(&outcomes, &columns))?;
    for (kind, why) in &absent {
        print(&format!("{kind}: {why}\n"))?;
    }
    if let Some(path) = &arguments.json {
        file::Document::new(method, &absent, &outcomes).write(path)?;
    }
    if let Some(directory) = &arguments.pictures {
        file::pictures(directory, &outcomes)?;
    }
    let complete = outcomes.len() == chosen.len();
    Ok(complete && outcomes.iter().all(|outcome| outcome.failures.is_empty()))
}

/// Makes the beds that can be had, and says why others cannot.
#[allow(clippy::type_complexity)]
fn make(
    kinds: &[Kind],
    tools: &Tools,
    progress: &Progress,
) -> Result<(Vec<Box<Bed>>, Vec<(Kind, String)>), Error> {
    let (mut beds, mut absent) = (Vec::new(), Vec::new());
    for kind in kinds {
        stop::check()?;
        progress.doing(format!("making the bed {kind}"));
        match beds::make(*kind, tools)? {
            Made::Bed(bed) => beds.push(bed),
            Made::Absent(why) => {
                progress.say(&format!("{kind}: {why}"));
                absent.push((*kind, why));
            }
        }
    }
    Ok((beds, absent))
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::system("print"))
}
