//! What the benchmark can be told.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::{beds::Kind, measure::Method};

/// Measure viaduct beside the kernel's NAT and its peers
///
/// Makes every bed, runs every row through each, and prints one table. Speed is reported, not
/// asserted: exits with 1 only if a row could not be measured, and with 2 if nothing could. Needs
/// root.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Arguments {
    /// Few and short repetitions: to see that it works, not how fast
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often each bed is measured [default: 5; 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: Option<u32>,

    /// How long each time, in seconds [default: 5; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,

    /// Only these rows: names parted by commas, with `*` for anything; see --list
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub(crate) rows: String,

    /// Only these beds, parted by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    pub(crate) beds: Vec<Kind>,

    /// Write everything that was measured, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a picture of each row (SVG)
    #[arg(long, value_name = "DIR")]
    pub(crate) pictures: Option<PathBuf>,

    /// Name the rows, and measure nothing
    #[arg(long)]
    pub(crate) list: bool,
}

impl Arguments {
    pub(crate) fn method(&self) -> Method {
        let seconds = self.seconds.unwrap_or(if self.quick { 1 } else { 5 });
        Method {
            repetitions: self.repetitions.unwrap_or(if self.quick { 2 } else { 5 }),
            length: Duration::from_secs(seconds.into()),
            reruns: if self.quick { 0 } else { 2 },
        }
    }

    /// The beds asked for, in the order of the table.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| self.beds.is_empty() || self.beds.contains(kind);
        Kind::ALL.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Arguments {
        Arguments::try_parse_from(std::iter::once(&"bench").chain(words)).unwrap()
    }

    #[test]
    fn what_is_said_is_stronger_than_quick() {
        let method = parse(&["--quick", "--seconds", "3"]).method();
        assert_eq!((method.repetitions, method.length.as_secs(), method.reruns), (2, 3, 0));
        let method = parse(&["--repetitions", "7"]).method();
        assert_eq!((method.repetitions, method.length.as_secs(), method.reruns), (7, 5, 2));
    }

    #[test]
    fn beds_come_in_the_order_of_the_table() {
        assert_eq!(parse(&[]).kinds(), Kind::ALL);
        let kinds = parse(&["--beds", "nftables,viaduct,fixed-nat"]).kinds();
        assert_eq!(kinds, [Kind::Viaduct, Kind::FixedNat, Kind::Nftables]);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [["--repetitions", "0"], ["--beds", "tin-can"], ["--seconds", "-1"]] {
            assert!(Arguments::try_parse_from(std::iter::once("bench").chain(words)).is_err());
        }
    }
}
