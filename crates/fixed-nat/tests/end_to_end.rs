//! Real programs on both sides of a running `fixed-nat`.
//!
//! Both namespaces are unnamed, and the program is killed when its test ends: nothing stays.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use viaduct_tun::{Error, Links, Namespace, netns};

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const SEEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A running `fixed-nat`, killed when dropped.
struct Running {
    inside: Namespace,
    outside: Namespace,
    program: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it and waits until it forwards; `None` where this machine does not permit it.
    fn start() -> Option<Self> {
        let (inside, outside) = (namespace()?, namespace()?);
        // An unnamed namespace is reached through our own descriptor of it.
        let path = |namespace: &Namespace| {
            format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
        };
        let mut program = Command::new(env!("CARGO_BIN_EXE_fixed-nat"))
            .args(["--inside-netns", &path(&inside), "--outside-netns", &path(&outside)])
            .args(["--inside-address", &format!("{INSIDE}/24")])
            .args(["--outside-address", &format!("{OUTSIDE}/24")])
            .args(["--nat-address", &SEEN.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("forwarding: "), "{line:?}");
        Some(Self { inside, outside, program, output })
    }

    /// Ends it with a signal; returns what it said of the outward and the inward direction.
    fn stop(&mut self, signal: Signal) -> (String, String) {
        let pid = Pid::from_child(&self.program);
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(self.program.wait().unwrap().success());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        (lines.next().unwrap(), lines.next().unwrap())
    }

    /// A program inside a namespace, not yet started.
    fn command(&self, namespace: &Namespace, program: &str, arguments: &[&str]) -> Command {
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={path}")).arg(program).args(arguments);
        command
    }
}

/// An unnamed namespace; `None`, and the reason printed, where this machine does not permit one.
fn namespace() -> Option<Namespace> {
    let namespace = match netns::create_unnamed() {
        Ok(namespace) => namespace,
        Err(Error::System { what, source }) if source.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: cannot {what}: {source}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        println!("skipped: cannot open /dev/net/tun: {error}");
        return None;
    }
    Some(namespace)
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already where the test ended it.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// The number in front of `unit` in a line of totals.
fn count(line: &str, unit: &str) -> u64 {
    let words: Vec<_> = line.split([' ', '(']).collect();
    let at = words.iter().position(|word| word.trim_end_matches([',', ')']) == unit).unwrap();
    words[at - 1].parse().unwrap_or_else(|_| panic!("no {unit} in {line:?}"))
}

#[test]
fn tcp_passes_both_ways_in_super_packets_and_unchanged() {
    let Some(mut running) = Running::start() else { return };
    let listener = running.outside.run(|| TcpListener::bind((OUTSIDE, 80))).unwrap().unwrap();
    let text: Vec<u8> = (0..16 << 20).map(|n: u32| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let seen = thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut received = vec![0; text.len()];
            stream.read_exact(&mut received).unwrap();
            assert!(received == text, "what came out is not what went in");
            stream.write_all(&received).unwrap();
            peer
        });
        running
            .inside
            .run(|| {
                let address = SocketAddr::from((OUTSIDE, 80));
                let mut stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
                assert_eq!(stream.local_addr().unwrap().ip(), INSIDE);
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                stream.write_all(&text).unwrap();
                let mut received = vec![0; text.len()];
                stream.read_exact(&mut received).unwrap();
                assert!(received == text, "what came back is not what went in");
            })
            .unwrap();
        server.join().unwrap()
    });
    assert_eq!(seen.ip(), SEEN);

    let (outward, inward) = running.stop(Signal::TERM);
    for line in [outward, inward] {
        let (packets, frames) = (count(&line, "packets"), count(&line, "frames"));
        assert!(packets >= (16 << 20) / 1460, "{line}");
        assert!(packets >= 4 * frames, "super-packets were cut up: {line}");
        assert!(count(&line, "bytes") >= 16 << 20, "{line}");
        assert_eq!((count(&line, "dropped"), count(&line, "not")), (0, 0), "{line}");
    }
}

#[test]
fn udp_and_its_errors_pass() {
    let Some(mut running) = Running::start() else { return };
    let bind = |address| {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let server = running.outside.run(|| bind(OUTSIDE)).unwrap();
    let client = running.inside.run(|| bind(INSIDE)).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2048];
    // One packet, a whole MTU, and nothing at all.
    for len in [1, 1472, 0] {
        client.send(&vec![7; len]).unwrap();
        let (received, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((received, peer.ip()), (len, SEEN.into()));
        assert_eq!(peer.port(), client.local_addr().unwrap().port(), "the port stays");
        server.send_to(&buffer[..received], peer).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), len);
    }
    // Nobody there: the error finds its socket only if the packet it quotes was translated back.
    drop(server);
    client.send(b"anybody?").unwrap();
    let error = client.recv(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    running.stop(Signal::INT);
}

#[test]
fn strangers_are_not_forwarded() {
    let Some(mut running) = Running::start() else { return };
    let stranger = Ipv4Addr::new(10, 1, 0, 3);
    running
        .inside
        .run(|| {
            Links::open().unwrap().add_address("nat0", stranger.into(), 24).unwrap();
            UdpSocket::bind((stranger, 0)).unwrap().send_to(b"me too", (OUTSIDE, 9)).unwrap();
            // Answered (port unreachable), and so certainly behind the stranger's packet.
            let socket = UdpSocket::bind((INSIDE, 0)).unwrap();
            socket.connect((OUTSIDE, 9)).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            socket.send(b"me").unwrap();
            socket.recv(&mut [0; 16]).unwrap_err();
        })
        .unwrap();
    let (outward, inward) = running.stop(Signal::TERM);
    assert_eq!((count(&outward, "packets"), count(&outward, "dropped")), (1, 1), "{outward}");
    assert_eq!((count(&inward, "packets"), count(&inward, "dropped")), (1, 0), "{inward}");
}

#[test]
fn the_devices_go_with_the_program_and_it_says_when_one_went_before() {
    let Some(mut running) = Running::start() else { return };
    let has_device =
        |namespace: &Namespace| namespace.run(|| Links::open().unwrap().index("nat0")).unwrap();
    assert!(has_device(&running.inside).is_ok());
    running.inside.run(|| Links::open().unwrap().delete("nat0")).unwrap().unwrap();
    let status = running.program.wait().unwrap();
    assert_eq!(status.code(), Some(1), "a device gone is an error");
    assert!(has_device(&running.outside).is_err());
}

#[test]
fn ping_reaches_the_outside() {
    let Some(running) = Running::start() else { return };
    if !is_installed("nsenter") || !is_installed("ping") {
        return;
    }
    let output = running
        .command(&running.inside, "ping", &["-c", "3", "-i", "0.2", "-W", "5", "198.51.100.7"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn iperf3_runs_both_ways() {
    let Some(mut running) = Running::start() else { return };
    if !is_installed("nsenter") || !is_installed("iperf3") {
        return;
    }
    for (direction, extra) in [("outward", None), ("inward", Some("--reverse"))] {
        let mut server = running
            .command(&running.outside, "iperf3", &["--server", "--one-off", "--forceflush"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("listening") {}
        let output = running
            .command(&running.inside, "iperf3", &["--client", "198.51.100.7", "--time", "2"])
            .args(["--json"])
            .args(extra)
            .output()
            .unwrap();
        if !output.status.success() {
            server.kill().unwrap();
        }
        server.wait().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let received = &report["end"]["sum_received"];
        let gigabits = received["bits_per_second"].as_f64().unwrap() / 1e9;
        println!("{direction}: {gigabits:.1} Gb/s, {}", report["end"]["sum_sent"]["retransmits"]);
        assert!(received["bytes"].as_u64().unwrap() > 0);
    }
    let (outward, inward) = running.stop(Signal::TERM);
    println!("{outward}\n{inward}");
}
