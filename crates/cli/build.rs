//! Finds out which commit is built: VIADUCT_COMMIT says it, or the repository that this is in. From a
//! tarball neither can be had, and the program shows its version alone.
//!
//! It runs again when one of them changes, and at no other time: a commit costs this crate being compiled
//! once more, anything else nothing. So it cannot know whether there are changes on top of the commit;
//! scripts/package-deb does, and says so.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Whoever builds a package says the commit with it.
const SAID: &str = "VIADUCT_COMMIT";

/// Digits of the commit that are shown.
const DIGITS: &str = "--short=12";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={SAID}");
    let said = env::var(SAID).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = said.or_else(|| head(&root())) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
        assert!(commit.chars().all(plain), "{SAID} is `{commit}`, which names no commit");
        println!("cargo::rustc-env=VIADUCT_BUILT_FROM={commit}");
    }
}

/// The workspace.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    Path::new(&package).join("../..")
}

/// The commit that is checked out, and what changes when another one is.
fn head(root: &Path) -> Option<String> {
    // A tarball may have been unpacked in a repository of something else.
    if !root.join(".git").exists() {
        return None;
    }
    let commit = git(root, &["rev-parse", DIGITS, "HEAD"])?;
    // Every move of HEAD is written to its log. Where none is kept, HEAD and what it points to tell.
    let mut files = vec!["logs/HEAD".to_owned()];
    if !git_path(root, &files[0])?.exists() {
        files = vec!["HEAD".to_owned()];
        files.extend(git(root, &["symbolic-ref", "--quiet", "HEAD"]));
    }
    for file in files {
        // One that is not there would have cargo run this each time.
        let path = git_path(root, &file)?;
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Some(commit)
}

fn git_path(root: &Path, file: &str) -> Option<PathBuf> {
    Some(root.join(git(root, &["rev-parse", "--git-path", file])?))
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
