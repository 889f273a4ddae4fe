//! What is measured of a row, and the goals that are set for it.

use serde::Serialize;
use viaduct_bench::{Direction, Report, Window, Work};

use crate::beds::Kind;

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// Payload that arrived.
    Rate,
    /// Datagrams that arrived.
    Delivered,
    /// Requests that were answered.
    Requests,
    /// Half of the requests took no longer.
    P50,
    /// 99 of 100 requests took no longer.
    P99,
    /// The share of the datagrams sent that did not arrive.
    Loss,
    /// Processor time of the whole machine for a gigabyte of payload.
    CpuPerGigabyte,
    /// Processor time of the whole machine for a million datagrams or requests.
    CpuPerMillion,
}

impl Figure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Delivered => "delivered",
            Self::Requests => "requests",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Loss => "loss",
            Self::CpuPerGigabyte | Self::CpuPerMillion => "cpu",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Rate => "Gb/s",
            Self::Delivered => "k/s",
            Self::Requests => "k/s",
            Self::P50 | Self::P99 => "µs",
            Self::Loss => "%",
            Self::CpuPerGigabyte => "s/GB",
            Self::CpuPerMillion => "s/M",
        }
    }

    /// Whether more of it is better.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Delivered | Self::Requests)
    }
}

/// A goal: a ratio of medians to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Goal {
    pub(crate) figure: Figure,
    pub(crate) against: Kind,
    pub(crate) must: f64,
    pub(crate) stretch: f64,
}

/// How far a goal was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Judgement {
    /// And the stretch with it.
    Stretch,
    /// What must be, but not the stretch.
    Must,
    Missed,
}

impl Goal {
    pub(crate) fn judge(&self, ratio: f64) -> Judgement {
        let reached = |goal| {
            if self.figure.more_is_better() { ratio >= goal } else { ratio <= goal }
        };
        if reached(self.stretch) {
            Judgement::Stretch
        } else if reached(self.must) {
            Judgement::Must
        } else {
            Judgement::Missed
        }
    }
}

/// The figures of one measurement, the one that the row is about first.
pub(crate) fn figures(
    work: Work,
    client: &Report,
    server: &Report,
    window: Window,
) -> Vec<(Figure, f64)> {
    let seconds = window.length().as_secs_f64();
    let busy = client.busy_seconds;
    let rate = |bytes: u64| bytes as f64 * 8.0 / 1e9 / seconds;
    let per = |amount: f64| if amount > 0.0 { busy / amount } else { f64::NAN };
    let lost = || {
        let (sent, received) = (client.sent_in_all.packets, server.received_in_all.packets);
        100.0 * sent.saturating_sub(received) as f64 / (sent.max(1)) as f64
    };
    let latency = |figures: &mut Vec<(Figure, f64)>| {
        if let Some(latency) = client.latency {
            figures.push((Figure::P50, latency.p50 as f64 / 1e3));
            figures.push((Figure::P99, latency.p99 as f64 / 1e3));
        }
    };
    let requests = client.latency.map_or(0.0, |latency| latency.requests as f64);
    match work {
        Work::Streams { direction, .. } => {
            let receiver = if direction == Direction::Up { server } else { client };
            let bytes = receiver.received.bytes;
            vec![(Figure::Rate, rate(bytes)), (Figure::CpuPerGigabyte, per(bytes as f64 / 1e9))]
        }
        Work::Datagrams { .. } => {
            let packets = server.received.packets as f64;
            vec![
                (Figure::Delivered, packets / seconds / 1e3),
                (Figure::Loss, lost()),
                (Figure::CpuPerMillion, per(packets / 1e6)),
            ]
        }
        Work::Segments { .. } => {
            let bytes = server.received.bytes;
            vec![
                (Figure::Rate, rate(bytes)),
                (Figure::Loss, lost()),
                (Figure::CpuPerGigabyte, per(bytes as f64 / 1e9)),
            ]
        }
        Work::Exchanges { .. } => {
            let mut figures = Vec::new();
            latency(&mut figures);
            figures.push((Figure::Requests, requests / seconds / 1e3));
            figures.push((Figure::CpuPerMillion, per(requests / 1e6)));
            figures
        }
        Work::Connections { .. } => {
            let mut figures = vec![(Figure::Requests, requests / seconds / 1e3)];
            latency(&mut figures);
            figures.push((Figure::CpuPerMillion, per(requests / 1e6)));
            figures
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use viaduct_bench::{Count, Latency};

    #[test]
    fn a_goal_is_missed_reached_or_exceeded() {
        let more = Goal { figure: Figure::Rate, against: Kind::Nftables, must: 0.8, stretch: 0.95 };
        assert_eq!(more.judge(0.79), Judgement::Missed);
        assert_eq!(more.judge(0.80), Judgement::Must);
        assert_eq!(more.judge(0.95), Judgement::Stretch);
        let less = Goal { figure: Figure::P50, against: Kind::Nftables, must: 1.0, stretch: 0.9 };
        assert_eq!(less.judge(1.01), Judgement::Missed);
        assert_eq!(less.judge(1.0), Judgement::Must);
        assert_eq!(less.judge(0.5), Judgement::Stretch);
    }

    #[test]
    fn a_download_is_counted_where_it_arrives() {
        let window = Window { begin: 0, end: 2_000_000_000 };
        let received = Count { packets: 0, bytes: 1_000_000_000 };
        let client = Report { received, busy_seconds: 3.0, ..Report::default() };
        let work = Work::Streams { streams: 1, direction: Direction::Down };
        let figures = figures(work, &client, &Report::default(), window);
        assert_eq!(figures, [(Figure::Rate, 4.0), (Figure::CpuPerGigabyte, 3.0)]);
    }

    #[test]
    fn loss_is_told_of_all_that_was_sent() {
        let window = Window { begin: 0, end: 1_000_000_000 };
        let of = |packets| Count { packets, bytes: 64 * packets };
        let client = Report { sent_in_all: of(2000), busy_seconds: 1.0, ..Report::default() };
        let server = Report { received: of(1000), received_in_all: of(1500), ..Report::default() };
        let work = Work::Datagrams { bytes: 64, rate: None };
        let figures = figures(work, &client, &server, window);
        assert_eq!(figures[..2], [(Figure::Delivered, 1.0), (Figure::Loss, 25.0)]);
        assert!((figures[2].1 - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn latencies_are_told_in_microseconds() {
        let window = Window { begin: 0, end: 1_000_000_000 };
        let latency = Latency { requests: 10_000, p50: 50_000, p99: 90_000, p999: 100_000 };
        let client = Report { latency: Some(latency), ..Report::default() };
        let work = Work::Exchanges { clients: 1 };
        let figures = figures(work, &client, &Report::default(), window);
        assert_eq!(
            figures[..3],
            [(Figure::P50, 50.0), (Figure::P99, 90.0), (Figure::Requests, 10.0)]
        );
    }
}
