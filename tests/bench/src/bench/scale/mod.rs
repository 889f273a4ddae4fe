//! What size and change cost viaduct, by itself: rows whose columns are steps, not beds.
//!
//! | row | steps |
//! |---|---|
//! | `start` | one: the daemon from its start until it is ready |
//! | `attachments` | hosts attached while one more is |
//! | `enis` | interfaces in the topology |
//! | `connections` | connections that stand, over sixteen ENIs |
//! | `rule-change` | without, and with a rule changed ten times a second |

mod attachments;
mod connections;
mod daemon;
mod enis;
mod rule_change;
mod series;
mod start;

pub(crate) use series::{ScaleOutcome, Series};

use std::time::Duration;

use viaduct_bench::{Window, Work};

use crate::{
    beds::Bed, error::Error, figure::figures, measure::Method, progress::Progress, tools::Tools,
};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Start,
    Attachments,
    Enis,
    Connections,
    RuleChange,
}

/// What a row is run with.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) method: Method,
    /// Fewer and smaller steps.
    pub(crate) quick: bool,
    pub(crate) progress: &'a Progress,
}

impl Scale {
    pub(crate) const ALL: [Self; 5] =
        [Self::Start, Self::Attachments, Self::Enis, Self::Connections, Self::RuleChange];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Attachments => "attachments",
            Self::Enis => "enis",
            Self::Connections => "connections",
            Self::RuleChange => "rule-change",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Start => "from start to ready",
            Self::Attachments => "attaching one more host",
            Self::Enis => "a topology's size",
            Self::Connections => "connections that stand",
            Self::RuleChange => "a rule changed every 100 ms under load",
        }
    }

    /// Runs the row. Only an interruption is an error.
    pub(crate) fn run(self, setting: Setting<'_>) -> Result<ScaleOutcome, Error> {
        let mut series = Series::default();
        let result = match self {
            Self::Start => start::run(setting, &mut series),
            Self::Attachments => attachments::run(setting, &mut series),
            Self::Enis => enis::run(setting, &mut series),
            Self::Connections => connections::run(setting, &mut series),
            Self::RuleChange => rule_change::run(setting, &mut series),
        };
        let failure = match result {
            Ok(()) => None,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => Some(error.to_string()),
        };
        Ok(series.into_outcome(self, failure))
    }
}

/// Has a bed do some work once. Its first figures are added under these names, but for those without
/// one.
fn sample(
    setting: Setting<'_>,
    series: &mut Series,
    bed: &mut Bed,
    work: Work,
    names: [&'static str; 2],
) -> Result<(), Error> {
    let length = setting.method.length;
    let [client, server] = bed.run(setting.tools, work, length)?;
    let measured = figures(work, &client, &server, Window::after(Duration::ZERO, length));
    for (name, (figure, value)) in names.into_iter().zip(measured) {
        if !name.is_empty() {
            series.add(name, figure.unit(), value);
        }
    }
    Ok(())
}
