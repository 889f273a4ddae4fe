//! The first process of an invocation's process-id namespace.
//!
//! It is root's and runs nothing of the function's: it enters the environment, starts the command as
//! somebody else, and waits. It exists so that the command is not the namespace's first process, which
//! no signal of its own namespace reaches (pid_namespaces(7)), and so that it cannot outlive the agent.

use std::{
    ffi::OsString, io::ErrorKind, os::unix::process::CommandExt, path::PathBuf, process::Command,
};

use rustix::{mount::MountFlags, process::Signal, thread::CapabilitySet};
use viaduct_client::Invocation;
use viaduct_tun::{netns, private_etc};

use super::{User, processes};
use crate::{
    Error,
    attach::{LOST, give_up_capabilities},
    exec::exit_code,
    layout,
};

/// The command of `viaduct` that becomes this process.
pub const COMMAND: &str = "environment-init";

/// What every command finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program is not there (as a shell says it).
const NOT_FOUND: u8 = 127;

/// The program cannot be run (as a shell says it).
const CANNOT_RUN: u8 = 126;

/// What the first process is to do.
#[derive(Clone, Debug)]
pub struct Init {
    /// The environment's network namespace.
    pub namespace: String,
    /// Who the command runs as.
    pub user: User,
    /// Where the command starts.
    pub directory: PathBuf,
    /// Environment variables.
    pub variables: Vec<(String, String)>,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

/// The arguments of `viaduct` that make it the first process of an invocation.
pub(super) fn arguments(namespace: &str, user: User, invocation: &Invocation) -> Vec<String> {
    let mut arguments = vec![COMMAND.to_owned(), namespace.to_owned()];
    arguments.extend([user.uid.to_string(), user.gid.to_string()]);
    let directory = invocation.directory.iter();
    arguments.extend(directory.map(|directory| format!("--directory={directory}")));
    let variables = invocation.variables.iter();
    arguments.extend(variables.map(|(name, text)| format!("--variable={name}={text}")));
    arguments.push("--".to_owned());
    arguments.extend(invocation.command.iter().cloned());
    arguments
}

impl Init {
    /// Runs the command, and returns its exit code as a shell gives it. The calling process must have
    /// one thread.
    ///
    /// When this process ends, so does all that the command has started.
    pub fn run(self) -> Result<u8, Error> {
        let failed = "end with the agent";
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(Error::system(failed))?;
        netns::open(&self.namespace)?.enter()?;
        private_etc::enter(&layout::etc_netns().join(&self.namespace))?;
        // Its own processes and no others. In some containers nobody may mount one.
        if let Err(error) = rustix::mount::mount("proc", "/proc", "proc", MountFlags::empty(), None)
        {
            tracing::debug!(%error, "/proc shows the processes of another namespace");
        }
        processes::bound()?;
        // The kernel takes all from who becomes somebody else. In a rootless lab there is nobody else.
        let already = rustix::process::geteuid().as_raw() == self.user.uid;
        give_up_capabilities(if already { CapabilitySet::all() } else { LOST })?;
        let Some((program, arguments)) = self.command.split_first() else {
            let source = ErrorKind::InvalidInput.into();
            return Err(Error::System { action: "run an empty command".to_owned(), source });
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.directory);
        command.env_clear().env("PATH", PATH).env("HOME", "/tmp").env("LANG", "C.UTF-8");
        command.envs(self.variables).uid(self.user.uid).gid(self.user.gid);
        match command.status() {
            Ok(status) => Ok(exit_code(status)),
            Err(error) => {
                let directory = self.directory.display();
                eprintln!("cannot run `{}` in `{directory}`: {error}", program.display());
                // Or it is the directory that is not there.
                let missing = error.kind() == ErrorKind::NotFound && self.directory.is_dir();
                Ok(if missing { NOT_FOUND } else { CANNOT_RUN })
            }
        }
    }
}
