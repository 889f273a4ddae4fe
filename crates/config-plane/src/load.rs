//! From a text or a file to a topology.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use viaduct_topology::{Report, Span, Topology, iam::Policy, resolve};

use crate::{decode, problems::Problems, source::Source, tree};

/// The longest text that is read, in bytes. The largest topology that AWS's quotas allow is shorter.
pub const LONGEST_SOURCE: usize = 16 << 20;

/// A topology that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The topology.
    pub topology: Topology,
    /// What its author should look at again; holds the source too.
    pub warnings: Problems,
}

/// A topology that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The file is read, and something is wrong with it.
    #[error("{0}")]
    Refused(Problems),
}

/// Loads one policy from a text, which is IAM's JSON; `name` is what messages call it.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of lines. What its author should look at again is
/// not told.
pub fn load_policy(name: &str, text: &str) -> Result<Policy, Problems> {
    let mut report = Report::default();
    let source = Source::new(name, text);
    let policy = tree::parse(text, &mut report)
        .and_then(|root| decode::policy::policy(&mut report, &root))
        .filter(|_| !report.has_errors());
    policy.ok_or_else(|| Problems::new(source, report.into_problems()))
}

/// Loads a topology from a text; `name` is what messages call it.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of lines.
pub fn load(name: &str, text: &str) -> Result<Loaded, Problems> {
    let mut report = Report::default();
    // Editors on some systems begin a file with a byte order mark; it is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LONGEST_SOURCE {
        report
            .error(Span::default(), format!("the file is longer than {} MiB", LONGEST_SOURCE >> 20))
            .help("split the topology");
        return Err(Problems::new(Source::new(name, ""), report.into_problems()));
    }
    let source = Source::new(name, text);
    let Some(root) = tree::parse(text, &mut report) else {
        return Err(Problems::new(source, report.into_problems()));
    };
    let spec = decode::topology(&root, &mut report);
    match resolve(&spec, report) {
        Ok(resolved) => Ok(Loaded {
            topology: resolved.topology,
            warnings: Problems::new(source, resolved.warnings),
        }),
        Err(problems) => Err(Problems::new(source, problems)),
    }
}

/// Loads a topology from a file.
///
/// # Errors
///
/// When the file cannot be read, or something is wrong with it.
pub fn load_file(path: impl AsRef<Path>) -> Result<Loaded, LoadError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long, even an endless one.
    File::open(path)
        .and_then(|file| file.take(LONGEST_SOURCE as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| LoadError::Read { path: name.clone(), error })?;
    match String::from_utf8(bytes) {
        Ok(text) => load(&name, &text).map_err(LoadError::Refused),
        Err(error) => Err(LoadError::Refused(not_utf8(name, &error))),
    }
}

fn not_utf8(name: String, error: &std::string::FromUtf8Error) -> Problems {
    let at = error.utf8_error().valid_up_to();
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let mut report = Report::default();
    report
        .error(Span { start: at, end: at }, "the file is not UTF-8 text")
        .help("save it as UTF-8");
    let text = String::from_utf8_lossy(error.as_bytes());
    Problems::new(Source::new(name, text), report.into_problems())
}
