//! Namespaces and what is configured in them, on the real kernel.

mod common;

use std::{fs, net::Ipv4Addr, os::unix::fs::symlink, path::Path, process::Command};

use viaduct_tun::{Error, Links, Namespace, link, netns};

/// A named namespace that is removed however the test ends.
struct Named {
    name: String,
    namespace: Namespace,
}

impl Named {
    fn create(test: &str) -> Option<Self> {
        common::namespace()?;
        let name = format!("viaduct-test-{}-{test}", std::process::id());
        let namespace = netns::create(&name).unwrap();
        Some(Self { name, namespace })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // Gone already where the test removed it itself.
        let _ = netns::remove(&self.name);
    }
}

/// How often `text` occurs in the mounts of this process.
fn mounts_with(text: &str) -> usize {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(text)).count()
}

fn inode(namespace: &Namespace) -> u64 {
    rustix::fs::fstat(namespace).unwrap().st_ino
}

#[test]
fn a_named_namespace_is_listed_opened_and_removed_without_a_trace() {
    let Some(named) = Named::create("life") else { return };
    let path = Path::new(netns::RUN_DIR).join(&named.name);
    assert!(netns::list().unwrap().contains(&named.name));
    // Twice where iproute2 has made the directory a shared mount.
    assert_ne!(mounts_with(&named.name), 0);
    assert_ne!(inode(&named.namespace), inode(&Namespace::current().unwrap()));
    for other in [
        netns::open(&named.name).unwrap(),
        netns::open_path(&path).unwrap(),
        netns::resolve(&named.name).unwrap(),
    ] {
        assert_eq!(inode(&other), inode(&named.namespace), "{}", other.label());
    }
    let again = netns::create(&named.name);
    assert!(matches!(again, Err(Error::NamespaceExists { .. })), "{again:?}");

    netns::remove(&named.name).unwrap();
    assert!(fs::symlink_metadata(&path).is_err());
    assert!(!Path::new(netns::MOUNT_DIR).join(&named.name).exists());
    assert_eq!(mounts_with(&named.name), 0);
    assert!(!netns::list().unwrap().contains(&named.name));
    let gone = netns::open(&named.name);
    assert!(matches!(gone, Err(Error::NoNamespace { .. })), "{gone:?}");
    let gone = netns::remove(&named.name);
    assert!(matches!(gone, Err(Error::NoNamespace { .. })), "{gone:?}");
}

#[test]
fn iproute2_sees_what_we_make() {
    let Some(named) = Named::create("iproute2") else { return };
    let Ok(output) = Command::new("ip")
        .args(["netns", "exec", &named.name, "readlink", "/proc/self/ns/net"])
        .output()
    else {
        println!("skipped: there is no `ip` command");
        return;
    };
    let expected = format!("net:[{}]", inode(&named.namespace));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");

    // Iproute2 mounts its directory over itself when it first adds a name: ours must survive that.
    let theirs = format!("{}-theirs", named.name);
    assert!(Command::new("ip").args(["netns", "add", &theirs]).status().unwrap().success());
    let removed = Command::new("ip").args(["netns", "del", &theirs]).status().unwrap();
    assert!(removed.success());
    netns::open(&named.name).unwrap();
    let removed = Command::new("ip").args(["netns", "del", &named.name]).status().unwrap();
    assert!(removed.success(), "`ip netns del` does not take ours away");
    assert_eq!(mounts_with(&named.name), 0);
    netns::create(&named.name).unwrap();
    netns::remove(&named.name).unwrap();
    assert!(!netns::list().unwrap().contains(&named.name));
}

#[test]
fn many_come_and_go_at_once() {
    if common::namespace().is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..8 {
                    let name = format!("viaduct-test-{}-{thread}-{round}", std::process::id());
                    netns::create(&name).unwrap();
                    netns::remove(&name).unwrap();
                }
            });
        }
    });
}

#[test]
fn what_a_killed_creation_leaves_can_be_removed() {
    if common::namespace().is_none() {
        return;
    }
    let name = format!("viaduct-test-{}-half", std::process::id());
    let (link, mount) =
        (Path::new(netns::RUN_DIR).join(&name), Path::new(netns::MOUNT_DIR).join(&name));
    fs::create_dir_all(netns::RUN_DIR).unwrap();
    // Killed after the first step, and after the second.
    for steps in [1, 2] {
        symlink(&mount, &link).unwrap();
        if steps == 2 {
            fs::create_dir_all(netns::MOUNT_DIR).unwrap();
            fs::write(&mount, "").unwrap();
        }
        let answer = netns::open(&name);
        assert!(
            matches!(answer, Err(Error::NoNamespace { .. } | Error::NotANamespace { .. })),
            "{answer:?}"
        );
        assert!(netns::list().unwrap().contains(&name));
        netns::remove(&name).unwrap();
        assert!(!netns::list().unwrap().contains(&name));
    }
}

#[test]
fn namespaces_of_iproute2_are_opened_and_removed_too() {
    if common::namespace().is_none() {
        return;
    }
    let name = format!("viaduct-test-{}-theirs", std::process::id());
    let Ok(output) = Command::new("ip").args(["netns", "add", &name]).output() else {
        println!("skipped: there is no `ip` command");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let opened = netns::open(&name);
    netns::remove(&name).unwrap();
    opened.unwrap();
    assert!(!netns::list().unwrap().contains(&name));
    assert_eq!(mounts_with(&name), 0);
}

#[test]
fn names_that_would_leave_the_directory_are_refused() {
    for name in ["", ".", "..", "a/b", "../a", "a\0b"] {
        let answer = netns::create(name);
        assert!(matches!(answer, Err(Error::BadName { .. })), "{name:?}: {answer:?}");
    }
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let Some(namespace) = common::namespace() else { return };
    let before = inode(&Namespace::current().unwrap());
    let inside = namespace.run(|| inode(&Namespace::current().unwrap())).unwrap();
    assert_eq!(inside, inode(&namespace));
    assert_eq!(inode(&Namespace::current().unwrap()), before);
}

#[test]
fn a_panic_inside_goes_on_in_the_caller() {
    let Some(namespace) = common::namespace() else { return };
    let caught = std::panic::catch_unwind(|| namespace.run(|| panic!("inside")));
    let payload = caught.expect_err("the panic was lost");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn addresses_routes_and_settings_are_the_kernels() {
    let Some(namespace) = common::namespace() else { return };
    let peer = common::namespace().unwrap();
    namespace
        .run(|| {
            link::disable_ipv6().unwrap();
            let links = Links::open().unwrap();
            links.up("lo").unwrap();
            links.add_veth("left", "right").unwrap();
            links.move_to("right", &peer).unwrap();
            links.set_mtu("left", 1400).unwrap();
            links.add_address("left", Ipv4Addr::new(10, 1, 0, 1).into(), 24).unwrap();
            links.up("left").unwrap();
            links.add_default_route("left", Some(Ipv4Addr::new(10, 1, 0, 2).into())).unwrap();
            links.add_route(Ipv4Addr::new(10, 2, 0, 0).into(), 16, "left", None).unwrap();

            let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap();
            let routes: Vec<(&str, &str, &str)> = routes
                .lines()
                .skip(1)
                .map(|line| {
                    let fields: Vec<_> = line.split_whitespace().collect();
                    (fields[1], fields[2], fields[7])
                })
                .collect();
            // Destination, gateway and mask, in the byte order of the machine.
            let hex = |a, b, c, d| format!("{:08X}", u32::from_ne_bytes([a, b, c, d]));
            let expected = [
                (hex(0, 0, 0, 0), hex(10, 1, 0, 2), hex(0, 0, 0, 0)),
                (hex(10, 1, 0, 0), hex(0, 0, 0, 0), hex(255, 255, 255, 0)),
                (hex(10, 2, 0, 0), hex(0, 0, 0, 0), hex(255, 255, 0, 0)),
            ];
            let expected: Vec<_> =
                expected.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
            assert_eq!(routes, expected);
            let ipv6 = fs::read_to_string("/proc/sys/net/ipv6/conf/left/disable_ipv6");
            assert!(ipv6.is_err() || ipv6.unwrap().trim() == "1");
            assert!(!link::write_sysctl("net/ipv4/no_such_setting", "1").unwrap());

            let answer = links.up("no-such-link");
            assert!(matches!(answer, Err(Error::NoLink { .. })), "{answer:?}");
            let answer = links.add_address("left", Ipv4Addr::new(10, 1, 0, 1).into(), 24);
            assert!(matches!(answer, Err(Error::Netlink { .. })), "{answer:?}");
            links.delete("left").unwrap();
        })
        .unwrap();
    let gone = peer.run(|| Links::open().unwrap().index("right")).unwrap();
    assert!(matches!(gone, Err(Error::NoLink { .. })), "{gone:?}");
}
