//! What a packet may allocate: nothing, once its connection is established.

mod support;

use std::net::Ipv4Addr;

use support::{
    INSIDE, Net, SYN, tcp,
    traffic::{Numbers, Traffic},
};
use viaduct_dataplane::{
    Moment, Verdict,
    port_table::{PortLease, PortLimits, PortTable},
};
use viaduct_topology::model::PortRange;

#[test]
fn an_established_packet_allocates_nothing() {
    let mut traffic = Traffic::establish(4096);
    let mut numbers = Numbers(1);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            let verdict = traffic.send_any(numbers.next());
            assert!(matches!(verdict, Verdict::Forward { .. }));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn a_refused_packet_allocates_nothing() {
    let mut traffic = Traffic::establish(1);
    let Net { engine, scratch, now, .. } = &mut traffic.net;
    let refused = tcp((INSIDE, 9), ("10.9.9.9", 80), SYN, b"").0;
    let mut buffer = refused.clone();
    let api = viaduct_topology::inventory::AttachmentId(1);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..1000 {
            buffer.copy_from_slice(&refused);
            let verdict = engine.forward(&mut buffer, api, *now, scratch);
            assert!(matches!(verdict, Verdict::Drop(_)));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn a_packet_that_is_cut_allocates_nothing() {
    let mut traffic = Traffic::establish(1);
    let target = traffic.net.id("instance/db");
    let Net { engine, scratch, now, .. } = &mut traffic.net;
    let api = viaduct_topology::inventory::AttachmentId(1);
    engine.attached(target, 1500);
    let big = tcp((INSIDE, 9), ("10.0.2.10", 80), SYN, &[0; 4000]).without_df().0;
    let mut buffer = big.clone();
    let mut send = || {
        buffer.copy_from_slice(&big);
        let verdict = engine.forward(&mut buffer, api, *now, scratch);
        assert_eq!(verdict, Verdict::Split { target });
    };
    send();
    let allocated = allocation_counter::measure(|| (0..1000).for_each(|_| send()));
    assert_eq!(allocated.count_total, 0);
}

/// From an empty table to its last port, whatever the destinations: a reservation allocates nothing, or
/// grows one table of destinations or one destination's set. That its search is as short at the end as at
/// the beginning is what the bench `state` shows, by tenths.
#[test]
fn a_reservation_allocates_a_bounded_number_of_times() {
    const PORTS: u32 = 64_512;
    let limits = PortLimits {
        ports: PortRange { first: 1024, last: 65_535 },
        connections: None,
        per_destination: None,
    };
    for destinations in [1, 100, PORTS] {
        let (table, mut numbers) = (PortTable::new(limits), Numbers(1));
        let mut leases: Vec<PortLease> = Vec::with_capacity(PORTS as usize);
        for number in 0..PORTS {
            let destination = (Ipv4Addr::from_bits(number % destinations), 443);
            let allocated = allocation_counter::measure(|| {
                let lease = table.reserve(6, destination, numbers.next(), Moment::ZERO);
                leases.push(lease.expect("a port is free"));
            });
            // The first of all makes the protocol and its space, too.
            let most = if number == 0 { 5 } else { 2 };
            let count = allocated.count_total;
            assert!(count <= most, "{count} for port {number}, {destinations} destinations");
        }
        let late = allocation_counter::measure(|| {
            let refused = table.reserve(6, (Ipv4Addr::from_bits(0), 443), 0, Moment::ZERO);
            assert_eq!(refused.is_err(), destinations == 1);
        });
        assert!(late.count_total <= 2, "{late:?}");
    }
}
