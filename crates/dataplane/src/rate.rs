//! Rates, and how much of them is used up: so many bytes, packets or connections a second.
//!
//! # Theory of operation
//!
//! A [`Bucket`] is a generic cell rate algorithm (ITU-T I.371, the one behind ATM's policing; as a
//! leaky bucket it is the same). It holds one number, the *theoretical arrival*: when the next
//! packet would come if packets were spread evenly at the rate. One that comes later finds the
//! bucket empty; one that comes earlier passes as long as it is no more than the *burst* ahead,
//! and moves the number on. So in any window no more passes than rate × window + burst, and whoever
//! keeps below the rate is never refused.
//!
//! The number counts units of the rate, not time: at 125 bytes a millisecond, a moment is its
//! milliseconds × 125. That way no packet's share is rounded. Units are bytes of a bandwidth, and
//! thousandths of what is counted by the second, so that a millisecond brings a whole number of
//! them. 2⁶⁴ units are 46 years at 100 Gb/s; past them everything passes.
//!
//! A bucket does not know its rate, which may be another after a reload. Of another rate, its
//! number means nothing: if it is further ahead than a burst and a second, which no two clocks
//! of one machine are apart, the bucket counts as empty.
//!
//! Workers share a bucket by compare-and-exchange. One whose clock is a little behind finds the
//! bucket fuller by that much, never emptier: the number does not go back.

use std::fmt;

use viaduct_topology::model::Settings;

use crate::{
    moment::Moment,
    sync::{AtomicU64, Ordering},
};

/// So much a second, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Units in a millisecond.
    per_milli: u64,
    /// Units that may come at once.
    burst: u64,
    /// Units of one byte, packet or connection.
    each: u64,
}

impl Rate {
    /// A bandwidth in Mb/s, of which 100 ms may come at once, or 256 KiB if that is more: the
    /// largest super-packet of the smallest segments stands for 229 kB and must pass, too.
    const fn megabits(number: u32) -> Self {
        let per_milli = number as u64 * 125;
        Self { per_milli, burst: at_least(per_milli * 100, 256 * 1024), each: 1 }
    }

    /// Packets a second, of which those of 100 ms may come at once, or 2,048 if that is more: a
    /// super-packet stands for up to 1,364.
    const fn packets(per_second: u32) -> Self {
        let per_milli = per_second as u64;
        Self { per_milli, burst: at_least(per_milli * 100, 2_048_000), each: 1000 }
    }

    /// Connections a second, of which those of a second may come at once.
    const fn connections(per_second: u32) -> Self {
        let per_milli = per_second as u64;
        Self { per_milli, burst: per_milli * 1000, each: 1000 }
    }
}

const fn at_least(number: u64, least: u64) -> u64 {
    if number > least { number } else { least }
}

/// The rates in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Connections of one function environment.
    pub(crate) environment_connections: Option<Rate>,
    /// Bytes from one function environment, and to it (LAM-20).
    pub(crate) environment_bytes: Option<Rate>,
    /// Connections through one Hyperplane ENI.
    pub(crate) eni_connections: Option<Rate>,
    /// Bytes through one NAT gateway (NAT-16).
    pub(crate) gateway_bytes: Option<Rate>,
    /// Packets through one NAT gateway (NAT-16).
    pub(crate) gateway_packets: Option<Rate>,
}

impl Rates {
    /// Those of these settings; none if nothing is limited, which is all that packets then look at.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let rates = Self {
            environment_connections: settings
                .environment_connections_per_second
                .map(Rate::connections),
            environment_bytes: settings.environment_bandwidth.map(Rate::megabits),
            eni_connections: settings.eni_connections_per_second.map(Rate::connections),
            gateway_bytes: settings.nat_gateway_bandwidth.map(Rate::megabits),
            gateway_packets: settings.nat_gateway_packets_per_second.map(Rate::packets),
        };
        let Self { environment_connections, environment_bytes, eni_connections, .. } = rates;
        let limited = environment_connections.or(environment_bytes).or(eni_connections);
        limited.or(rates.gateway_bytes).or(rates.gateway_packets).map(|_| rates)
    }
}

/// How much of a rate is used up.
#[derive(Default)]
pub(crate) struct Bucket(AtomicU64);

impl Bucket {
    /// Whether this `amount` of what the rate counts may pass now. If so, it is counted.
    pub(crate) fn take(&self, rate: Rate, amount: u64, now: Moment) -> bool {
        let Rate { per_milli, burst, each } = rate;
        let arrival = now.as_millis().saturating_mul(per_milli);
        let units = amount.saturating_mul(each);
        let foreign = burst + per_milli * 1000;
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |theoretical| {
                let ahead = theoretical.saturating_sub(arrival);
                let ahead = if ahead > foreign { 0 } else { ahead };
                let after = ahead.saturating_add(units);
                (after <= burst).then(|| arrival.saturating_add(after))
            })
            .is_ok()
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.0.load(Ordering::Relaxed)).finish()
    }
}

/// How much of their rates an interface that translates has used up, or all interfaces of a NAT
/// gateway together.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Connections.
    pub(crate) connections: Bucket,
    /// Bytes in both directions.
    pub(crate) bytes: Bucket,
    /// Packets in both directions.
    pub(crate) packets: Bucket,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn rate() -> impl Strategy<Value = Rate> {
        prop_oneof![
            (1..=100_000u32).prop_map(Rate::megabits),
            (1..=10_000_000u32).prop_map(Rate::packets),
            (1..=1_000_000u32).prop_map(Rate::connections),
            (1..=3u32).prop_map(Rate::connections),
        ]
    }

    /// When something comes, in milliseconds after what came before, and in how many thousandths of
    /// the burst.
    fn arrivals() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let gap = prop_oneof![3 => Just(0), 3 => 0..5u64, 2 => 0..300u64, 1 => 0..5_000u64];
        proptest::collection::vec((gap, 0..1_200u64), 1..120)
    }

    proptest! {
        #[test]
        fn no_window_lets_more_pass_than_its_rate_and_the_burst(
            rate in rate(), start in 0..1u64 << 40, arrivals in arrivals(),
        ) {
            let bucket = Bucket::default();
            let mut passed = Vec::new();
            let mut now = start;
            for (gap, share) in arrivals {
                now += gap;
                let amount = rate.burst * share / 1000 / rate.each;
                if bucket.take(rate, amount, Moment::from_millis(now)) {
                    passed.push((now, amount * rate.each));
                }
            }
            for (index, (from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (until, units) in &passed[index..] {
                    sum += units;
                    prop_assert!(sum <= rate.burst + (until - from) * rate.per_milli);
                }
            }
        }

        #[test]
        fn it_is_a_leaking_bucket_of_exact_units(rate in rate(), arrivals in arrivals()) {
            let bucket = Bucket::default();
            let (mut now, mut level) = (1_000_000u64, 0u64);
            for (gap, share) in arrivals {
                now += gap;
                level = level.saturating_sub(gap * rate.per_milli);
                let amount = rate.burst * share / 1000 / rate.each;
                let fits = level + amount * rate.each <= rate.burst;
                prop_assert_eq!(bucket.take(rate, amount, Moment::from_millis(now)), fits);
                level += if fits { amount * rate.each } else { 0 };
            }
        }

        #[test]
        fn whoever_keeps_below_the_rate_is_never_refused(
            rate in rate(), gaps in proptest::collection::vec(0..2_000u64, 1..100),
        ) {
            let bucket = Bucket::default();
            let mut now = 5_000;
            for gap in gaps {
                now += gap;
                let amount = (gap * rate.per_milli).min(rate.burst) / rate.each;
                prop_assert!(bucket.take(rate, amount, Moment::from_millis(now)));
            }
        }

        #[test]
        fn clocks_that_are_apart_gain_nothing(
            rate in rate(), arrivals in arrivals(), behind in proptest::collection::vec(0..900u64, 120),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut sum) = (10_000u64, 0);
            let earliest = now - 900;
            for ((gap, share), behind) in arrivals.into_iter().zip(behind) {
                now += gap;
                let amount = rate.burst * share / 1000 / rate.each;
                if bucket.take(rate, amount, Moment::from_millis(now - behind)) {
                    sum += amount * rate.each;
                }
                prop_assert!(sum <= rate.burst + (now - earliest) * rate.per_milli);
            }
        }

        #[test]
        fn nothing_overflows(rate in rate(), times in proptest::collection::vec(any::<u64>(), 20)) {
            let bucket = Bucket::default();
            for time in times.into_iter().chain([0, u64::MAX, u64::MAX]) {
                let now = Moment::from_millis(time);
                let _ = bucket.take(rate, 1, now);
                let refused = bucket.take(rate, u64::MAX, now);
                prop_assert!(!refused);
            }
        }
    }

    #[test]
    fn a_rate_that_is_lowered_holds_at_once() {
        let bucket = Bucket::default();
        let now = Moment::from_millis(86_400_000);
        assert!(bucket.take(Rate::megabits(100_000), 1_000_000, now));
        let low = Rate::megabits(1);
        assert!(bucket.take(low, 256 * 1024, now), "what was counted at another rate is forgotten");
        assert!(!bucket.take(low, 125, now));
        assert!(bucket.take(low, 125, now + std::time::Duration::from_millis(1)));
    }

    #[test]
    fn the_largest_super_packet_passes_at_the_lowest_rate() {
        // 65,535 bytes with headers of 120, in segments of 48.
        let segments = (65_535u64 - 120).div_ceil(48);
        let bytes = 65_535 - 120 + segments * 120;
        let now = Moment::from_millis(1);
        assert!(Bucket::default().take(Rate::megabits(1), bytes, now));
        assert!(Bucket::default().take(Rate::packets(1), segments, now));
    }

    #[test]
    fn threads_take_exactly_the_burst_between_them() {
        let (bucket, rate) = (Bucket::default(), Rate::connections(1000));
        let now = Moment::from_millis(77);
        let taken: usize = thread::scope(|scope| {
            let thread = || (0..1000).filter(|_| bucket.take(rate, 1, now)).count();
            let threads = [(); 4].map(|()| scope.spawn(thread));
            threads.map(|thread| thread.join().expect("the thread")).into_iter().sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn settings_without_a_rate_have_none() {
        let none = Settings::default();
        assert_eq!(Rates::of(&none), None);
        for limited in [
            Settings { environment_connections_per_second: Some(1), ..none },
            Settings { environment_bandwidth: Some(1), ..none },
            Settings { eni_connections_per_second: Some(1), ..none },
            Settings { nat_gateway_bandwidth: Some(1), ..none },
            Settings { nat_gateway_packets_per_second: Some(1), ..none },
        ] {
            assert!(Rates::of(&limited).is_some(), "{limited:?}");
        }
    }
}
