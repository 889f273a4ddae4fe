//! What the threads of one side count together, read at both ends of the window.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
};

use viaduct_bench::{Count, Report, Window, machine, window::sleep_until};

use crate::Result;

/// Packets and bytes in one direction.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, packets: u64, bytes: usize) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Count {
        Count {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

/// What was counted and how much the processors worked, at one moment.
struct Look {
    sent: Count,
    received: Count,
    busy_seconds: f64,
}

impl Tally {
    /// Waits until the window is over, and reports what was counted in it.
    pub(crate) fn watch(&self, window: Window) -> Result<Report> {
        sleep_until(window.begin);
        let before = self.look()?;
        sleep_until(window.end);
        let after = self.look()?;
        Ok(Report {
            sent: difference(after.sent, before.sent),
            received: difference(after.received, before.received),
            busy_seconds: after.busy_seconds - before.busy_seconds,
            ..Report::default()
        })
    }

    /// Adds what was counted in all, once every thread has ended.
    pub(crate) fn complete(&self, report: &mut Report) {
        report.sent_in_all = self.sent.read();
        report.received_in_all = self.received.read();
    }

    fn look(&self) -> Result<Look> {
        let busy_seconds = machine::busy_seconds().map_err(|error: io::Error| error.to_string())?;
        Ok(Look { sent: self.sent.read(), received: self.received.read(), busy_seconds })
    }
}

fn difference(after: Count, before: Count) -> Count {
    Count { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
}

/// Where packets or connections came from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    seen: BTreeMap<Ipv4Addr, u64>,
    /// The last one and how often it came in a row: a look-up for each datagram would cost more than
    /// receiving it.
    last: Option<(Ipv4Addr, u64)>,
}

impl Sources {
    pub(crate) fn add(&mut self, source: Ipv4Addr) {
        match &mut self.last {
            Some((last, times)) if *last == source => *times += 1,
            last => {
                let before = last.replace((source, 1));
                self.keep(before);
            }
        }
    }

    pub(crate) fn into_map(mut self) -> BTreeMap<Ipv4Addr, u64> {
        let last = self.last.take();
        self.keep(last);
        self.seen
    }

    fn keep(&mut self, run: Option<(Ipv4Addr, u64)>) {
        if let Some((source, times)) = run {
            *self.seen.entry(source).or_default() += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_counted_between_the_two_looks_is_reported() {
        let tally = Tally::default();
        tally.sent.add(1, 100);
        let window = Window::after(std::time::Duration::ZERO, std::time::Duration::ZERO);
        let mut report = tally.watch(window).unwrap();
        assert_eq!(report.sent, Count::default());
        tally.complete(&mut report);
        assert_eq!(report.sent_in_all, Count { packets: 1, bytes: 100 });
    }

    #[test]
    fn every_source_is_counted() {
        let mut sources = Sources::default();
        for last in [1, 1, 2, 1] {
            sources.add(Ipv4Addr::new(10, 0, 0, last));
        }
        let counts: Vec<u64> = sources.into_map().into_values().collect();
        assert_eq!(counts, [3, 1]);
        assert!(Sources::default().into_map().is_empty());
    }
}
