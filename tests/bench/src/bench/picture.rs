//! A row as a picture: a bar for each bed, its median, and a line from the lowest to the highest
//! repetition.
//!
//! SVG written by hand: no program is needed to make it, and a diff of it can be read. Colours are
//! the reader's, light or dark, by a media query; viaduct's bars are told apart by more than colour,
//! as they come first and are labelled.

use std::fmt::Write;

use crate::{
    beds::Kind,
    outcome::{FigureOutcome, Outcome},
    table::number,
};

/// Where bars begin, how long the longest is, and how far apart they are, in pixels.
const LEFT: f64 = 110.0;
const LONGEST: f64 = 430.0;
const STEP: f64 = 30.0;
const THICKNESS: f64 = 18.0;
const TOP: f64 = 64.0;
const WIDTH: f64 = 720.0;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .note { fill: #59636e; }
  .ours { fill: #0b6e4f; } .theirs { fill: #8c959f; }
  .spread { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .note { fill: #9198a1; }
    .ours { fill: #3fb68b; } .theirs { fill: #6e7681; }
    .spread { stroke: #e6edf3; }
  }";

/// The picture of what a row is about; none if nothing was measured.
pub(crate) fn draw(outcome: &Outcome) -> Option<String> {
    let figure = outcome.figures.first().filter(|figure| !figure.beds.is_empty())?;
    let largest =
        figure.beds.values().map(|summary| summary.high).fold(f64::MIN_POSITIVE, f64::max);
    let scale = LONGEST / largest;
    let height = TOP + STEP * figure.beds.len() as f64 + 14.0;
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}\n</style>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{}</text>\n\
         <text class=\"note\" x=\"12\" y=\"44\">{}</text>",
        escaped(&outcome.title),
        escaped(&outcome.title),
        escaped(&subtitle(outcome, figure)),
    );
    for (place, (kind, summary)) in figure.beds.iter().enumerate() {
        let y = TOP + STEP * place as f64;
        let (middle, baseline) = (y + THICKNESS / 2.0, y + THICKNESS - 4.0);
        let class = if matches!(kind, Kind::Viaduct | Kind::Plain) { "ours" } else { "theirs" };
        let end = LEFT + scale * summary.high;
        let ratio = figure.ratios.get(kind).map(|ratio| format!(" (viaduct {ratio:.2} ×)"));
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{baseline:.1}\" text-anchor=\"end\">{kind}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" \
             height=\"{THICKNESS}\" rx=\"2\"/>\n\
             <line class=\"spread\" x1=\"{:.1}\" x2=\"{end:.1}\" y1=\"{middle:.1}\" \
             y2=\"{middle:.1}\"/>\n\
             <text x=\"{:.1}\" y=\"{baseline:.1}\">{}{}</text>",
            LEFT - 8.0,
            scale * summary.median,
            LEFT + scale * summary.low,
            end + 8.0,
            number(summary.median),
            ratio.unwrap_or_default(),
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn subtitle(outcome: &Outcome, figure: &FigureOutcome) -> String {
    let repetitions = figure.beds.values().map(|summary| summary.values.len()).max().unwrap_or(0);
    let better = if figure.figure.more_is_better() { "more" } else { "less" };
    let unsteady = if outcome.unsteady { "; unsteady" } else { "" };
    format!(
        "{}, {}; {better} is better; median and range of {repetitions}{unsteady}",
        figure.figure.name(),
        figure.unit,
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::outcome;

    #[test]
    fn a_bar_is_as_long_as_its_median_and_its_line_as_its_range() {
        let svg = draw(&outcome([10.0, 10.0, 10.0])).unwrap();
        // viaduct: 8 to 10, median 9; the scale's end is at 10.
        assert!(svg.contains("width=\"387.0\""), "{svg}");
        assert!(svg.contains("x1=\"454.0\" x2=\"540.0\""), "{svg}");
        assert!(svg.contains(">nftables</text>") && svg.contains("10.0 (viaduct 0.90 ×)"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn text_cannot_become_markup() {
        let mut outcome = outcome([10.0, 10.0, 10.0]);
        outcome.title = "a < b & c".to_owned();
        let svg = draw(&outcome).unwrap();
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("a < b"));
    }

    #[test]
    fn there_is_no_picture_of_nothing() {
        let mut outcome = outcome([10.0, 10.0, 10.0]);
        outcome.figures.clear();
        assert_eq!(draw(&outcome), None);
    }
}
