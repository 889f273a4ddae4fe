//! Taking a lab down: whatever there is of it, whoever left it behind.
//!
//! Everything is found by the lab's name alone (see [`crate::name`]), never by a list that
//! somebody may have been killed before writing. The order makes each step final: first the two
//! processes, so that nothing is made any more; then what they made; the lab's directory last.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use viaduct_tun::netns;

use crate::{Error, LabName, layout, process, rootless};

/// What taking a lab down came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Down {
    /// Whether there was anything.
    pub found: bool,
    /// Processes that people started inside and that still run, cut off from the network: those
    /// are theirs to end.
    pub left_running: Vec<u32>,
}

/// Takes a lab down. Nothing there is no error.
pub fn down(name: &LabName) -> Result<Down, Error> {
    let claimed = layout::claim(name)?;
    let found = claimed.is_some();
    let namespaces = match &claimed {
        _ if rootless::is_root() => Some(PathBuf::from(netns::RUN_DIR)),
        Some((layout, _)) => rootless::namespaces(layout)?,
        None => None,
    };
    // The agent takes its namespaces' names away when it ends; who is in them is asked by identity.
    let identities = match &namespaces {
        Some(directory) => identities(directory, &name.prefix())?,
        None => HashSet::new(),
    };
    if let Some((layout, _)) = &claimed {
        for role in process::ROLES {
            process::end(&layout.lock_of(role))?;
        }
    }
    // Those of a rootless lab end with its processes, if it is taken down from outside; what is called
    // alike outside is root's.
    if rootless::is_root() {
        remove_namespaces(&name.prefix())?;
    }
    if let Some((layout, claim)) = claimed {
        layout::raze(&layout)?;
        drop(claim);
    }
    layout::tidy()?;
    Ok(Down { found, left_running: processes_in(&identities) })
}

/// The inodes by which the namespaces of a prefix are known after their names are gone.
fn identities(directory: &Path, prefix: &str) -> Result<HashSet<u64>, Error> {
    let namespaces = with_prefix(directory, prefix)?;
    let inode = |namespace| fs::metadata(directory.join(namespace)).ok();
    Ok(namespaces.iter().filter_map(inode).map(|state| state.ino()).collect())
}

/// Removes the namespaces of a prefix and the files that show in them.
fn remove_namespaces(prefix: &str) -> Result<(), Error> {
    for namespace in with_prefix(Path::new(netns::RUN_DIR), prefix)? {
        match netns::remove(&namespace) {
            Ok(()) | Err(viaduct_tun::Error::NoNamespace { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let files = layout::etc_netns();
    for namespace in with_prefix(files, prefix)? {
        let path = files.join(namespace);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(Error::system(format!("remove {}", path.display())))?,
        }
    }
    Ok(())
}

/// The names in a directory that begin with `prefix`; none if it does not exist.
fn with_prefix(directory: &Path, prefix: &str) -> Result<Vec<String>, Error> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                names.push(name);
            }
        }
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(Error::system(format!("list {}", directory.display()))),
    }
}

/// Processes whose network namespace is one of these. Best effort: it only informs.
fn processes_in(namespaces: &HashSet<u64>) -> Vec<u32> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|state| namespaces.contains(&state.ino()))
        })
        .collect();
    found.sort_unstable();
    found
}
