//! Finds the workspace's tests and the marks above them.
//!
//! Line by line, over sources that rustfmt has written: an attribute, the head of a function and
//! the head of a module are lines of their own. What a macro makes of its input is not known here,
//! but the tests of a `proptest!` block are written in it like any others, and so are found.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::source::bare;

/// What a mark begins with.
const MARK: &str = "// Conforms: ";

/// A test, and the items that it shows to be met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// From the workspace's root.
    pub(crate) file: String,
    /// As `cargo test` shows it.
    pub(crate) name: String,
    pub(crate) items: Vec<String>,
}

/// The tests of the workspace at `root` in whose files there are marks, and what is wrong with these.
pub(crate) fn workspace(root: &Path) -> (Vec<Test>, Vec<String>) {
    let mut files = Vec::new();
    sources(root, root, &mut files);
    files.sort();
    let (mut tests, mut problems) = (Vec::new(), Vec::new());
    for (package, file) in files {
        let text = fs::read_to_string(&file).expect("a readable source");
        if !text.contains(MARK) {
            continue;
        }
        let shown = file.strip_prefix(root).expect("a file below the root").display().to_string();
        let module = module(&package, &file);
        scan(&shown, &module, &text, &mut tests, &mut problems);
    }
    tests.sort();
    (tests, problems)
}

/// The sources below `folder`, each with the folder of its package.
fn sources(package: &Path, folder: &Path, out: &mut Vec<(PathBuf, PathBuf)>) {
    let package = if folder.join("Cargo.toml").exists() { folder } else { package };
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(package, &path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push((package.to_owned(), path));
        }
    }
}

/// The module that a file is, as the names of its tests begin.
fn module(package: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(package).expect("a file of its package");
    let mut names: Vec<String> =
        inside.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    // `src`, `tests`: where roots of crates are.
    let kind = names.remove(0);
    let in_folder_of_its_own = kind == "tests"
        && names.len() > 1
        && package.join("tests").join(&names[0]).join("main.rs").exists();
    if in_folder_of_its_own || kind == "tests" && names.len() == 1 {
        names.remove(0);
    }
    if matches!(names.last().map(String::as_str), Some("mod"))
        || names.len() == 1 && matches!(names[0].as_str(), "lib" | "main")
    {
        names.pop();
    }
    names
}

/// Finds the tests of one file.
fn scan(
    file: &str,
    module: &[String],
    text: &str,
    tests: &mut Vec<Test>,
    problems: &mut Vec<String>,
) {
    let bare = bare(text);
    // Modules that are open, and the depth of braces outside each.
    let mut modules: Vec<(String, i32)> = Vec::new();
    let mut depth = 0;
    let (mut items, mut is_test) = (Vec::new(), false);
    for ((line, code), number) in text.lines().zip(bare.lines()).zip(1..) {
        let (line, code) = (line.trim(), code.trim());
        if code.starts_with("//") {
            if let Some(marks) = line.strip_prefix(MARK) {
                items.extend(marks.split(',').map(|item| item.trim().to_owned()));
            }
        } else if code.starts_with("#[") {
            is_test |= code == "#[test]" || code.starts_with("#[tokio::test");
        } else {
            let function = function(code);
            if let (Some(name), true) = (function, is_test) {
                let modules = modules.iter().map(|(name, _)| name.as_str());
                let path = module.iter().map(String::as_str).chain(modules).chain([name]);
                tests.push(Test {
                    file: file.to_owned(),
                    name: path.collect::<Vec<_>>().join("::"),
                    items: std::mem::take(&mut items),
                });
            } else if !items.is_empty() {
                problems.push(format!("{file}:{number}: a mark stands above no test"));
                items.clear();
            }
            is_test = false;
            if let Some(name) = code.strip_suffix(" {").and_then(|head| head.split_once("mod "))
                && matches!(name.0, "" | "pub " | "pub(crate) " | "pub(super) ")
            {
                modules.push((name.1.to_owned(), depth));
            }
        }
        depth += count(code, '{') - count(code, '}');
        while modules.last().is_some_and(|(_, outside)| depth <= *outside) {
            modules.pop();
        }
    }
    if !items.is_empty() {
        problems.push(format!("{file}: a mark stands above no test"));
    }
}

/// The name of the function whose head this is.
fn function(code: &str) -> Option<&str> {
    let code = code.strip_prefix("async ").unwrap_or(code);
    let end = |char: char| !char.is_alphanumeric() && char != '_';
    code.strip_prefix("fn ").and_then(|name| name.split(end).next())
}

fn count(code: &str, brace: char) -> i32 {
    code.chars().filter(|&char| char == brace).count() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(module: &[&str], text: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let module: Vec<_> = module.iter().map(|&name| name.to_owned()).collect();
        let (mut tests, mut problems) = (Vec::new(), Vec::new());
        scan("a.rs", &module, text, &mut tests, &mut problems);
        (tests.into_iter().map(|test| (test.name, test.items)).collect(), problems)
    }

    fn test(name: &str, items: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), items.iter().map(|&item| item.to_owned()).collect())
    }

    #[test]
    fn tests_are_found_with_their_marks_and_modules() {
        let text = r##"
const TEXT: &str = "
// Conforms: SG-01
} mod no {
";

// Conforms: RFC 4787 R2, NAT-09
/// What it shows.
#[test]
#[should_panic(expected = "}")]
fn plain() {}

fn helper() {}

#[cfg(test)]
mod tests {
    use super::*;

    mod inner {
        // Conforms: SG-22
        #[tokio::test]
        async fn deep() {
            let open = '{';
        }
    }

    proptest! {
        /// Many.
        // Conforms: RFC 6888 R11
        // Conforms: SG-25
        #[test]
        fn of_many(
            number in 0..9,
        ) {
            prop_assert!(number < 9);
        }

        #[test]
        fn unmarked(number in 0..9) {}
    }
}

#[test]
fn last() {}
"##;
        let (tests, problems) = scanned(&["engine"], text);
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            tests,
            [
                test("engine::plain", &["RFC 4787 R2", "NAT-09"]),
                test("engine::tests::inner::deep", &["SG-22"]),
                test("engine::tests::of_many", &["RFC 6888 R11", "SG-25"]),
                test("engine::tests::unmarked", &[]),
                test("engine::last", &[]),
            ]
        );
    }

    #[test]
    fn a_mark_that_is_above_no_test_is_told() {
        for text in [
            "// Conforms: SG-01\nfn helper() {}\n",
            "// Conforms: SG-01\n\n#[test]\nfn apart() {}\n",
            "// Conforms: SG-01\n#[ignore]\nfn no_test() {}\n",
            "fn f() {}\n// Conforms: SG-01\n",
        ] {
            let (_, problems) = scanned(&[], text);
            assert_eq!(problems.len(), 1, "{text}");
        }
    }

    #[test]
    fn files_are_modules_as_cargo_has_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (package, file, expected) in [
            ("crates/dataplane", "src/lib.rs", ""),
            ("crates/dataplane", "src/port_table/tests.rs", "port_table::tests"),
            ("crates/lab", "src/trial/mod.rs", "trial"),
            ("crates/dataplane", "tests/engine.rs", ""),
            ("crates/dataplane", "tests/walk/main.rs", ""),
            ("crates/dataplane", "tests/walk/routes.rs", "routes"),
            ("crates/dataplane", "tests/support/traffic.rs", "support::traffic"),
            ("tests/model", "tests/agree/trial.rs", "trial"),
            ("", "tests/connections.rs", ""),
        ] {
            let package = root.join(package);
            let file = package.join(file);
            assert!(file.exists(), "{}", file.display());
            assert_eq!(module(&package, &file).join("::"), expected, "{}", file.display());
        }
    }
}
