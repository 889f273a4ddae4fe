//! `docs/reasons.md` lists every reason, as the code has it.
//!
//! `BLESS=1 cargo test -p viaduct-topology --test reasons` writes the table anew.

use std::{env, fmt::Write as _, fs, path::Path};

use viaduct_topology::Reason;

const PAGE: &str = include_str!("../../../docs/reasons.md");
const START: &str = "<!-- the table is written by crates/topology/tests/reasons.rs -->\n";

#[test]
fn the_documentation_lists_every_reason() {
    let (before, _) = PAGE.split_once(START).expect("the page has the line before its table");
    let mut expected = format!("{before}{START}\n| code | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(expected, "| `{reason}` | {} |", reason.text()).unwrap();
    }
    if env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
        fs::write(path, &expected).unwrap();
    } else {
        assert_eq!(PAGE, expected, "run this test with BLESS=1 and read the difference");
    }
}
