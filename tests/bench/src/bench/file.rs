//! Everything that was measured, as JSON, and the pictures.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{
    Absent, error::Error, measure::Method, outcome::Outcome, picture, scale::ScaleOutcome,
};

/// What the file says.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    machine: Machine,
    repetitions: u32,
    seconds: f64,
    /// Why beds are missing.
    absent: &'a [Absent],
    rows: &'a [Outcome],
    /// The rows of viaduct alone.
    sizes: &'a [ScaleOutcome],
}

/// Where it was measured, as far as it matters.
#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    processors: usize,
    processor: String,
}

impl<'a> Document<'a> {
    pub(crate) fn new(
        method: Method,
        absent: &'a [Absent],
        rows: &'a [Outcome],
        sizes: &'a [ScaleOutcome],
    ) -> Self {
        let Method { repetitions, length, .. } = method;
        let (machine, seconds) = (Machine::this(), length.as_secs_f64());
        Self { machine, repetitions, seconds, absent, rows, sizes }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)
            .map_err(Error::system(format!("write {}", path.display())))?;
        fs::write(path, text + "\n").map_err(Error::system(format!("write {}", path.display())))
    }
}

impl Machine {
    fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_owned());
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            processor: model.unwrap_or_default(),
        }
    }
}

/// Writes the picture of each row that has one.
pub(crate) fn pictures(directory: &Path, outcomes: &[Outcome]) -> Result<(), Error> {
    fs::create_dir_all(directory)
        .map_err(Error::system(format!("create {}", directory.display())))?;
    for outcome in outcomes {
        if let Some(svg) = picture::draw(outcome) {
            let path = directory.join(format!("{}.svg", outcome.row));
            fs::write(&path, svg).map_err(Error::system(format!("write {}", path.display())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{beds::Kind, outcome::tests::outcome};
    use std::time::Duration;

    #[test]
    fn the_file_has_every_value_and_every_goal() {
        let method = Method { repetitions: 3, length: Duration::from_secs(5), reruns: 0 };
        let outcomes = [outcome([10.0, 10.0, 10.5])];
        let absent = [Absent { bed: Kind::Plain, why: "not built in".to_owned(), failed: false }];
        let document = Document::new(method, &absent, &outcomes, &[]);
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(json["absent"][0]["bed"], "plain");
        let row = &json["rows"][0];
        assert_eq!(row["row"], "tcp-1-up-9001");
        let rate = &row["figures"][0];
        assert_eq!(rate["beds"]["viaduct"]["values"], serde_json::json!([8.0, 9.0, 10.0]));
        assert_eq!(rate["ratios"]["nftables"], 0.9);
        assert_eq!(rate["goals"][0]["reached"], "must");
        assert_eq!(row["failures"]["veth"], "it did <not> work");
    }
}
