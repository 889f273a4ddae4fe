//! Slices of the soak that `scripts/soak-engine` runs for as long as one likes.

use viaduct_fuzz::engine::soak::{self, Options, Tally};

fn soaked(packets: u64, workers: u32) -> Tally {
    soak::run(&Options { packets, workers, seed: 1 }, |_, _| ())
}

#[test]
fn a_crowd_s_packets_are_carried_and_nothing_is_left() {
    let tally = soaked(1_000_000, 2);
    let share = |part: u64| part * 1000 / tally.packets;
    assert!(share(tally.opened) >= 50, "{tally}");
    assert!(share(tally.hostile) >= 50, "{tally}");
    assert!(share(tally.errors) >= 10, "{tally}");
    assert!(share(tally.established) >= 600, "{tally}");
    assert_eq!((tally.packets, tally.reloads), (1_000_000, 10));
}

#[test]
fn one_worker_does_the_same_again() {
    assert_eq!(soaked(50_000, 1), soaked(50_000, 1));
}
