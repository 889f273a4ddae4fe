//! A daemon and hosts without a lab: `viaduct run`, `agent` and `attach` by hand.

mod common;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Killed, LIMIT, Lab, daemon::Daemon, eventually, permitted, repository, said, tell_peer, unique,
    viaduct,
};
use serde_json::Value;
use viaduct_tun::netns;

fn quickstart() -> Daemon {
    Daemon::start(&repository("config/quickstart.yaml"))
}

/// A namespace whose name goes when dropped.
struct Named(String);

impl Named {
    fn create(what: &str) -> Self {
        let name = unique(what);
        netns::create(&name).unwrap();
        Self(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        netns::remove(&self.0).unwrap();
    }
}

#[test]
fn a_command_runs_attached_without_the_right_to_change_its_network() {
    if !permitted() || !common::has("ip") {
        return;
    }
    let daemon = quickstart();
    let (function, db) = (Named::create("attach-api"), Named::create("attach-db"));
    let mut serving = daemon.attach("instance/db", &db.0).stderr(Stdio::piped()).spawn().unwrap();
    let mut said_so = [0; 12];
    serving.stderr.take().unwrap().read_exact(&mut said_so).unwrap();
    let _serving = Killed(serving);
    let inside = netns::open(&db.0).unwrap();
    let listener =
        inside.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5432))).unwrap().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(tell_peer));

    let script = "exec 3<>/dev/tcp/10.0.2.10/5432; echo >&3; ip link set eth0 down; echo \"down: $?\"; grep CapEff /proc/self/status; exit 9";
    let output = daemon
        .attach("function/api/1", &function.0)
        .args(["--", "bash", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(9), "{}", said(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("down: 2"), "{}", said(&output));
    let effective = shown.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    // CAP_NET_ADMIN is 12.
    assert_eq!(effective & (1 << 12), 0, "{effective:x}");

    // With the command's end the host is gone, and with the daemon's patience its device.
    let left = netns::open(&function.0).unwrap();
    let links = || left.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let gone = eventually(|| (!links().contains("eth0")).then_some(()));
    assert!(gone.is_some(), "{}", links());
}

/// As in a container that may configure its own network and nothing else: neither enter namespaces nor
/// give up what it may hand on.
#[test]
fn one_capability_is_enough_where_the_namespace_is_the_callers_own() {
    if !permitted() || !common::has("setpriv") || !common::has("unshare") {
        return;
    }
    let daemon = quickstart();
    let mut attach = Command::new("unshare");
    attach.args(["--net", "setpriv", "--bounding-set", "-all,+net_admin"]);
    attach.arg(viaduct().get_program()).args(["attach", "function/api/1", "--log", "error"]);
    attach.arg("--runtime-dir").arg(daemon.path());
    let script = "ip -brief address show eth0; ip link set eth0 down; echo \"down: $?\"; grep -E 'Cap(Prm|Eff)' /proc/self/status";
    let output = attach.args(["--", "sh", "-c", script]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("169.254.100.2"), "{}", said(&output));
    assert!(shown.contains("down: 2"), "{}", said(&output));
    let none = |set| shown.contains(&format!("{set}:\t0000000000000000"));
    assert!(none("CapPrm") && none("CapEff"), "{}", said(&output));
}

/// As between containers: a daemon that is no lab's, and namespaces that others made.
#[test]
fn expectations_are_tried_between_hosts_that_are_named() {
    if !permitted() {
        return;
    }
    let lab = Lab::of(
        "named",
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { all: { cidr_block: 10.0.0.0/24 } }
    security_groups: { all: { ingress: [ { protocol: tcp, ports: 80, from: 10.0.0.0/16 } ] } }
    instances:
      one: { subnet: all, private_ip: 10.0.0.10, security_groups: [all] }
      two: { subnet: all, private_ip: 10.0.0.11, security_groups: [all] }
expect:
  - { from: instance/one, to: instance/two, port: tcp/80, verdict: allow }
  - { from: instance/two, to: instance/one, port: tcp/81, verdict: deny, because: ENI_SG_RULES_MISMATCH }
",
    );
    let try_all = |hosts: &[&str]| {
        let mut test = viaduct();
        test.args(["lab", "test"]).arg(lab.path("topology.yaml"));
        test.arg("--runtime-dir").arg(lab.path(""));
        for host in hosts {
            let namespace = format!("vd-{}.instance.{host}", lab.name);
            test.arg("--netns").arg(format!("instance/{host}={namespace}"));
        }
        test.output().unwrap()
    };
    let tried = try_all(&["one", "two"]);
    assert!(said(&tried).contains("2 of 2 flows agree"), "{}", said(&tried));
    assert!(tried.status.success(), "{}", said(&tried));
    let tried = try_all(&["one"]);
    assert_eq!(tried.status.code(), Some(2), "{}", said(&tried));
    assert!(said(&tried).contains("--netns instance/two=NAMESPACE"), "{}", said(&tried));
}

#[test]
fn who_cannot_be_attached_is_told_why() {
    if !permitted() {
        return;
    }
    let daemon = quickstart();
    let namespace = Named::create("attach-not");
    let unknown =
        daemon.attach("instance/dbx", &namespace.0).args(["--", "true"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    assert!(said(&unknown).contains("instance/db"), "{}", said(&unknown));

    let mut first = daemon.attach("instance/db", &namespace.0);
    let first = Killed(first.stdin(Stdio::piped()).args(["--", "cat"]).spawn().unwrap());
    let attached = |value: Option<Value>| value?["attachments"]["attached"].as_u64();
    assert!(eventually(|| (attached(daemon.get("status")) == Some(1)).then_some(())).is_some());
    let other = Named::create("attach-twice");
    let second = daemon.attach("instance/db", &other.0).args(["--", "true"]).output().unwrap();
    assert_eq!(second.status.code(), Some(2), "{}", said(&second));
    drop(first);
}

#[test]
fn an_agent_serves_its_hosts_over_a_restart_of_the_daemon() {
    if !permitted() {
        return;
    }
    // One behind the other: the last agent removes the directory that all share.
    for (device, other) in [("offload", "plain"), ("plain", "offload")] {
        agent_over_a_restart(device, other);
    }
}

/// An agent and three daemons, of which the second takes no devices of this kind.
fn agent_over_a_restart(device: &str, other: &str) {
    let runtime = tempfile::tempdir().unwrap();
    let log = runtime.path().join("agent.log");
    let run = |device: &str| {
        let mut run = viaduct();
        run.arg("run").arg(repository("config/quickstart.yaml")).args(["--device", device]);
        run.arg("--runtime-dir");
        Killed(run.arg(runtime.path()).stderr(Stdio::null()).spawn().unwrap())
    };
    let prefix = format!("{}.", unique("agent"));
    let daemon = run(device);
    let mut agent = viaduct();
    agent.args(["agent", "function/api/1", "instance/db", "--prefix", &prefix, "--runtime-dir"]);
    let mut agent = agent.arg(runtime.path()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let namespace = |host: &str| netns::open(&format!("{prefix}{host}"));
    let db = eventually(|| namespace("instance.db").ok()).unwrap();
    let function = eventually(|| namespace("function.api.1").ok()).unwrap();
    let listener = db.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5432))).unwrap().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(tell_peer));
    let gets_through = || {
        let answer = function.run(|| {
            let address = "10.0.2.10:5432".parse().unwrap();
            let mut stream = std::net::TcpStream::connect_timeout(&address, LIMIT / 60).ok()?;
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.write_all(b"hello").ok()?;
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok().map(|_| answer)
        });
        answer.unwrap()
    };
    assert_eq!(eventually(gets_through).as_deref(), Some("10.0.1.4"));
    let told = || fs::read_to_string(&log).unwrap();
    let tells = |what: &str| eventually(|| told().contains(what).then_some(())).is_some();
    // Packets flow before it knows, and a refusal that is the first answer ends it.
    assert!(tells("every host is attached"), "{}", told());
    drop(daemon);
    let daemon = run(other);
    let refused = format!("is of the kind `{device}`, and the daemon takes `{other}` only");
    assert!(tells(&refused), "{}", told());
    drop(daemon);
    let _daemon = run(device);
    assert_eq!(eventually(gets_through).as_deref(), Some("10.0.1.4"), "{}", told());

    let pid = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(agent.wait().unwrap().success());
    for host in ["instance.db", "function.api.1"] {
        assert!(namespace(host).is_err(), "the agent removes what it made");
        assert!(!Path::new("/etc/netns").join(format!("{prefix}{host}")).exists());
    }
}
