//! Running a command as if on one of the lab's hosts.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus},
};

use viaduct_tun::{netns, private_etc};

use crate::{Error, LabName, layout};

/// The namespace of one of a lab's hosts.
///
/// `name` is the host's name; the number of an environment may be left out (`function/api` is
/// `function/api/1`), and so may everything before the last part where only one host has it.
pub fn namespace_of(lab: &LabName, name: &str) -> Result<String, Error> {
    let prefix = lab.prefix();
    let hosts: Vec<String> = netns::list()?
        .into_iter()
        .filter_map(|namespace| Some(namespace.strip_prefix(&prefix)?.to_owned()))
        .collect();
    if hosts.is_empty() {
        return Err(Error::NotUp { name: lab.clone() });
    }
    find(&hosts, &name.replace('/', "."))
        .map(|host| format!("{prefix}{host}"))
        .ok_or_else(|| Error::NoSuchHost { name: name.to_owned(), known: readable(&hosts) })
}

/// The lab a command means when it names none: the only one that is up.
pub fn only_lab() -> Result<LabName, Error> {
    let mut up = layout::names()?;
    match up.pop() {
        Some(name) if up.is_empty() => Ok(name),
        last => {
            up.extend(last);
            Err(Error::WhichLab { up })
        }
    }
}

/// Becomes `command`, inside a network namespace and with its files of `/etc`.
///
/// Returns only if that failed. The calling process must have one thread.
pub fn exec(namespace: &str, command: &[OsString]) -> Error {
    let prepare = || {
        netns::open(namespace)?.enter()?;
        private_etc::enter(&layout::etc_netns().join(namespace))
    };
    if let Err(error) = prepare() {
        return error.into();
    }
    let Some((program, arguments)) = command.split_first() else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Error::System { action: "run an empty command".to_owned(), source };
    };
    let source = Command::new(program).args(arguments).exec();
    Error::System { action: format!("run `{}`", program.display()), source }
}

/// The exit code of a command, as a shell gives it: 128 and a signal's number if it died by one.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The host that a (dotted) name means among those there are.
fn find<'h>(hosts: &'h [String], name: &str) -> Option<&'h String> {
    let first = format!("{name}.1");
    let exact = hosts.iter().find(|host| **host == name || **host == first);
    exact.or_else(|| {
        let (suffix, first) = (format!(".{name}"), format!(".{first}"));
        let mut matching =
            hosts.iter().filter(|host| host.ends_with(&suffix) || host.ends_with(&first));
        let only = matching.next()?;
        matching.next().is_none().then_some(only)
    })
}

/// Host names as people write them, cut off where there are too many to read.
fn readable(hosts: &[String]) -> Vec<String> {
    const SHOWN: usize = 12;
    let mut names: Vec<String> =
        hosts.iter().take(SHOWN).map(|host| format!("`{}`", with_slashes(host))).collect();
    if hosts.len() > SHOWN {
        names.push(format!("and {} more", hosts.len() - SHOWN));
    }
    names
}

/// A host's name as the topology writes it, as far as a namespace's tells: dots that are of a VPC's,
/// service's or instance's own name stay. A function's environment has its number after a slash.
fn with_slashes(host: &str) -> String {
    let kinds = ["function", "instance", "internet", "service"];
    let parts: Vec<&str> = host.split('.').collect();
    let Some(kind) = parts.iter().position(|part| kinds.contains(part)) else {
        return host.to_owned();
    };
    let mut name = parts[kind + 1..].join(".");
    if parts[kind] == "function"
        && let Some((function, number)) = name.rsplit_once('.')
    {
        name = format!("{function}/{number}");
    }
    let before = parts[..kind].join(".");
    let separator = if before.is_empty() { "" } else { "/" };
    format!("{before}{separator}{}/{name}", parts[kind])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Vec<String> {
        ["function.api.1", "function.api.2", "instance.db", "internet.web", "instance.web"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn names_are_found_in_full_and_in_short() {
        let hosts = hosts();
        let found = |name| find(&hosts, name).map(String::as_str);
        assert_eq!(found("function.api"), Some("function.api.1"));
        assert_eq!(found("function.api.2"), Some("function.api.2"));
        assert_eq!(found("api"), Some("function.api.1"));
        assert_eq!(found("db"), Some("instance.db"));
    }

    #[test]
    fn what_is_ambiguous_or_absent_is_not_guessed() {
        let hosts = hosts();
        for name in ["web", "b", "api.3", "", "nothing"] {
            assert_eq!(find(&hosts, name), None, "{name:?}");
        }
    }

    #[test]
    fn names_are_shown_as_they_can_be_given() {
        for (namespace, name) in [
            ("function.api.2", "function/api/2"),
            ("function.a.b.1", "function/a.b/1"),
            ("main.instance.db", "main/instance/db"),
            (
                "service.com.amazonaws.eu-central-1.lambda",
                "service/com.amazonaws.eu-central-1.lambda",
            ),
            ("else", "else"),
        ] {
            assert_eq!(with_slashes(namespace), name);
            let hosts = [namespace.to_owned()];
            assert_eq!(find(&hosts, &name.replace('/', ".")), Some(&hosts[0]));
        }
    }

    #[test]
    fn long_lists_are_cut_off() {
        let hosts: Vec<String> = (1..=100).map(|n| format!("function.api.{n}")).collect();
        let names = readable(&hosts);
        assert_eq!(names.len(), 13);
        assert_eq!(names[12], "and 88 more");
    }
}
