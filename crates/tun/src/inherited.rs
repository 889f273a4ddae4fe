//! Descriptors that a service manager opens for a process before it starts it (sd_listen_fds(3)).
//!
//! The environment has their number, the first being 3, whom they are for, and what they are called:
//! LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES.

#![allow(unsafe_code)]

use std::{
    env,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::FdFlags;

use crate::Error;

/// After standard input, output and errors (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// More than anybody hands on: what is above is a mistake.
const MOST: usize = 64;

/// What a descriptor is called that nobody has given a name, as systemd says it.
const NAMELESS: &str = "unknown";

/// A descriptor that was open when the process began.
#[derive(Debug)]
pub struct Inherited {
    /// What whoever opened it calls it.
    pub name: String,
    /// The descriptor; closed on `exec`.
    pub fd: OwnedFd,
}

/// Whether [`take`] has given them away.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Those that were opened for this process; none the second time.
///
/// To be called before the process opens anything itself, so that the numbers are theirs.
pub fn take() -> Result<Vec<Inherited>, Error> {
    let names = names(process::id(), |variable| env::var(variable).ok())?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    (FIRST..).zip(names).map(|(number, name)| Ok(Inherited { fd: own(number)?, name })).collect()
}

/// The names of the descriptors for process `pid`, by what the environment says.
fn names(
    pid: u32,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Vec<String>, Error> {
    let number = |name: &'static str| -> Result<Option<usize>, Error> {
        let Some(value) = variable(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(name, value, "is no number")),
        }
    };
    let (Some(of), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    // The environment of a process that was started with some, and has started this one.
    if u32::try_from(of) != Ok(pid) {
        return Ok(Vec::new());
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MOST {
        return Err(wrong("LISTEN_FDS", count.to_string(), &format!("is more than {MOST}")));
    }
    let Some(named) = variable("LISTEN_FDNAMES") else {
        return Ok(vec![NAMELESS.to_owned(); count]);
    };
    let names: Vec<String> = named.split(':').map(str::to_owned).collect();
    if names.len() != count {
        let problem = format!("has {} names, and LISTEN_FDS is {count}", names.len());
        return Err(wrong("LISTEN_FDNAMES", named, &problem));
    }
    Ok(names)
}

fn wrong(variable: &'static str, value: String, problem: &str) -> Error {
    Error::Inherited { variable, value, problem: problem.to_owned() }
}

fn own(number: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: it is borrowed for the one call that tells whether it is open.
    let open = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(open, FdFlags::CLOEXEC).map_err(|errno| {
        let problem = format!("counts descriptor {number}, which is not open ({errno})");
        wrong("LISTEN_FDS", (number - FIRST + 1).to_string(), &problem)
    })?;
    // SAFETY: it is open, and was so before this process began: whoever started the process says that
    // it is for this one, and nothing here owns what it has not opened. `take` comes here once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_where(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let find = |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        };
        names(7, find).map_err(|error| error.to_string())
    }

    #[test]
    fn they_are_for_the_process_that_is_named() {
        let all = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "attach:control")];
        assert_eq!(names_where(&all).unwrap(), ["attach", "control"]);
        assert_eq!(names_where(&all[..2]).unwrap(), ["unknown", "unknown"]);
        let others = [("LISTEN_PID", "8"), all[1], all[2]];
        let no_more = [all[0], ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")];
        for none in [&all[..1], &all[1..], &others, &no_more] {
            assert!(names_where(none).unwrap().is_empty(), "{none:?}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        let pid = ("LISTEN_PID", "7");
        for (variables, said) in [
            (&[pid, ("LISTEN_FDS", "two")][..], "LISTEN_FDS is `two`, which is no number"),
            (&[pid, ("LISTEN_FDS", "65")], "LISTEN_FDS is `65`, which is more than 64"),
            (&[("LISTEN_PID", "me"), ("LISTEN_FDS", "1")], "LISTEN_PID is `me`"),
            (
                &[pid, ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a:b")],
                "LISTEN_FDNAMES is `a:b`, which has 2 names, and LISTEN_FDS is 1",
            ),
        ] {
            let error = names_where(variables).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
