//! Topology files as the commands load them.

use std::path::Path;

use viaduct_config_plane::{LoadError, Loaded, load_file};

use crate::{exit::Failure, output};

/// Loads a topology for a command that needs one, not one that judges it: what is wrong with the
/// file is a message, and the command cannot go on.
pub(crate) fn load(file: &Path) -> Result<Loaded, Failure> {
    match load_file(file) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                output::say(loaded.warnings.render(true).trim_end());
            }
            Ok(loaded)
        }
        Err(LoadError::Refused(problems)) => {
            output::say(problems.render(true).trim_end());
            Err(Failure::Error {
                message: format!("{} cannot be used: {}", file.display(), problems.summary()),
                help: None,
            })
        }
        Err(error) => Err(error.into()),
    }
}
