//! Running a row: every bed once in each repetition, in an order that rotates.

use std::{collections::BTreeMap, time::Duration};

use viaduct_bench::{Report, Window};

use crate::{
    beds::{Bed, Kind},
    error::Error,
    figure::{self, Figure},
    outcome::{Outcome, Samples, figures_of, is_steady, movement},
    progress::Progress,
    rows::Row,
    tools::Tools,
};

/// How rows are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    /// How often every bed is measured.
    pub(crate) repetitions: u32,
    /// How long each time.
    pub(crate) length: Duration,
    /// How many times more a row is run whose baseline moved.
    pub(crate) reruns: u32,
}

/// Runs a row over those of the beds that it is for. Only an interruption is an error: what else
/// goes wrong is told in the outcome.
pub(crate) fn run(
    row: &Row,
    beds: &mut [Bed],
    tools: &Tools,
    method: Method,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let mut best: Option<Outcome> = None;
    for run in 1..=1 + method.reruns {
        let mut outcome = once(row, beds, tools, method, progress)?;
        let steady = !outcome.unsteady;
        // Of several unsteady ones the least unsteady.
        if let Some(before) = best.take()
            && movement(&before.figures) < movement(&outcome.figures)
        {
            outcome = before;
        }
        outcome.runs = run;
        best = Some(outcome);
        if steady || run > method.reruns {
            break;
        }
        progress.say(&format!("{}: the baseline moved; once more", row.name));
        progress.more(measurements(row, beds, method));
    }
    best.ok_or(Error::Interrupted)
}

/// How many measurements a row is.
pub(crate) fn measurements(row: &Row, beds: &[Bed], method: Method) -> u64 {
    let beds = beds.iter().filter(|bed| row.beds.contains(&bed.kind)).count() as u64;
    beds * u64::from(method.repetitions)
}

fn once(
    row: &Row,
    beds: &mut [Bed],
    tools: &Tools,
    method: Method,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let mut beds: Vec<&mut Bed> =
        beds.iter_mut().filter(|bed| row.beds.contains(&bed.kind)).collect();
    let mut smaller_mtu = BTreeMap::new();
    let mut failures: BTreeMap<Kind, String> = BTreeMap::new();
    let mut remarks = BTreeMap::new();
    let mut samples = Samples::new();
    for bed in &mut beds {
        let mtu = bed.set_mtu(row.mtu)?;
        if mtu != row.mtu {
            smaller_mtu.insert(bed.kind, mtu);
        }
    }
    for _ in 0..method.repetitions {
        for bed in &mut beds {
            let kind = bed.kind;
            progress.step(&row.name, kind);
            let sample = match failures.get(&kind) {
                Some(_) => None,
                None => match sample(row, bed, tools, method.length) {
                    Ok(sample) => {
                        remarks.extend(sample.remark.map(|remark| (kind, remark)));
                        Some(sample.figures)
                    }
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(error) => {
                        progress.say(&format!("{} through {kind}: {error}", row.name));
                        failures.insert(kind, error.to_string());
                        None
                    }
                },
            };
            samples.entry(kind).or_default().push(sample);
        }
        if !beds.is_empty() {
            beds.rotate_left(1);
        }
    }
    let figures = figures_of(row, &samples);
    Ok(Outcome {
        row: row.name.clone(),
        title: row.title.clone(),
        mtu: row.mtu,
        smaller_mtu,
        unsteady: !is_steady(&figures),
        runs: 1,
        figures,
        failures,
        remarks,
    })
}

/// One measurement.
struct Sample {
    figures: Vec<(Figure, f64)>,
    /// What is to be said of it.
    remark: Option<String>,
}

fn sample(row: &Row, bed: &mut Bed, tools: &Tools, length: Duration) -> Result<Sample, Error> {
    let [client, server] = bed.run(tools, row.work, length)?;
    // Where it lies does not matter any more, only its length.
    let window = Window::after(Duration::ZERO, length);
    let figures = figure::figures(row.work, &client, &server, window);
    Ok(Sample { figures, remark: remark(&client) })
}

fn remark(client: &Report) -> Option<String> {
    let failure = client.failure.as_ref()?;
    let answered = client.latency.map_or(0, |latency| latency.requests);
    Some(format!("{} requests failed beside {answered} answered: {failure}", client.failures))
}
