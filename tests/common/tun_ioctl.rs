//! What the owner of a queue can do to it: the TUN driver's ioctls (linux/if_tun.h), made by Python, so that
//! tests stay free of `unsafe`.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::{
    os::fd::AsFd,
    process::{Command, Stdio},
};

pub(crate) const TUNSETIFF: u32 = 0x4004_54ca;
pub(crate) const TUNSETOFFLOAD: u32 = 0x4004_54d0;
pub(crate) const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
pub(crate) const TUNSETQUEUE: u32 = 0x4004_54d9;

pub(crate) const IFF_TUN: u16 = 0x0001;
pub(crate) const IFF_TAP: u16 = 0x0002;
pub(crate) const IFF_MULTI_QUEUE: u16 = 0x0100;
pub(crate) const IFF_ATTACH_QUEUE: u16 = 0x0200;
pub(crate) const IFF_DETACH_QUEUE: u16 = 0x0400;
pub(crate) const IFF_NO_PI: u16 = 0x1000;
pub(crate) const IFF_VNET_HDR: u16 = 0x4000;

/// Makes an ioctl on a queue, with an argument as Python writes it.
pub(crate) fn ioctl(queue: impl AsFd, request: u32, argument: &str) {
    let program = format!("import fcntl, struct; fcntl.ioctl(0, {request}, {argument})");
    let python = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::from(queue.as_fd().try_clone_to_owned().unwrap()))
        .status();
    match python {
        Ok(status) => assert!(status.success(), "python3: {status}"),
        Err(error) => panic!("python3 is needed for ioctls: {error}"),
    }
}

/// A `struct ifreq` with these flags and no name.
pub(crate) fn queue_flags(flags: u16) -> String {
    format!("struct.pack('16xH22x', {flags})")
}
