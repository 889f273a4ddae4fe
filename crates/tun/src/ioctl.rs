//! The TUN driver's `ioctl`s, typed.
//!
//! No crate in the tree types them, so this file must be `unsafe`: an `ioctl` is a request number
//! and a pointer, and only the driver (linux, drivers/net/tun.c, `__tun_chr_ioctl`) says what
//! it points to. Numbers and layouts are from include/uapi/linux/if_tun.h and if.h.
//!
//! All of them except `TUNSETIFF` work without any capability on a queue that is attached, and
//! answer EBADFD on one that is not. All take the kernel's global RTNL lock, which teardown of
//! many namespaces can hold for tens of milliseconds: none belongs on a packet path.

#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::{
    io,
    ioctl::{Getter, IntegerSetter, Opcode, Setter, Updater, ioctl, opcode},
};

/// `IFF_TUN`: layer 3, no Ethernet header.
pub(crate) const IFF_TUN: u16 = 0x0001;
/// `IFF_TAP`: layer 2.
pub(crate) const IFF_TAP: u16 = 0x0002;
/// `IFF_MULTI_QUEUE`: the device may have more than one queue.
pub(crate) const IFF_MULTI_QUEUE: u16 = 0x0100;
/// `IFF_DETACH_QUEUE`: in the answer of `TUNGETIFF`, this queue is detached from its device.
pub(crate) const IFF_DETACH_QUEUE: u16 = 0x0400;
/// `IFF_PERSIST`: in the answer of `TUNGETIFF`, the device outlives its queues.
pub(crate) const IFF_PERSIST: u16 = 0x0800;
/// `IFF_NO_PI`: no four-byte packet information in front of each packet. `TUNGETIFF` shows the
/// same bit for "no socket filter" (`IFF_NOFILTER`), so reading it back proves nothing.
pub(crate) const IFF_NO_PI: u16 = 0x1000;
/// `IFF_VNET_HDR`: a virtio-net header in front of each packet.
pub(crate) const IFF_VNET_HDR: u16 = 0x4000;
/// `IFF_TUN_EXCL`: fail with EBUSY rather than attach to a device that exists.
pub(crate) const IFF_TUN_EXCL: u16 = 0x8000;

/// `TUN_F_CSUM`: this side takes packets whose checksum is not complete. All others need it.
pub(crate) const TUN_F_CSUM: u32 = 0x01;
/// `TUN_F_TSO4`: this side takes TCP/IPv4 super-packets.
pub(crate) const TUN_F_TSO4: u32 = 0x02;
/// `TUN_F_TSO6`: this side takes TCP/IPv6 super-packets.
pub(crate) const TUN_F_TSO6: u32 = 0x04;
/// `TUN_F_TSO_ECN`: this side takes TCP super-packets with ECN's CWR bit.
pub(crate) const TUN_F_TSO_ECN: u32 = 0x08;
/// `TUN_F_USO4`: this side takes UDP/IPv4 super-packets (Linux 6.2).
pub(crate) const TUN_F_USO4: u32 = 0x20;
/// `TUN_F_USO6`: this side takes UDP/IPv6 super-packets (Linux 6.2). The kernel takes USO only
/// as a pair.
pub(crate) const TUN_F_USO6: u32 = 0x40;

/// `IFNAMSIZ`, with the terminating zero.
const NAME_SIZE: usize = 16;

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const TUNGETIFF: Opcode = opcode::read::<u32>(b'T', 210);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<i32>(b'T', 216);
const TUNSETVNETLE: Opcode = opcode::write::<i32>(b'T', 220);
const TUNSETVNETBE: Opcode = opcode::write::<i32>(b'T', 222);

/// All that are made on queues of others: every one but `TUNSETIFF`.
pub(crate) const ON_QUEUES: [Opcode; 5] =
    [TUNSETOFFLOAD, TUNGETIFF, TUNSETVNETHDRSZ, TUNSETVNETLE, TUNSETVNETBE];

/// `struct ifreq`, as far as the driver uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_SIZE],
    flags: u16,
    /// The rest of the union, whose largest member is `struct ifmap` (24 bytes).
    rest: [u8; 22],
}

/// Creates or joins device `name` (`TUNSETIFF`), and returns the name the kernel gave it.
pub(crate) fn attach(tun: impl AsFd, name: &str, flags: u16) -> io::Result<String> {
    let mut request = InterfaceRequest { name: [0; NAME_SIZE], flags, rest: [0; 22] };
    if name.len() >= NAME_SIZE {
        return Err(io::Errno::NAMETOOLONG);
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `InterfaceRequest` lays out in
    // full (40 bytes on 64-bit); it lives across the call.
    unsafe { ioctl(tun, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }?;
    Ok(text(&request.name))
}

/// The name and flags of the device the queue belongs to (`TUNGETIFF`).
pub(crate) fn device(queue: impl AsFd) -> io::Result<(String, u16)> {
    // SAFETY: TUNGETIFF, whatever its encoded size says, writes one `struct ifreq`; every bit
    // pattern is a valid `InterfaceRequest`.
    let request = unsafe { ioctl(queue, Getter::<TUNGETIFF, InterfaceRequest>::new()) }?;
    Ok((text(&request.name), request.flags))
}

/// Which packets may be handed to this side unfinished (`TUNSETOFFLOAD`, a set of `TUN_F_*`).
pub(crate) fn set_offloads(queue: impl AsFd, offloads: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    unsafe { ioctl(queue, IntegerSetter::<TUNSETOFFLOAD>::new_usize(offloads as usize)) }
}

/// Sets the length of the virtio-net header (`TUNSETVNETHDRSZ`).
pub(crate) fn set_header_len(queue: impl AsFd, len: i32) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    unsafe { ioctl(queue, Setter::<TUNSETVNETHDRSZ, i32>::new(len)) }
}

/// Makes the fields of the virtio-net header native-endian (`TUNSETVNETLE`, `TUNSETVNETBE`).
pub(crate) fn set_native_endian(queue: impl AsFd) -> io::Result<()> {
    // SAFETY: TUNSETVNETLE reads one `int`.
    unsafe { ioctl(&queue, Setter::<TUNSETVNETLE, i32>::new(0)) }?;
    // SAFETY: TUNSETVNETBE reads one `int`.
    match unsafe { ioctl(&queue, Setter::<TUNSETVNETBE, i32>::new(0)) } {
        // A kernel without CONFIG_TUN_VNET_CROSS_LE has no such switch, and nothing to undo.
        Err(io::Errno::INVAL) => Ok(()),
        answer => answer,
    }
}

/// The text of a C string in a fixed array.
fn text(name: &[u8; NAME_SIZE]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}
