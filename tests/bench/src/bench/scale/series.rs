//! What a scale row measures: figures at steps, with what must be reached at the last step.

use std::fmt::Write;

use serde::Serialize;

use super::Scale;
use crate::{
    figure::Judgement,
    statistics::Summary,
    table::{columns, number},
};

/// Figures as they are measured.
#[derive(Debug, Default)]
pub(crate) struct Series {
    steps: Vec<String>,
    figures: Vec<Values>,
}

#[derive(Debug)]
struct Values {
    name: &'static str,
    unit: &'static str,
    /// By step.
    values: Vec<Vec<f64>>,
    limit: Option<Limit>,
}

/// What a figure may be at the last step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Limit {
    /// At most this.
    pub(crate) must: f64,
    /// At best this; the same, where nothing more is asked.
    pub(crate) stretch: f64,
}

/// A row that was run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScaleOutcome {
    pub(crate) row: &'static str,
    pub(crate) title: &'static str,
    pub(crate) steps: Vec<String>,
    pub(crate) figures: Vec<ScaleFigure>,
    /// Why it was not run to its end.
    pub(crate) failure: Option<String>,
}

/// One figure of it, by step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScaleFigure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<Option<Summary>>,
    pub(crate) limit: Option<Limit>,
    pub(crate) reached: Option<Judgement>,
}

impl Series {
    /// What is added from now on is of this step.
    pub(crate) fn step(&mut self, name: impl Into<String>) {
        let name = name.into();
        if !self.steps.contains(&name) {
            self.steps.push(name);
        }
    }

    /// A measurement at the last step.
    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        let step = self.steps.len().saturating_sub(1);
        self.add_at(step, name, unit, value);
    }

    /// A measurement at a step by its number.
    pub(crate) fn add_at(
        &mut self,
        step: usize,
        name: &'static str,
        unit: &'static str,
        value: f64,
    ) {
        let figure = match self.figures.iter().position(|figure| figure.name == name) {
            Some(place) => &mut self.figures[place],
            None => {
                self.figures.push(Values { name, unit, values: Vec::new(), limit: None });
                // It was pushed just now.
                let last = self.figures.len() - 1;
                &mut self.figures[last]
            }
        };
        if figure.values.len() <= step {
            figure.values.resize_with(step + 1, Vec::new);
        }
        figure.values[step].push(value);
    }

    /// Sets what a figure that was measured may be at the last step.
    pub(crate) fn limit(&mut self, name: &'static str, must: f64, stretch: f64) {
        let figure = self.figures.iter_mut().find(|figure| figure.name == name);
        if let Some(figure) = figure {
            figure.limit = Some(Limit { must, stretch });
        }
    }

    pub(crate) fn into_outcome(self, row: Scale, failure: Option<String>) -> ScaleOutcome {
        let steps = self.steps.len();
        let figure = |Values { name, unit, mut values, limit }| {
            values.resize_with(steps, Vec::new);
            let values: Vec<Option<Summary>> = values.into_iter().map(Summary::of).collect();
            let last = values.last().and_then(Option::as_ref);
            let reached = limit.and_then(|limit: Limit| Some(limit.judge(last?.median)));
            ScaleFigure { name, unit, values, limit, reached }
        };
        ScaleOutcome {
            row: row.name(),
            title: row.title(),
            steps: self.steps,
            figures: self.figures.into_iter().map(figure).collect(),
            failure,
        }
    }
}

impl Limit {
    fn judge(self, value: f64) -> Judgement {
        if value <= self.stretch {
            Judgement::Stretch
        } else if value <= self.must {
            Judgement::Must
        } else {
            Judgement::Missed
        }
    }
}

impl ScaleOutcome {
    /// The row as a table of its own: a line for each figure, a column for each step.
    pub(crate) fn render(&self) -> String {
        let mut head = vec![self.row.to_owned(), "FIGURE".to_owned()];
        head.extend(self.steps.iter().map(|step| step.to_uppercase()));
        head.push("GOALS".to_owned());
        let mut rows = vec![head];
        rows.extend(self.figures.iter().map(|figure| {
            let mut line = vec![String::new(), format!("{} {}", figure.name, figure.unit)];
            line.extend(figure.values.iter().map(|summary| match summary {
                Some(summary) => number(summary.median),
                None => "-".to_owned(),
            }));
            line.push(figure.goal());
            line
        }));
        let mut text = columns(&rows);
        if let Some(failure) = &self.failure {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} failed: {failure}", self.row);
        }
        text
    }
}

impl ScaleFigure {
    fn goal(&self) -> String {
        let (Some(Limit { must, stretch }), Some(reached)) = (self.limit, self.reached) else {
            return String::new();
        };
        match reached {
            Judgement::Missed => format!("≤{must} missed"),
            _ if must == stretch => format!("≤{must} reached"),
            Judgement::Must => format!("≤{must} reached, not ≤{stretch}"),
            Judgement::Stretch => format!("≤{must} reached, and ≤{stretch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_about_the_last_step() {
        let mut series = Series::default();
        for (step, values) in [("1", [9.0, 9.0, 9.0]), ("1000", [1.4, 1.5, 9.0])] {
            series.step(step);
            values.into_iter().for_each(|value| series.add("attach", "ms", value));
        }
        series.add("idle", "%", 0.25);
        series.limit("attach", 2.0, 1.0);
        series.limit("idle", 1.0, 1.0);
        series.limit("never measured", 1.0, 1.0);
        let outcome = series.into_outcome(Scale::Attachments, Some("a reason".to_owned()));
        assert_eq!(outcome.figures[0].reached, Some(Judgement::Must));
        assert_eq!(
            outcome.render(),
            "attachments  FIGURE        1  1000  GOALS\n             \
             attach ms  9.00  1.50  ≤2 reached, not ≤1\n             \
             idle %        -  0.25  ≤1 reached\nattachments failed: a reason\n"
        );
    }

    #[test]
    fn what_is_over_the_limit_is_missed() {
        let limit = Limit { must: 2.0, stretch: 1.0 };
        assert_eq!(limit.judge(2.1), Judgement::Missed);
        assert_eq!(limit.judge(2.0), Judgement::Must);
        assert_eq!(limit.judge(1.0), Judgement::Stretch);
    }
}
