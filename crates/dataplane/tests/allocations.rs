//! What a packet may allocate: nothing, once its connection is established.

mod support;

use support::{
    INSIDE, Net, SYN, tcp,
    traffic::{Numbers, Traffic},
};
use viaduct_dataplane::Verdict;

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
