//! The counters in Prometheus's text format.

use std::fmt::{Display, Write as _};

use viaduct_client::{Counters, Status};

/// All metrics, each with its help and type.
pub(super) fn text(status: &Status, counters: &Counters, connections: usize) -> String {
    let mut text = Text(String::new());
    text.head("build_info", "gauge", "What runs: always 1.");
    let commit = status.commit.as_deref().unwrap_or_default();
    let version = &status.version;
    text.line(&format!("build_info{{version=\"{version}\",commit=\"{commit}\"}}"), 1);
    text.counter("forwarded_packets", "Packets forwarded.", counters.forwarded_packets);
    text.counter("forwarded_bytes", "IP bytes forwarded.", counters.forwarded_bytes);
    text.counter(
        "answered_packets",
        "Packets answered instead of forwarded.",
        counters.answered_packets,
    );
    text.counter(
        "reassembled_fragments",
        "Fragments of datagrams put together.",
        counters.reassembled_fragments,
    );
    text.counter(
        "reassembled_datagrams",
        "Datagrams put together.",
        counters.reassembled_datagrams,
    );
    text.counter("fragmented_packets", "Packets cut, as too big.", counters.fragmented_packets);
    text.counter("sent_fragments", "What they were cut into.", counters.sent_fragments);
    text.head("dropped_packets_total", "counter", "Packets dropped, by reason.");
    for (reason, packets) in &counters.dropped_packets {
        text.line(&format!("dropped_packets_total{{reason=\"{reason}\"}}"), packets);
    }
    text.counter(
        "overflowed_frames",
        "Frames a device had no room for.",
        counters.overflowed_frames,
    );
    text.counter(
        "throttled_frames",
        "Frames for hosts that receive too slowly.",
        counters.throttled_frames,
    );
    text.counter("drop_events_lost", "Drop events not kept.", counters.drop_events_lost);
    text.counter("connections_opened", "Connections made.", counters.connections_opened);
    text.counter("connections_ended", "Connections closed or expired.", counters.connections_ended);
    text.counter(
        "connections_resumed",
        "Connections of the daemon before that go on, among those made.",
        counters.connections_resumed,
    );
    text.counter(
        "connections_lost",
        "Connections of the daemon before that could not go on.",
        counters.connections_lost,
    );
    text.gauge("connections", "Connections at this moment.", connections);
    text.gauge("attachments_declared", "Hosts in the topology.", status.attachments.declared);
    text.gauge("attachments_attached", "Hosts with a queue.", status.attachments.attached);
    text.gauge("workers", "Packet threads.", status.workers);
    text.gauge("generation", "Policies that were in force so far.", status.generation);
    text.0
}

struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        self.line(&name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP viaduct_{name} {help}\n# TYPE viaduct_{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, value: impl Display) {
        self.write(format_args!("viaduct_{name} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use viaduct_client::AttachmentCount;

    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let status = Status {
            version: "0.1.0".to_owned(),
            commit: Some("66d9527a1b2c".to_owned()),
            pid: 1,
            ready: true,
            uptime_ms: 0,
            topology: "file.yaml".into(),
            generation: 7,
            workers: 2,
            device: "offload".to_owned(),
            attach_socket: "attach.sock".into(),
            attachments: AttachmentCount { declared: 3, attached: 2 },
            failed_zones: Vec::new(),
        };
        let mut counters = Counters { forwarded_packets: 5, ..Counters::default() };
        counters.dropped_packets.insert("V2N_ONE_WAY".to_owned(), 9);
        let text = text(&status, &counters, 11);
        for line in text.lines() {
            let sample = line.rsplit_once(' ').is_some_and(|(name, value)| {
                name.starts_with("viaduct_") && value.parse::<u64>().is_ok()
            });
            assert!(line.starts_with("# ") || sample, "{line}");
        }
        let build = "viaduct_build_info{version=\"0.1.0\",commit=\"66d9527a1b2c\"} 1\n";
        assert!(text.contains(build), "{text}");
        assert!(text.contains("viaduct_forwarded_packets_total 5\n"));
        assert!(text.contains("viaduct_dropped_packets_total{reason=\"V2N_ONE_WAY\"} 9\n"));
        assert!(text.contains("viaduct_connections 11\n"));
    }
}
