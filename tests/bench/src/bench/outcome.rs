//! What a row came to, for the table, the file and the picture.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    beds::Kind,
    figure::{Figure, Goal, Judgement},
    rows::Row,
    statistics::{Summary, ratio},
};

/// The repetitions in which the baseline may differ, in parts of its median.
const STEADY: f64 = 0.15;

/// What everything is compared with.
pub(crate) const BASELINE: Kind = Kind::Nftables;

/// What each bed measured in each repetition: figures in the order of the row.
pub(crate) type Samples = BTreeMap<Kind, Vec<Option<Vec<(Figure, f64)>>>>;

/// A row that was run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) row: String,
    pub(crate) title: String,
    pub(crate) mtu: u32,
    /// The MTU of beds that do not go as far.
    pub(crate) smaller_mtu: BTreeMap<Kind, u32>,
    /// Whether the baseline moved too much, every time.
    pub(crate) unsteady: bool,
    /// How many times it was run until it was steady, or given up.
    pub(crate) runs: u32,
    /// The figures, the one that the row is about first.
    pub(crate) figures: Vec<FigureOutcome>,
    /// What did not work, by bed.
    pub(crate) failures: BTreeMap<Kind, String>,
    /// What worked but not entirely, by bed.
    pub(crate) remarks: BTreeMap<Kind, String>,
}

/// One figure of a row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FigureOutcome {
    pub(crate) figure: Figure,
    pub(crate) unit: &'static str,
    pub(crate) beds: BTreeMap<Kind, Summary>,
    /// viaduct's median ratio to another bed, within repetitions.
    pub(crate) ratios: BTreeMap<Kind, f64>,
    pub(crate) goals: Vec<GoalOutcome>,
}

/// A goal and how far it was reached.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct GoalOutcome {
    #[serde(flatten)]
    pub(crate) goal: Goal,
    pub(crate) ratio: f64,
    pub(crate) reached: Judgement,
}

/// Puts the samples of a row together.
pub(crate) fn figures_of(row: &Row, samples: &Samples) -> Vec<FigureOutcome> {
    let mut figures: Vec<Figure> = Vec::new();
    for sample in samples.values().flatten().flatten().flatten() {
        if !figures.contains(&sample.0) {
            figures.push(sample.0);
        }
    }
    figures.into_iter().map(|figure| figure_of(row, samples, figure)).collect()
}

fn figure_of(row: &Row, samples: &Samples, figure: Figure) -> FigureOutcome {
    let values: BTreeMap<Kind, Vec<Option<f64>>> = samples
        .iter()
        .map(|(kind, samples)| (*kind, samples.iter().map(|it| value(it, figure)).collect()))
        .collect();
    let beds = values
        .iter()
        .filter_map(|(kind, values)| {
            Some((*kind, Summary::of(values.iter().copied().flatten().collect())?))
        })
        .collect();
    let ours = values.get(&Kind::Viaduct);
    let ratios: BTreeMap<Kind, f64> = values
        .iter()
        .filter(|(kind, _)| **kind != Kind::Viaduct)
        .filter_map(|(kind, theirs)| Some((*kind, ratio(ours?, theirs)?)))
        .collect();
    let goals = row
        .goals
        .iter()
        .filter(|goal| goal.figure == figure)
        .filter_map(|goal| {
            let ratio = *ratios.get(&goal.against)?;
            Some(GoalOutcome { goal: *goal, ratio, reached: goal.judge(ratio) })
        })
        .collect();
    FigureOutcome { figure, unit: figure.unit(), beds, ratios, goals }
}

fn value(sample: &Option<Vec<(Figure, f64)>>, figure: Figure) -> Option<f64> {
    let (_, value) = sample.as_ref()?.iter().find(|(of, _)| *of == figure)?;
    Some(*value).filter(|value| value.is_finite())
}

/// Whether the baseline moved little enough for ratios to mean something.
pub(crate) fn is_steady(figures: &[FigureOutcome]) -> bool {
    movement(figures).is_none_or(|movement| movement <= STEADY)
}

/// How much the baseline moved, of the figure that the row is about.
pub(crate) fn movement(figures: &[FigureOutcome]) -> Option<f64> {
    Some(figures.first()?.beds.get(&BASELINE)?.spread())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rows;

    /// A row with viaduct at 8, 9 and 10 Gb/s and nftables at as much as given.
    pub(crate) fn outcome(baseline: [f64; 3]) -> Outcome {
        let row = rows::all().swap_remove(0);
        let rate = |rate| Some(vec![(Figure::Rate, rate), (Figure::CpuPerGigabyte, 1.0)]);
        let samples = Samples::from([
            (Kind::Viaduct, vec![rate(8.0), rate(9.0), rate(10.0)]),
            (Kind::Nftables, baseline.map(rate).to_vec()),
        ]);
        let figures = figures_of(&row, &samples);
        Outcome {
            row: row.name,
            title: row.title,
            mtu: row.mtu,
            smaller_mtu: BTreeMap::new(),
            unsteady: !is_steady(&figures),
            runs: 1,
            figures,
            failures: BTreeMap::from([(Kind::Veth, "it did <not> work".to_owned())]),
            remarks: BTreeMap::new(),
        }
    }

    #[test]
    fn a_row_has_figures_ratios_and_judged_goals() {
        let outcome = outcome([10.0, 10.0, 10.5]);
        assert!(!outcome.unsteady);
        let rate = &outcome.figures[0];
        assert_eq!(rate.figure, Figure::Rate);
        assert_eq!(rate.beds[&Kind::Viaduct].median, 9.0);
        assert_eq!(rate.ratios[&Kind::Nftables], 0.9);
        // The goal against fixed-nat, which was not measured, is not judged.
        assert_eq!(rate.goals.len(), 1);
        assert_eq!(rate.goals[0].reached, Judgement::Must);
    }

    #[test]
    fn a_baseline_that_moves_is_unsteady() {
        assert!(outcome([10.0, 10.0, 12.0]).unsteady);
        assert!(!outcome([10.0, 10.0, 11.4]).unsteady);
    }
}
