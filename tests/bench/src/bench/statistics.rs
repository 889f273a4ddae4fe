//! The few numbers that repetitions are told in.

use serde::Serialize;

/// Several measurements of one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// All of them, in the order in which they were made.
    pub(crate) values: Vec<f64>,
}

impl Summary {
    /// None of nothing.
    pub(crate) fn of(values: Vec<f64>) -> Option<Self> {
        let median = median(&values)?;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { median, low, high, values })
    }

    /// How far apart the lowest and the highest are, in parts of the median.
    pub(crate) fn spread(&self) -> f64 {
        if self.high == self.low { 0.0 } else { (self.high - self.low) / self.median }
    }
}

/// The one in the middle, or between the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median of the ratios within each repetition: what changed on the machine between two
/// repetitions does not come into it. Repetitions that one of the two has not are left out.
pub(crate) fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some((*ours)? / theirs.filter(|theirs| *theirs > 0.0)?))
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn the_spread_is_told_in_parts_of_the_median() {
        let summary = Summary::of(vec![9.0, 10.0, 12.0]).unwrap();
        assert_eq!((summary.low, summary.high), (9.0, 12.0));
        assert!((summary.spread() - 0.3).abs() < 1e-9);
        assert_eq!(Summary::of(vec![0.0, 0.0]).unwrap().spread(), 0.0);
        assert_eq!(Summary::of(Vec::new()), None);
    }

    #[test]
    fn ratios_are_taken_within_repetitions() {
        // The machine was twice as fast in the second repetition; ours was 0.5 in each.
        let ours = [Some(5.0), Some(10.0), None];
        let theirs = [Some(10.0), Some(20.0), Some(1.0)];
        assert_eq!(ratio(&ours, &theirs), Some(0.5));
        assert_eq!(ratio(&[Some(1.0)], &[Some(0.0)]), None);
        assert_eq!(ratio(&[None], &[Some(1.0)]), None);
    }
}
