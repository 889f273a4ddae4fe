//! Measures viaduct beside the kernel's NAT and its peers.
//!
//! The way through: [`arguments`] say which [`rows`] and [`beds`]; [`measure`] has every bed carry
//! every row's work, by turns; what that came to ([`outcome`]) becomes the [`table`], the [`file`](mod@file)
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
mod scale;
mod statistics;
mod stop;
mod table;
mod tools;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use serde::Serialize;

use crate::{
    arguments::Arguments,
    beds::{Bed, Kind, Made},
    error::Error,
    progress::Progress,
    rows::Row,
    scale::{Scale, Setting},
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
    let names = rows.iter().map(|row| row.name.as_str()).chain(Scale::ALL.map(Scale::name));
    let names = rows::matching(&arguments.rows, names)?;
    let chosen: Vec<&Row> = rows.iter().filter(|row| names.contains(&row.name.as_str())).collect();
    let scales: Vec<Scale> =
        Scale::ALL.into_iter().filter(|scale| names.contains(&scale.name())).collect();
    if arguments.list {
        let beside = chosen.iter().map(|row| (row.name.as_str(), row.title.as_str()));
        for (name, title) in beside.chain(scales.iter().map(|row| (row.name(), row.title()))) {
            print(&format!("{name:<18} {title}\n"))?;
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
    progress.more(scales.len() as u64);
    let mut outcomes = Vec::new();
    let mut sizes = Vec::new();
    let columns: Vec<Kind> = beds.iter().map(|bed| bed.kind).collect();
    let complete = (|| {
        for row in &chosen {
            outcomes.push(measure::run(row, &mut beds, &tools, method, &progress)?);
        }
        // What is idle is not to be measured beside beds that are not.
        beds.clear();
        for scale in &scales {
            progress.row(scale.name());
            let quick = arguments.quick;
            let setting = Setting { tools: &tools, method, quick, progress: &progress };
            sizes.push(scale.run(setting)?);
        }
        Ok(())
    })();
    match complete {
        // What was measured before is worth something.
        Err(Error::Interrupted) if !outcomes.is_empty() || !sizes.is_empty() => {
            progress.say("interrupted: the rest was not measured");
        }
        complete => complete?,
    }
    beds.clear();
    progress.finish();

    if !outcomes.is_empty() {
        print(&table::render(&outcomes, &columns))?;
    }
    for size in &sizes {
        print(&size.render())?;
    }
    for Absent { bed, why, .. } in &absent {
        print(&format!("{bed}: {why}\n"))?;
    }
    if let Some(path) = &arguments.json {
        file::Document::new(method, &absent, &outcomes, &sizes).write(path)?;
    }
    if let Some(directory) = &arguments.pictures {
        file::pictures(directory, &outcomes)?;
    }
    let complete = outcomes.len() == chosen.len() && sizes.len() == scales.len();
    Ok(complete
        && !absent.iter().any(|absent| absent.failed)
        && outcomes.iter().all(|outcome| outcome.failures.is_empty())
        && sizes.iter().all(|size| size.failure.is_none()))
}

/// A bed that is missing, and why.
#[derive(Debug, Serialize)]
struct Absent {
    bed: Kind,
    why: String,
    /// Whether it should be there.
    failed: bool,
}

/// Makes the beds that can be had, and says why others cannot.
fn make(
    kinds: &[Kind],
    tools: &Tools,
    progress: &Progress,
) -> Result<(Vec<Bed>, Vec<Absent>), Error> {
    let (mut beds, mut absent) = (Vec::new(), Vec::new());
    for kind in kinds {
        stop::check()?;
        progress.doing(format!("making the bed {kind}"));
        let (why, failed) = match beds::make(*kind, tools) {
            Ok(Made::Bed(bed)) => {
                beds.push(*bed);
                continue;
            }
            Ok(Made::Absent(why)) => (why, false),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            // The others are worth measuring all the same.
            Err(error) => (format!("cannot be made: {error}"), true),
        };
        progress.say(&format!("{kind}: {why}"));
        absent.push(Absent { bed: *kind, why, failed });
    }
    Ok((beds, absent))
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::system("print"))
}
