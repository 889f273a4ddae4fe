//! The page in `docs` is the one that items and tests make.

use std::{env, fs, path::Path};

#[test]
fn docs_conformance_md_is_what_the_tests_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = viaduct_conformance::page(&root)
        .unwrap_or_else(|problems| panic!("items and marks:\n{}", problems.join("\n")));
    let path = root.join("docs/conformance.md");
    if env::var_os("VIADUCT_WRITE_CONFORMANCE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/conformance.md is stale: run scripts/conformance");
}
