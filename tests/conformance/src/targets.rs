//! Which of Cargo's test binaries a source file is in.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A binary of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) package: String,
    /// As an option of `cargo test`: `--lib`, or `--test=engine`.
    pub(crate) option: String,
}

/// A manifest, as far as it says where tests are.
struct Manifest {
    folder: PathBuf,
    package: String,
    /// Tests that are not where Cargo looks for them: name and path.
    tests: Vec<(String, PathBuf)>,
}

/// The manifests of the workspace at `root`.
pub(crate) struct Manifests(Vec<Manifest>);

impl Manifests {
    pub(crate) fn read(root: &Path) -> Self {
        let mut manifests = Vec::new();
        find(root, &mut manifests);
        Self(manifests)
    }

    /// The binary that has the tests of `file`.
    pub(crate) fn target(&self, file: &Path) -> Option<Target> {
        let elsewhere = self.0.iter().find_map(|manifest| {
            let (name, _) = manifest.tests.iter().find(|(_, path)| path == file)?;
            Some(Target { package: manifest.package.clone(), option: format!("--test={name}") })
        });
        elsewhere.or_else(|| {
            let around = |manifest: &&Manifest| file.starts_with(&manifest.folder);
            let depth = |manifest: &&Manifest| manifest.folder.components().count();
            let manifest = self.0.iter().filter(around).max_by_key(depth)?;
            let inside = file.strip_prefix(&manifest.folder).ok()?;
            let mut names = inside.iter().filter_map(|name| name.to_str());
            let option = match names.next()? {
                "src" => "--lib".to_owned(),
                "tests" => format!("--test={}", names.next()?.trim_end_matches(".rs")),
                _ => return None,
            };
            Some(Target { package: manifest.package.clone(), option })
        })
    }
}

fn find(folder: &Path, out: &mut Vec<Manifest>) {
    let manifest = folder.join("Cargo.toml");
    if let Ok(text) = fs::read_to_string(&manifest) {
        out.extend(read(folder, &text));
    }
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            find(&path, out);
        }
    }
}

/// Reads a manifest; none if it is of no package. Keys are looked for in the sections `[package]` and
/// `[[test]]`, a line each.
fn read(folder: &Path, text: &str) -> Option<Manifest> {
    let (mut section, mut package, mut tests) = ("", None, Vec::new());
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
            if section == "[[test]]" {
                tests.push((String::new(), PathBuf::new()));
            }
            continue;
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let value = value.trim_matches('"');
        match (section, key, tests.last_mut()) {
            ("[package]", "name", _) => package = Some(value.to_owned()),
            ("[[test]]", "name", Some(test)) => test.0 = value.to_owned(),
            ("[[test]]", "path", Some(test)) => test.1 = join(folder, value),
            _ => {}
        }
    }
    Some(Manifest { folder: folder.to_owned(), package: package?, tests })
}

/// `folder` and a path from there, which may lead upwards.
fn join(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_owned();
    for name in Path::new(path) {
        if name == ".." {
            joined.pop();
        } else {
            joined.push(name);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_binaries_as_cargo_has_them() {
        let root = join(Path::new(env!("CARGO_MANIFEST_DIR")), "../..");
        let manifests = Manifests::read(&root);
        for (file, package, option) in [
            ("crates/dataplane/src/port_table/tests.rs", "viaduct-dataplane", "--lib"),
            ("crates/dataplane/tests/engine.rs", "viaduct-dataplane", "--test=engine"),
            ("crates/dataplane/tests/walk/routes.rs", "viaduct-dataplane", "--test=walk"),
            ("tests/model/tests/agree/trial.rs", "viaduct-model", "--test=agree"),
            ("tests/connections.rs", "viaduct-cli", "--test=connections"),
        ] {
            let file = root.join(file);
            assert!(file.exists(), "{}", file.display());
            let expected = Target { package: package.to_owned(), option: option.to_owned() };
            assert_eq!(manifests.target(&file), Some(expected), "{}", file.display());
        }
        assert_eq!(manifests.target(&root.join("tests/common/mod.rs")), None);
    }
}
