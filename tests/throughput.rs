//! Bulk data: it travels in super-packets, is not sent twice, and arrives as it was sent.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    sync::mpsc,
};

use common::{Killed, LIMIT, Lab, has, permitted, repository, said};
use serde_json::Value;

const SERVER: &str = "10.0.1.10";

/// What counts as a read of a super-packet, in bytes.
const LARGE: usize = 16 * 1024;

/// How much is sent where the content is compared.
const CHECKED: usize = 32 << 20;

fn lab(scenario: &str) -> Lab {
    Lab::of_file(scenario, &repository("config/hundred.yaml"))
}

#[derive(Debug, Default)]
struct Reads {
    bytes: usize,
    in_large: usize,
    damaged: bool,
}

/// Reads to the end, and compares with what [`send`] sends.
fn receive(mut stream: TcpStream) -> Reads {
    let mut buffer = vec![0; 1 << 20];
    let mut reads = Reads::default();
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let expected = (reads.bytes..).map(content);
        reads.damaged |=
            buffer[..length].iter().zip(expected).any(|(byte, expected)| *byte != expected);
        reads.bytes += length;
        if length > LARGE {
            reads.in_large += length;
        }
    }
    reads
}

fn send(stream: &mut TcpStream) {
    let mut position = 0;
    while position < CHECKED {
        let block: Vec<u8> = (position..position + (1 << 20)).map(content).collect();
        stream.write_all(&block).unwrap();
        position += block.len();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
}

/// The byte at a position: never the same for two 64 KiB blocks, so that blocks that change
/// places are noticed as well.
fn content(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// One transfer in each direction, over one connection each.
fn transfer(lab: &Lab, port: u16) -> [Reads; 2] {
    let (uploads, uploaded) = mpsc::channel();
    let listener = lab.listen("instance/server", port);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        uploads.send(receive(stream)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        send(&mut stream);
    });
    let address = format!("{SERVER}:{port}");
    send(&mut lab.connect("function/worker/1", &address).unwrap());
    let upload = uploaded.recv_timeout(LIMIT).expect("the upload ends");
    let download = receive(lab.connect("function/worker/1", &address).unwrap());
    [upload, download]
}

#[test]
fn bulk_data_arrives_whole_and_in_large_reads() {
    if !permitted() {
        return;
    }
    let lab = lab("bulk");
    for reads in transfer(&lab, 7001) {
        assert_eq!(reads.bytes, CHECKED);
        assert!(!reads.damaged);
        assert!(reads.in_large * 10 >= reads.bytes * 9, "{reads:?}");
    }
}

#[test]
fn nothing_is_corrupt_without_checksum_offload() {
    if !permitted() || !has("ethtool") {
        return;
    }
    let lab = lab("checksums");
    // The sender's kernel completes every checksum and cuts its own segments; the receiver's
    // verifies what the rewriting made of them.
    for host in ["function/worker/1", "instance/server"] {
        let off = ["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off"];
        let output = lab.exec(host, &off).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    for reads in transfer(&lab, 7002) {
        assert_eq!(reads.bytes, CHECKED);
        assert!(!reads.damaged);
    }
    let errors = lab.exec("instance/server", &["cat", "/proc/net/snmp"]).output().unwrap();
    let snmp = String::from_utf8_lossy(&errors.stdout).into_owned();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, mut values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let column = names.clone().position(|name| name == "InCsumErrors").unwrap();
    assert_eq!(values.nth(column), Some("0"), "{snmp}");
}

#[test]
fn hardly_anything_is_sent_twice() {
    if !permitted() || !has("iperf3") {
        return;
    }
    let lab = lab("iperf");
    for (port, direction) in [("7003", &[][..]), ("7004", &["--reverse"])] {
        let server = lab
            .exec("instance/server", &["iperf3", "--server", "--one-off", "--port", port])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let _server = Killed(server);
        let mut client =
            ["iperf3", "--json", "--time", "5", "--client", SERVER, "--port", port].to_vec();
        client.extend(direction);
        // It has no way to say that it listens; a client that comes too early is refused, and with
        // --json says so nowhere but there.
        let report: Value = common::eventually(|| {
            let output = lab.exec("function/worker/2", &client).output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            report.get("error").is_none().then_some(report)
        })
        .expect("iperf3 gets through");
        let sent = |what: &str| {
            let number = report["end"]["sum_sent"][what].as_f64();
            number.unwrap_or_else(|| panic!("no {what} in {report:#}"))
        };
        let (bytes, retransmits) = (sent("bytes"), sent("retransmits"));
        // Retransmits are counted in segments; none is larger than the path allows (MTU-01).
        let segments = bytes / 8949.0;
        println!("{:.2} Gb/s, {retransmits} retransmits", sent("bits_per_second") / 1e9);
        assert!(retransmits <= segments * 0.001, "{retransmits} of {segments} segments");
    }
}
