//! The table: a line for each figure of a row, a column for each bed.
//!
//! A cell is the median and, behind `±`, half of the distance between the lowest and the highest
//! repetition, in percent of the median.

use std::fmt::Write;

use crate::{
    beds::Kind,
    figure::Judgement,
    outcome::{BASELINE, FigureOutcome, GoalOutcome, Outcome},
    statistics::Summary,
};

/// Renders everything. `beds` are the columns.
pub(crate) fn render(outcomes: &[Outcome], beds: &[Kind]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let ratios: Vec<Kind> =
        [BASELINE, Kind::FixedNat].into_iter().filter(|kind| beds.contains(kind)).collect();
    let mut head = vec!["ROW".to_owned(), "FIGURE".to_owned()];
    head.extend(beds.iter().map(|kind| kind.name().to_uppercase()));
    head.extend(ratios.iter().map(|kind| format!("/{}", kind.name().to_uppercase())));
    head.push("GOALS".to_owned());
    rows.push(head);
    for outcome in outcomes {
        rows.extend(lines(outcome, beds, &ratios));
    }
    let mut text = columns(&rows);
    for outcome in outcomes {
        text.push_str(&notes(outcome));
    }
    text
}

/// The lines of one row.
fn lines(outcome: &Outcome, beds: &[Kind], ratios: &[Kind]) -> Vec<Vec<String>> {
    if outcome.figures.is_empty() {
        return vec![vec![outcome.row.clone(), "failed".to_owned()]];
    }
    let line = |(place, figure): (usize, &FigureOutcome)| {
        let name = if place == 0 { outcome.row.clone() } else { String::new() };
        let mut line = vec![name, format!("{} {}", figure.figure.name(), figure.unit)];
        line.extend(beds.iter().map(|kind| match figure.beds.get(kind) {
            Some(summary) => cell(summary),
            None if outcome.failures.contains_key(kind) && place == 0 => "failed".to_owned(),
            None => "-".to_owned(),
        }));
        line.extend(ratios.iter().map(|kind| {
            figure.ratios.get(kind).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        }));
        let mut goals: Vec<String> = figure.goals.iter().map(goal).collect();
        if place == 0 && outcome.unsteady {
            goals.insert(0, "unsteady".to_owned());
        }
        line.push(goals.join("; "));
        line
    };
    outcome.figures.iter().enumerate().map(line).collect()
}

fn cell(summary: &Summary) -> String {
    let median = number(summary.median);
    if summary.values.len() < 2 {
        return median;
    }
    format!("{median} ±{:.0}%", summary.spread() * 50.0)
}

/// Three significant digits, as far as they are behind the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn goal(outcome: &GoalOutcome) -> String {
    let GoalOutcome { goal, ratio, reached } = outcome;
    let bound = if goal.figure.more_is_better() { "≥" } else { "≤" };
    let verdict = match reached {
        Judgement::Stretch => format!("reached, and {bound}{}", goal.stretch),
        Judgement::Must => format!("reached, not {bound}{}", goal.stretch),
        Judgement::Missed => "missed".to_owned(),
    };
    // The two that have columns of their own need not be told again.
    let told = match goal.against {
        Kind::Nftables | Kind::FixedNat => String::new(),
        _ => format!(" ({ratio:.2})"),
    };
    format!("{bound}{} {}{told} {verdict}", goal.must, goal.against)
}

/// What the cells have no room for.
fn notes(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut note = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {line}", outcome.row);
    };
    for (kind, mtu) in &outcome.smaller_mtu {
        note(format!("{kind} has an MTU of {mtu} at most"));
    }
    for (kind, failure) in &outcome.failures {
        note(format!("{kind} failed: {failure}"));
    }
    for (kind, remark) in &outcome.remarks {
        note(format!("{kind}: {remark}"));
    }
    if outcome.unsteady {
        note(format!(
            "unsteady: {BASELINE} itself differed by more than 15 % between repetitions, {}",
            match outcome.runs {
                1 => "and it was run once".to_owned(),
                runs => format!("in each of {runs} runs"),
            }
        ));
    }
    text
}

/// Columns as wide as their widest cell: words to the left, numbers to the right.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let words = column < 2 || column == count - 1;
            line.push_str(if words { cell } else { &padding });
            line.push_str(if words { &padding } else { cell });
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::outcome;

    #[test]
    fn a_row_is_a_line_a_figure_with_medians_ratios_and_goals() {
        let beds = [Kind::Viaduct, Kind::Nftables, Kind::Veth];
        let table = render(&[outcome([10.0, 10.0, 10.5])], &beds);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "ROW            FIGURE       VIADUCT  NFTABLES    VETH  /NFTABLES  GOALS"
        );
        assert_eq!(
            lines[1],
            "tcp-1-up-9001  rate Gb/s  9.00 ±11%  10.0 ±2%  failed       0.90  \
             ≥0.8 nftables reached, not ≥0.95"
        );
        assert!(lines[2].trim_start().starts_with("cpu s/GB"), "{table}");
        assert_eq!(lines[3], "tcp-1-up-9001: veth failed: it did <not> work");
    }

    #[test]
    fn an_unsteady_row_says_so() {
        let table = render(&[outcome([10.0, 10.0, 13.0])], &[Kind::Viaduct, Kind::Nftables]);
        assert!(table.contains("unsteady; ≥0.8 nftables"), "{table}");
        assert!(table.contains("15 %"), "{table}");
    }

    #[test]
    fn numbers_have_three_digits_that_mean_something() {
        for (value, text) in
            [(0.0, "0.00"), (1.234, "1.23"), (9.999, "10.0"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(number(value), text);
        }
    }
}
