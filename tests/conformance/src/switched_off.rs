//! The patches that switch a behaviour off each: `tests/conformance/switched-off/NAME.patch`.
//!
//! ```text
//! Items: RFC 4787 R2, NAT-09
//! What is wrong with it, in a sentence.
//!
//! --- a/crates/…
//! +++ b/crates/…
//! @@ …
//! ```
//!
//! `scripts/switch-off` applies one after the other and demands that tests of its items fail. Here it is
//! looked at whether they still fit: that items are known, that each item that is met has one (or a
//! reason in the `README.md` beside them), and that what they take out is still there. So whoever
//! changes the code hears of it without building anything.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::page::showing;

/// How the README names an item that has no patch.
const EXCUSED: &str = "- **";

/// A patch, as far as it is looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Patch {
    items: Vec<String>,
    says: String,
    hunks: Vec<Hunk>,
}

/// A place that it changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    file: String,
    /// What must be there: the lines that stay and those that go.
    before: String,
    changes: bool,
}

/// What is wrong with the patches of the workspace at `root`, a line each.
///
/// # Errors
///
/// As [`page()`](crate::page()).
///
/// # Panics
///
/// When the sources cannot be read.
pub fn problems(root: &Path) -> Result<Vec<String>, Vec<String>> {
    let (sections, tests) = crate::read(root)?;
    let met: BTreeSet<&str> = sections
        .iter()
        .flat_map(|section| &section.items)
        .map(|item| item.id.as_str())
        .filter(|id| showing(&tests, id).next().is_some())
        .collect();
    let folder = root.join("tests/conformance/switched-off");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let mut without: BTreeSet<&str> = met.clone();
    let mut problems = Vec::new();
    for item in excused(&readme) {
        if !without.remove(item) {
            problems.push(format!("README.md: {item} is no item that is met"));
        }
    }
    let expected = without.clone();
    for path in patches(&folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let patch = read(&fs::read_to_string(&path).expect("a readable patch"));
        let source = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
        problems.extend(misfits(&patch, source).map(|problem| format!("{name}: {problem}")));
        for item in &patch.items {
            if !met.contains(item.as_str()) {
                problems.push(format!("{name}: {item} is no item that is met"));
            } else if !expected.contains(item.as_str()) {
                problems.push(format!("{name}: README.md says that {item} has no patch"));
            }
            without.remove(item.as_str());
        }
    }
    problems.extend(without.iter().map(|item| format!("{item} has no patch")));
    Ok(problems)
}

fn patches(folder: &Path) -> Vec<PathBuf> {
    let mut patches: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    patches
}

/// The items that the README gives a reason for.
fn excused(readme: &str) -> impl Iterator<Item = &str> {
    readme.lines().filter_map(|line| line.strip_prefix(EXCUSED)?.split("**").next())
}

fn read(text: &str) -> Patch {
    let mut patch = Patch::default();
    let mut file = "";
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = path;
        } else if line.starts_with("+++ ") {
        } else if line.starts_with("@@ ") {
            patch.hunks.push(Hunk { file: file.to_owned(), ..Hunk::default() });
        } else if let Some(hunk) = patch.hunks.last_mut() {
            hunk.changes |= line.starts_with(['-', '+']);
            if let Some(kept) = line.strip_prefix([' ', '-']) {
                hunk.before.push_str(kept);
                hunk.before.push('\n');
            }
        } else if let Some(items) = line.strip_prefix("Items: ") {
            patch.items.extend(items.split(',').map(|item| item.trim().to_owned()));
        } else {
            patch.says.push_str(line);
        }
    }
    patch
}

/// What is wrong with a patch, but for its items. `source` reads a file.
fn misfits(patch: &Patch, source: impl Fn(&str) -> String) -> impl Iterator<Item = String> {
    let Patch { items, says, hunks } = patch;
    let mut problems = Vec::new();
    if items.is_empty() {
        problems.push("there is no line `Items: `".to_owned());
    }
    if !says.ends_with('.') {
        problems.push("no sentence says what it does".to_owned());
    }
    if !hunks.iter().any(|hunk| hunk.changes) {
        problems.push("it changes nothing".to_owned());
    }
    for Hunk { file, before, .. } in hunks {
        if !source(file).contains(before.as_str()) {
            problems.push(format!("{file} has not any more:\n{before}"));
        }
    }
    problems.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
Items: RFC 4787 R2, NAT-09
Takes any address.

--- a/crates/a/src/b.rs
+++ b/crates/a/src/b.rs
@@ -3,3 +3,3 @@
 fn pair() {
-    one()
+    any()
 }
";

    #[test]
    fn a_patch_is_read_with_what_must_be_there() {
        let patch = read(PATCH);
        assert_eq!(patch.items, ["RFC 4787 R2", "NAT-09"]);
        assert_eq!(patch.says, "Takes any address.");
        let [hunk] = &patch.hunks[..] else { panic!("{:?}", patch.hunks) };
        assert_eq!((hunk.file.as_str(), hunk.changes), ("crates/a/src/b.rs", true));
        assert_eq!(hunk.before, "fn pair() {\n    one()\n}\n");
    }

    #[test]
    fn a_patch_that_does_not_fit_is_told() {
        let fitting = |_: &str| "use c;\n\nfn pair() {\n    one()\n}\n".to_owned();
        assert_eq!(misfits(&read(PATCH), fitting).count(), 0);
        let changed = |_: &str| "fn pair() {\n    two()\n}\n".to_owned();
        let problems: Vec<_> = misfits(&read(PATCH), changed).collect();
        assert_eq!(problems, ["crates/a/src/b.rs has not any more:\nfn pair() {\n    one()\n}\n"]);
        assert_eq!(misfits(&read("Its name.\n"), fitting).count(), 2);
    }

    #[test]
    fn the_readme_excuses_items() {
        let readme = "# Title\n\n- **SG-03** Of itself.\n- other\n- **RFC 6888 R3** Of that.\n";
        assert_eq!(excused(readme).collect::<Vec<_>>(), ["SG-03", "RFC 6888 R3"]);
    }
}
