//! Prints which tests show which item, for `scripts/switch-off`: item, package, option of `cargo test`
//! and name, with tabs between.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match viaduct_conformance::list(&root) {
        Ok(list) => {
            print!("{list}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("items and marks:\n{}", problems.join("\n"));
            ExitCode::FAILURE
        }
    }
}
