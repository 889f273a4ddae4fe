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
#![forbid(unsafe_code)]

mod items;
mod page;
mod scan;
mod source;

use std::{fs, path::Path};

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
    let text = fs::read_to_string(root.join("tests/conformance/items.txt")).expect("the items");
    let sections = items::read(&text).map_err(|problem| vec![problem])?;
    let (tests, mut problems) = scan::workspace(root);
    problems.extend(page::problems(&sections, &tests));
    if problems.is_empty() { Ok(page::write(&sections, &tests)) } else { Err(problems) }
}
