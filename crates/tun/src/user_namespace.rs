//! A user namespace: where somebody who is not root makes namespaces, mounts and devices.
//!
//! The one user in it is the caller, who is root there: with every capability over what is made inside,
//! and with none over what was there before (user_namespaces(7)). A mount namespace comes with it, in
//! which files can be laid over others. Both last as long as there is a process in them.
//!
//! Hosts and containers may keep their users from it, each in its own way. What is said then names the
//! setting that did.

use std::{env, fs, io, os::fd::BorrowedFd};

use rustix::{
    io::Errno,
    process::{getegid, geteuid},
    thread::{ThreadNameSpaceType, UnshareFlags},
};

use crate::{
    Error,
    unshare::{follow_no_mounts, unshare},
};

/// Puts the calling process, which must have one thread, into a user namespace and a mount namespace of
/// its own. What it starts is there too.
pub fn enter() -> Result<(), Error> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let refused = |source: io::Error| {
        let advice = advice(&source, |setting| fs::read_to_string(setting).ok());
        Error::NoUserNamespace { source, advice }
    };
    let kinds = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    unshare(kinds).map_err(|errno| refused(errno.into()))?;
    // The first is what the kernel asks for before it takes the last (user_namespaces(7)). AppArmor
    // refuses here what it let pass above.
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ];
    for (file, text) in maps {
        fs::write(format!("/proc/self/{file}"), text).map_err(refused)?;
    }
    follow_no_mounts().map_err(|errno| refused(errno.into()))
}

/// Moves the calling process, which must have one thread, to the user namespace and the mount namespace
/// of a process of the same user.
pub fn join(process: BorrowedFd<'_>) -> Result<(), Error> {
    let here = env::current_dir();
    let kinds = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    rustix::thread::move_into_thread_name_spaces(process, kinds)
        .map_err(|errno| Error::system("enter the user namespace of a process", errno))?;
    // The kernel has put it at the root of the files. A directory that is not seen from inside is not
    // worth failing for.
    if let Ok(here) = here
        && let Err(error) = env::set_current_dir(&here)
    {
        tracing::debug!(directory = %here.display(), %error, "not seen from the user namespace");
    }
    Ok(())
}

/// What keeps users from namespaces, as far as it can be told, and what to do about it. `read` reads a
/// file of `/proc/sys`.
fn advice(source: &io::Error, read: impl Fn(&str) -> Option<String>) -> &'static str {
    let is = |setting: &str, value: &str| {
        read(&format!("/proc/sys/{setting}")).is_some_and(|text| text.trim() == value)
    };
    if is("kernel/unprivileged_userns_clone", "0") {
        "this host keeps them for root; as root, `sysctl -w kernel.unprivileged_userns_clone=1` \
         lets everybody"
    } else if is("user/max_user_namespaces", "0") {
        "this host allows none; as root, `sysctl -w user.max_user_namespaces=10000` allows some"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor keeps them for programs that it knows; as root, `sysctl -w \
         kernel.apparmor_restrict_unprivileged_userns=0` lets all, and a profile with `userns,` for \
         viaduct's binary lets this one"
    } else {
        match Errno::from_io_error(source) {
            Some(Errno::NOSPC) => {
                "there are too many, or too many within each other; see `sysctl user.max_user_namespaces`"
            }
            Some(Errno::INVAL | Errno::NOSYS) => {
                "this kernel is built without them (CONFIG_USER_NS)"
            }
            _ => {
                "in a container its seccomp profile forbids them (Docker: `--security-opt \
                 seccomp=unconfined`), in a chroot the kernel does"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice_where(settings: &[(&str, &str)], errno: Errno) -> &'static str {
        let read = |path: &str| {
            let setting = settings.iter().find(|(name, _)| path == format!("/proc/sys/{name}"));
            setting.map(|(_, value)| format!("{value}\n"))
        };
        advice(&errno.into(), read)
    }

    #[test]
    fn the_setting_that_refuses_is_named() {
        let clone = "kernel/unprivileged_userns_clone";
        let most = "user/max_user_namespaces";
        let apparmor = "kernel/apparmor_restrict_unprivileged_userns";
        for (settings, errno, named) in [
            (&[(clone, "0"), (most, "100")][..], Errno::PERM, "unprivileged_userns_clone=1"),
            (&[(clone, "1"), (most, "0")], Errno::NOSPC, "user.max_user_namespaces=10000"),
            (&[(apparmor, "1"), (most, "100")], Errno::PERM, "a profile with `userns,`"),
            (&[(apparmor, "0"), (most, "100")], Errno::PERM, "seccomp"),
            (&[], Errno::INVAL, "CONFIG_USER_NS"),
            (&[(most, "100")], Errno::NOSPC, "too many"),
        ] {
            let advice = advice_where(settings, errno);
            assert!(advice.contains(named), "{settings:?}, {errno}: {advice}");
        }
    }
}
