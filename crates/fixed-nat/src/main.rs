//! Joins two network namespaces with one hard-wired source NAT.
//!
//! The smallest program that forwards packets with viaduct's parts: `viaduct-tun` for the queues,
//! `viaduct-wire` for the packets, a constant for the policy. It is the baseline that benchmarks
//! compare the data plane with: what it costs more than this, it spends on deciding.
//!
//! A device in each namespace, a thread for each device's queue, super-packets whole:
//!
//! ```text
//!   inside namespace                                          outside namespace
//!   10.1.0.2  nat0 ══ queue ══ thread: source becomes ══ queue ══ nat0  198.51.100.1
//!                              203.0.113.10, and back
//! ```
#![forbid(unsafe_code)]

mod forward;
mod nat;

use std::{error::Error, net::Ipv4Addr, panic, process::ExitCode, thread};

use clap::Parser;
use ipnet::Ipv4Net;
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use viaduct_tun::{Device, DeviceKind, Plan, Queue, holder::set_up, netns};

use crate::{
    forward::Direction,
    nat::{FixedNat, Side},
};

/// Joins two network namespaces with one hard-wired source NAT, until SIGINT or SIGTERM.
///
/// Makes a TUN device in each, with the address given, a default route through it, and IPv6
/// turned off. The devices go when the program does.
#[derive(Parser, Debug)]
#[command(name = "fixed-nat", version)]
struct Arguments {
    /// The namespace whose host is hidden: a name, a path or a process id.
    #[arg(long, value_name = "NETNS")]
    inside_netns: String,
    /// The namespace of everybody else: a name, a path or a process id.
    #[arg(long, value_name = "NETNS")]
    outside_netns: String,
    /// The hidden host's address.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    inside_address: Ipv4Net,
    /// The outside host's address.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    outside_address: Ipv4Net,
    /// The address the outside sees instead of the hidden one.
    #[arg(long, value_name = "ADDRESS")]
    nat_address: Ipv4Addr,
    /// The name of both devices.
    #[arg(long, value_name = "NAME", default_value = "nat0")]
    device: String,
    /// The largest packet, in bytes of IP.
    #[arg(long, value_name = "BYTES", default_value_t = 1500)]
    #[arg(value_parser = clap::value_parser!(u16).range(68..))]
    mtu: u16,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fixed-nat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (_inside, inside) = end(arguments, &arguments.inside_netns, arguments.inside_address)?;
    let (_outside, outside) = end(arguments, &arguments.outside_netns, arguments.outside_address)?;
    let nat = FixedNat { inside: arguments.inside_address.addr(), outside: arguments.nat_address };
    let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    println!(
        "forwarding: {} as {} <-> {}, devices `{}` (MTU {}), offloads {:?} and {:?}",
        arguments.inside_address,
        arguments.nat_address,
        arguments.outside_address,
        arguments.device,
        arguments.mtu,
        inside.offloads(),
        outside.offloads(),
    );

    let ended = Notify::new();
    let forward = |from, to, side| {
        let direction = Direction { from, to, side, nat, mtu: arguments.mtu, stop: &stop };
        let totals = direction.run();
        ended.notify_one();
        totals
    };
    let (outward, inward) = thread::scope(|scope| {
        let outward = scope.spawn(|| forward(&inside, &outside, Side::Inside));
        let inward = scope.spawn(|| forward(&outside, &inside, Side::Outside));
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                // A direction ends by itself only when its device is gone.
                () = ended.notified() => {}
            }
        });
        // Nobody reads the eventfd, so both threads see it.
        rustix::io::write(&stop, &1_u64.to_ne_bytes())?;
        Ok::<_, Errno>((outward.join(), inward.join()))
    })?;
    for (name, totals) in [("outward", outward), ("inward", inward)] {
        let totals = totals.unwrap_or_else(|payload| panic::resume_unwind(payload))?;
        println!("{name}: {totals}");
    }
    Ok(())
}

/// One end: its device, to keep, and its queue.
fn end(
    arguments: &Arguments,
    namespace: &str,
    address: Ipv4Net,
) -> Result<(Device, Queue), Box<dyn Error>> {
    let namespace = netns::resolve(namespace)?;
    let plan = Plan {
        name: namespace.label().to_owned(),
        address: address.addr().into(),
        prefix_len: address.prefix_len(),
        further: Vec::new(),
        gateway: None,
        mtu: arguments.mtu,
        device: DeviceKind::Offload,
        forwards: false,
        hosts: Vec::new(),
    };
    let device = set_up(&namespace, &arguments.device, &plan)?;
    let queue = Queue::adopt(device.queue()?, DeviceKind::Offload)?;
    Ok((device, queue))
}
