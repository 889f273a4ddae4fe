//! A guest that lies in its virtio-net header, through a packet socket on its own device.
//!
//! The header asks the receiving kernel to finish a checksum, wherever it says: believed, it would
//! let a guest have any two bytes of a packet rewritten after the policy had been checked.

mod common;

use std::{
    num::NonZeroU32,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use common::{LIMIT, Lab, has, permitted, repository, said};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{AddressFamily, Protocol, SocketFlags, SocketType},
};

/// Sends each forgery once, prints how many the guest's own kernel let through, and sends an
/// honest datagram at the end.
const GUEST: &str = r#"
import socket, struct, sys

SOL_PACKET, PACKET_VNET_HDR = 263, 15
NEEDS_CSUM, GSO_TCPV4, GSO_UDP, GSO_UDP_L4, ECN = 1, 1, 3, 5, 0x80
SOURCE, DESTINATION, PORT = "169.254.100.2", "10.0.1.10", 7000

def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def ip(protocol, payload, total=None):
    total = 20 + len(payload) if total is None else total
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, total, 1, 0x4000, 64, protocol, 0,
                         socket.inet_aton(SOURCE), socket.inet_aton(DESTINATION))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload

def pseudo(protocol, length):
    return socket.inet_aton(SOURCE) + socket.inet_aton(DESTINATION) + struct.pack("!BBH", 0, protocol, length)

def udp(payload):
    header = struct.pack("!HHHH", 40000, PORT, 8 + len(payload), 0)
    value = checksum(pseudo(17, 8 + len(payload)) + header + payload) or 0xffff
    return header[:6] + struct.pack("!H", value) + payload

def tcp(payload):
    header = struct.pack("!HHIIBBHHH", 40001, PORT, 1, 0, 0x50, 0x02, 65535, 0, 0)
    value = checksum(pseudo(6, 20 + len(payload)) + header + payload)
    return header[:16] + struct.pack("!H", value) + header[18:] + payload

def vnet(flags=0, gso=0, hdr_len=0, gso_size=0, start=0, offset=0):
    return struct.pack("=BBHHHH", flags, gso, hdr_len, gso_size, start, offset)

data = b"x" * 64
forged = [
    # The checksum "field" is the destination port.
    vnet(NEEDS_CSUM, start=20, offset=2) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=20, offset=2) + ip(6, tcp(data)),
    # It is the source port, an address, the payload, beyond the packet.
    vnet(NEEDS_CSUM, start=20, offset=0) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=0, offset=16) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=28, offset=6) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=20, offset=16) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=200, offset=6) + ip(17, udp(data)),
    vnet(NEEDS_CSUM, start=65535, offset=65535) + ip(17, udp(data)),
    # Segments of one byte, of another protocol, of a type that is none.
    vnet(NEEDS_CSUM, GSO_UDP_L4, 28, 1, 20, 6) + ip(17, udp(b"y" * 4000)),
    vnet(NEEDS_CSUM, GSO_TCPV4, 40, 1, 20, 16) + ip(6, tcp(b"y" * 4000)),
    vnet(NEEDS_CSUM, GSO_TCPV4, 40, 1000, 20, 16) + ip(17, udp(b"y" * 4000)),
    vnet(NEEDS_CSUM, GSO_UDP_L4 | ECN, 28, 1000, 20, 6) + ip(6, tcp(b"y" * 4000)),
    vnet(0, 99, 0, 1000) + ip(17, udp(b"y" * 4000)),
    # Lengths beyond the packet.
    vnet() + ip(17, udp(data), total=4000),
    vnet() + ip(17, struct.pack("!HHHH", 40000, PORT, 4000, 0) + data),
    vnet() + b"\x4f" + ip(17, udp(data))[1:24],
]

guest = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
guest.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
guest.bind(("eth0", 0x0800))
sent = 0
for frame in forged:
    try:
        guest.send(frame)
        sent += 1
    except OSError:
        pass  # this kernel does not even take it
print(sent)
guest.send(vnet() + ip(17, udp(b"honest")))
"#;

#[test]
fn a_forged_header_changes_no_port() {
    if !permitted() || !has("python3") {
        return;
    }
    let lab = Lab::of_file("forged", &repository("config/hundred.yaml"));
    let arrivals = [(17, raw_socket(&lab, 17)), (6, raw_socket(&lab, 6))];
    let _server = lab
        .namespace("instance/server")
        .run(|| std::net::UdpSocket::bind("0.0.0.0:7000"))
        .unwrap()
        .unwrap();

    let output = lab.exec("function/worker/1", &["python3", "-c", GUEST]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let sent: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(sent >= 5, "only {sent} forgeries left the guest: this tries nothing");

    let mut honest = false;
    let deadline = Instant::now() + LIMIT;
    while !honest && Instant::now() < deadline {
        for (protocol, socket) in &arrivals {
            for packet in packets(socket) {
                let transport = usize::from(packet[0] & 15) * 4;
                let port = u16::from_be_bytes([packet[transport + 2], packet[transport + 3]]);
                assert_eq!(port, 7000, "protocol {protocol}: {packet:02x?}");
                assert_eq!(packet[12..16], [10, 0, 0, 4], "not translated: {packet:02x?}");
                honest |= packet.ends_with(b"honest");
            }
        }
    }
    assert!(honest, "the honest datagram did not arrive");

    let counters = lab.get("counters");
    let dropped = |reason| lab.dropped(reason);
    let counted = dropped("BAD_OFFLOAD_HEADER") + dropped("MALFORMED_PACKET");
    assert!(dropped("BAD_OFFLOAD_HEADER") > 0, "{counters:#}");
    // Some the guest's own driver cannot put into a header, and drops.
    let undone = lab.namespace("function/worker/1").run(transmit_drops).unwrap();
    println!("{sent} forgeries sent, {undone} dropped by the driver, {counted} by the daemon");
    assert_eq!(counted + undone, sent, "{counters:#}");
    assert_eq!(counters["forwarded_packets"], 1, "more than the honest one: {counters:#}");
}

/// Packets that the driver of `eth0` dropped instead of handing them to the daemon.
fn transmit_drops() -> u64 {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let eth0 = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    // Eight columns of what came in; then bytes, packets, errors and drops of what went out.
    eth0.split_whitespace().nth(8 + 3).unwrap().parse().unwrap()
}

/// Shows every packet of a protocol that reaches the server, whatever its port.
fn raw_socket(lab: &Lab, protocol: u32) -> OwnedFd {
    let protocol = Protocol::from_raw(NonZeroU32::new(protocol).unwrap());
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    lab.namespace("instance/server")
        .run(|| {
            rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(protocol))
        })
        .unwrap()
        .unwrap()
}

fn packets(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let wait = Timespec::try_from(Duration::from_millis(20)).unwrap();
    let _ = rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&wait));
    let mut found = Vec::new();
    let mut buffer = vec![0; 70_000];
    while let Ok(length) = rustix::io::read(socket, &mut buffer) {
        found.push(buffer[..length].to_vec());
    }
    found
}
