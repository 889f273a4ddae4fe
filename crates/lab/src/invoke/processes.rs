//! How many processes an invocation may have.
//!
//! It has a process-id namespace of its own, and since Linux 6.14 such a namespace has its own
//! `kernel.pid_max` (kernel/pid_namespace.c): no process gets a number beyond it, and there are no more
//! processes than numbers. One invocation that uses all of its own takes none from another.
//!
//! Before 6.14 there is one `kernel.pid_max`, which is not ours to change. There the bound is that of the
//! user (RLIMIT_NPROC), of all of whose processes it is: those of all invocations together. It does not
//! bind root.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// Processes and threads of an invocation, as in Lambda.
const MOST: u64 = 1024;

/// Where there is one bound for all: processes and threads of their user.
const MOST_OF_ALL: u64 = 16 * MOST;

/// The first kernel in which `kernel.pid_max` is a namespace's own.
const OWN_PID_MAX: (u32, u32) = (6, 14);

const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// Bounds what the calling process will start. For the first process of a process-id namespace.
pub(super) fn bound() -> Result<(), Error> {
    let uname = rustix::system::uname();
    if version(&uname.release().to_string_lossy()) >= Some(OWN_PID_MAX) {
        // Numbers are below it, and the first process has one.
        match fs::write(PID_MAX, (MOST + 2).to_string()) {
            Ok(()) => return Ok(()),
            // In some containers nobody may write there.
            Err(error) => tracing::debug!(%error, "{PID_MAX} stays as it is"),
        }
    }
    let present = getrlimit(Resource::Nproc);
    let most = present.maximum.map_or(MOST_OF_ALL, |maximum| maximum.min(MOST_OF_ALL));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Nproc, limit).map_err(Error::system("bound the number of processes"))
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_numbers() {
        for (release, expected) in [
            ("6.18.44-fc-v657", Some((6, 18))),
            ("6.14-rc1", Some((6, 14))),
            ("5.15.0-1-cloud", Some((5, 15))),
            ("10.0", Some((10, 0))),
            ("6", None),
            ("x.y", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("6.9.1") < Some(OWN_PID_MAX) && version("7.0.0") > Some(OWN_PID_MAX));
    }
}
