//! How hard the next port is to guess for somebody who saw all those before (RFC 6056; RFC 6888, REQ-15).
//!
//! Statistics with fixed seeds: each figure is what it is on every run, and its bound is one that true
//! randomness passes once in a thousand seeds.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;

const FIRST: u16 = 1024;
const SIZE: usize = 64_512;
const DRAWS: usize = 100_000;

/// The ports of so many connections to one destination that come and go one after the other, as offsets
/// into the range; `held` are in use all the while.
fn sequence(seed: u8, draws: usize, held: usize) -> Vec<usize> {
    let table = PortTable::new(limits(FIRST, 65_535));
    let mut random = ChaCha8Rng::from_seed([seed; 32]);
    let mut reserve =
        || table.reserve(TCP, host(1), random.next_u64(), Moment::ZERO).expect("a port is free");
    let _held: Vec<_> = (0..held).map(|_| reserve()).collect();
    (0..draws)
        .map(|_| {
            let lease = reserve();
            let port = usize::from(lease.port() - FIRST);
            lease.close();
            port
        })
        .collect()
}

/// How far the numbers in equally likely classes are from equal.
fn chi_square(classes: &[usize]) -> f64 {
    let expected = classes.iter().sum::<usize>() as f64 / classes.len() as f64;
    classes.iter().map(|&found| (found as f64 - expected).powi(2) / expected).sum()
}

// Conforms: RFC 6888 R15, RFC 7857 random port
#[test]
fn every_part_of_the_range_is_as_likely() {
    for seed in 1..=3 {
        let mut classes = [0; 64];
        sequence(seed, DRAWS, 0).into_iter().for_each(|port| classes[port * 64 / SIZE] += 1);
        let chi_square = chi_square(&classes);
        // 63 degrees of freedom: at most 103.4, but not suspiciously even either.
        assert!((32.0..103.4).contains(&chi_square), "seed {seed}: {chi_square}");
        // Odd and even ports, too: 1 degree of freedom.
        let odd = sequence(seed, DRAWS, 0).into_iter().filter(|port| port % 2 == 1).count();
        assert!(self::chi_square(&[odd, DRAWS - odd]) < 10.8, "seed {seed}: {odd} are odd");
    }
}

// Conforms: RFC 6888 R15, RFC 7857 random port
#[test]
fn a_port_tells_nothing_about_the_next() {
    for seed in 1..=3 {
        let ports = sequence(seed, DRAWS, 0);
        let mut pairs = [0; 16 * 16];
        for pair in ports.windows(2) {
            pairs[pair[0] * 16 / SIZE * 16 + pair[1] * 16 / SIZE] += 1;
        }
        // 255 degrees of freedom.
        let chi_square = chi_square(&pairs);
        assert!(chi_square < 330.5, "seed {seed}: {chi_square}");

        let mean = (SIZE - 1) as f64 / 2.0;
        let variance = (SIZE * SIZE) as f64 / 12.0;
        for lag in 1..=8 {
            let products = ports.iter().zip(&ports[lag..]);
            let sum: f64 = products.map(|(&a, &b)| (a as f64 - mean) * (b as f64 - mean)).sum();
            let correlation = sum / variance / (DRAWS - lag) as f64;
            let bound = 3.3 / (DRAWS as f64).sqrt();
            assert!(correlation.abs() < bound, "seed {seed}, lag {lag}: {correlation}");
        }
    }
}

#[test]
fn another_seed_gives_other_ports() {
    let [one, other] = [4, 5].map(|seed| sequence(seed, DRAWS, 0));
    let alike = one.iter().zip(&other).filter(|(one, other)| one == other).count();
    // 1.6 are expected.
    assert!(alike < 8, "{alike} of {DRAWS}");
    assert_eq!(one, sequence(4, DRAWS, 0), "the same seed gives the same");
}

/// A free port behind a run of taken ones is likelier than others (RFC 6056, section 3.3.1, says so of the
/// algorithm). With half of the ports taken at random, the best guess still fails more than 999 times in
/// a thousand.
#[test]
fn half_full_the_best_guess_is_still_a_bad_one() {
    let ports = sequence(6, DRAWS, SIZE / 2);
    let mut found = vec![0; SIZE];
    ports.into_iter().for_each(|port| found[port] += 1);
    let best = found.into_iter().max().unwrap_or_default();
    assert!(best < DRAWS / 1000, "one port was given {best} times of {DRAWS}");
}
