//! Each item that is met has a patch that switches it off, and every patch fits the source.

use std::path::Path;

#[test]
fn every_item_that_is_met_can_be_switched_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let problems = viaduct_conformance::switched_off::problems(&root)
        .unwrap_or_else(|problems| panic!("items and marks:\n{}", problems.join("\n")));
    assert!(problems.is_empty(), "tests/conformance/switched-off:\n{}", problems.join("\n"));
}
