//! Which files the daemon may open: those in its runtime directory, and its topology.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use crate::{doors::Door, error::Error, runtime_dir::RuntimeDir};

/// What is forbidden unless it is allowed below, as far as the kernel knows it: all there is to do to
/// files, TCP, signals and abstract sockets of processes that are not confined (Linux 6.12).
const KNOWN: ABI = ABI::V6;

/// In the runtime directory: sockets, the lock and what is to outlive the daemon.
const OWN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | ReadDir | MakeReg | MakeSock | RemoveFile | Truncate
});

/// Where the topology is. The whole directory: an editor puts another file in the place of the old one.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// Restricts this thread and those it starts. False where there is no Landlock.
pub(super) fn restrict(
    directory: &RuntimeDir,
    topology: &Path,
    doors: &[Door],
) -> Result<bool, Error> {
    let mut allowed = vec![(directory.path().to_owned(), OWN)];
    if directory.made()
        && let Some(parent) = directory.path().parent()
    {
        // To take the directory away again, when it is empty.
        allowed.push((parent.to_owned(), AccessFs::RemoveDir.into()));
    }
    // To take its sockets away again. Those in the runtime directory are there already.
    let doors = doors.iter().filter_map(Door::directory);
    allowed.extend(doors.map(|door| (door.to_owned(), AccessFs::RemoveFile.into())));
    // A link is followed anew each time: where it is and where it leads are both read.
    let target = topology.canonicalize().ok();
    for file in [Some(topology), target.as_deref()].into_iter().flatten() {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        allowed.push((parent.unwrap_or(Path::new(".")).to_owned(), READ));
    }
    let enforce = || -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        for (path, access) in &allowed {
            // What is not there cannot be opened anyway.
            if let Ok(path) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(path, *access))?;
            }
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    match enforce() {
        Ok(status) => Ok(status != RulesetStatus::NotEnforced),
        Err(error) => Err(Error::Confine { what: "restrict files", why: error.to_string() }),
    }
}
