//! `docs/conformance.md`, generated from the tests.
//!
//! `items.txt` lists what the standards and AWS ask, one item each, and which of them this program
//! does not do by design, with the reason. A test that fails when an item's behaviour is off says
//! so in a comment above its attributes:
//!
//! ```text
//! // Conforms: RFC 4787 R2, NAT-09
//! #[test]
//! fn …
//! ```
//!
//! [`page()`] reads both and writes the page: an item is met by the tests that name it, deviates, or is
//! not met yet. What cannot be right is an error: a mark that names nothing known or stands above no
//! test, a deviation that was not agreed on, and an item that both deviates and is met.
//!
//! That tests fail without the behaviour is proven by `scripts/switch-off`, with a patch for each item
//! ([`switched_off`]) and the tests that [`list()`] tells.
#![forbid(unsafe_code)]

mod items;
mod page;
mod scan;
mod source;
pub mod switched_off;
mod targets;

use std::{fs, path::Path};

use crate::{items::Section, scan::Test};

/// The page for the workspace at `root`.
///
/// # Errors
///
/// Everything that is wrong with items and marks, a line each.
///
/// # Panics
///
/// When the sources cannot be read.
pub fn page(root: &Path) -> Result<String, Vec<String>> {
    let (sections, tests) = read(root)?;
    Ok(page::write(&sections, &tests))
}

/// Which tests show which item: a line for each pair, of item, package, the option by which `cargo test`
/// takes the test's binary, and the test's name, with tabs between. Items are in the page's order.
///
/// # Errors
///
/// As [`page()`].
///
/// # Panics
///
/// When the sources cannot be read, or a marked test is in no binary.
pub fn list(root: &Path) -> Result<String, Vec<String>> {
    let (sections, tests) = read(root)?;
    let manifests = targets::Manifests::read(root);
    let mut list = String::new();
    for item in sections.iter().flat_map(|section| &section.items) {
        for Test { file, name, .. } in page::showing(&tests, &item.id) {
            let target = manifests.target(&root.join(file)).expect("a file of a test binary");
            let targets::Target { package, option } = target;
            list.push_str(&format!("{}\t{package}\t{option}\t{name}\n", item.id));
        }
    }
    Ok(list)
}

/// Items and marks.
fn read(root: &Path) -> Result<(Vec<Section>, Vec<Test>), Vec<String>> {
    let text = fs::read_to_string(root.join("tests/conformance/items.txt")).expect("the items");
    let sections = items::read(&text).map_err(|problem| vec![problem])?;
    let (tests, mut problems) = scan::workspace(root);
    problems.extend(page::problems(&sections, &tests));
    if problems.is_empty() { Ok((sections, tests)) } else { Err(problems) }
}
