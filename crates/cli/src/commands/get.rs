//! `viaduct get`: what a running daemon has and did.

use clap::{Args, ValueEnum};
use serde::Serialize;
use viaduct_client::{
    Attachment, Client, Connection, ConnectionsQuery, Counters, DropEvent, DropsQuery, Eni, Event,
    Function, Status, Version,
};

use crate::{
    daemon::Which,
    exit::{Answer, Failure, Outcome},
    output, signals,
    table::{Table, or_dash},
};

/// How long one question about drops waits for an answer, in milliseconds.
const FOLLOW_MS: u64 = 30_000;

/// Show what a running daemon has and did
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to show
    #[arg(value_enum)]
    what: What,

    #[command(flatten)]
    daemon: Which,

    /// Only connections that this host opened
    #[arg(long, value_name = "HOST")]
    from: Option<String>,

    /// At most so many connections
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Go on and print each drop or event when it happens
    #[arg(long, visible_alias = "watch")]
    follow: bool,

    /// Print it as JSON; with --follow, an event a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The daemon itself, and how far it is
    Status,
    /// The functions and how many of their environments are attached
    Functions,
    /// The functions' published versions, each with `$LATEST`
    Versions,
    /// What has happened to functions and their ENIs
    Events,
    /// The network interfaces, who uses each and what keeps it
    Enis,
    /// The hosts, attached or not
    Attachments,
    /// The connections of this moment
    Connections,
    /// What was forwarded and what was dropped since the start
    Counters,
    /// The packets that were dropped last, each with the reason
    Drops,
}

impl Get {
    pub(crate) fn run(self) -> Outcome {
        let socket = self.daemon.socket()?;
        signals::block_on(async {
            let client = Client::connect(&socket).await?;
            match self.what {
                What::Status => self.show(&client.status().await?, status),
                What::Functions => self.show(&client.functions().await?, functions),
                What::Versions => self.show(&client.versions().await?, versions),
                What::Events => self.events(&client).await,
                What::Enis => self.show(&client.enis().await?, enis),
                What::Attachments => self.show(&client.attachments().await?, attachments),
                What::Connections => {
                    let query =
                        ConnectionsQuery { limit: self.limit, attachment: self.from.clone() };
                    self.show(&client.connections(&query).await?, connections)
                }
                What::Counters => self.show(&client.counters().await?, counters),
                What::Drops => self.drops(&client).await,
            }?;
            Ok(Answer::Yes)
        })
    }

    fn show<T: Serialize>(
        &self,
        value: &T,
        as_text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json { output::json(value) } else { output::text(&as_text(value)) }
    }

    /// Prints further events, each in a line of its own.
    fn go_on<T: Serialize>(
        &self,
        events: &[T],
        line: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        for event in events {
            if self.json {
                output::json_line(event)?;
            } else {
                output::text(&format!("{}\n", line(event)))?;
            }
        }
        Ok(())
    }

    async fn events(&self, client: &Client) -> Result<(), Failure> {
        let mut answer = client.events(DropsQuery::default()).await?;
        if !self.follow {
            return self.show(&answer.events, |events| self::events(events));
        }
        loop {
            self.go_on(&answer.events, |event| {
                format!("{}  {}", seconds(event.time_ms), event.what)
            })?;
            let query = DropsQuery { after: answer.next, wait_ms: FOLLOW_MS };
            answer = client.events(query).await?;
        }
    }

    async fn drops(&self, client: &Client) -> Result<(), Failure> {
        let mut answer = client.drops(DropsQuery::default()).await?;
        if !self.follow {
            return self.show(&answer.events, |events| drops(events));
        }
        loop {
            if answer.lost > 0 {
                output::say(format_args!("{} events were not kept", answer.lost));
            }
            self.go_on(&answer.events, |event| drop_line(event).join("  "))?;
            let query = DropsQuery { after: answer.next, wait_ms: FOLLOW_MS };
            answer = client.drops(query).await?;
        }
    }
}

fn status(status: &Status) -> String {
    let Status { version, commit, pid, ready, uptime_ms, .. } = status;
    let Status { topology, generation, workers, device, .. } = status;
    let mut table = Table::new(&["daemon", ""]);
    table.row(["version".to_owned(), version.clone()]);
    table.row(["commit".to_owned(), or_dash(commit.as_ref())]);
    table.row(["process".to_owned(), pid.to_string()]);
    table.row(["ready".to_owned(), if *ready { "yes" } else { "no" }.to_owned()]);
    table.row(["up".to_owned(), seconds(*uptime_ms)]);
    table.row(["topology".to_owned(), topology.display().to_string()]);
    table.row(["generation".to_owned(), generation.to_string()]);
    table.row(["workers".to_owned(), workers.to_string()]);
    table.row(["devices".to_owned(), device.clone()]);
    let count = status.attachments;
    table.row(["attached".to_owned(), format!("{} of {}", count.attached, count.declared)]);
    if !status.failed_zones.is_empty() {
        table.row(["failed zones".to_owned(), status.failed_zones.join(", ")]);
    }
    table.to_string()
}

fn functions(functions: &Vec<Function>) -> String {
    let mut table = Table::new(&[
        "function",
        "account",
        "state",
        "last update",
        "environments",
        "subnets",
        "security groups",
        "enis",
    ]);
    for function in functions {
        let count = function.environments;
        table.row([
            function.name.clone(),
            function.account.clone(),
            with_code(&function.state, function.state_reason_code.as_ref()),
            with_code(
                &function.last_update_status,
                function.last_update_status_reason_code.as_ref(),
            ),
            format!("{}/{}", count.attached, count.declared),
            subnets(&function.subnets),
            list(&function.security_groups),
            list(&function.enis),
        ]);
    }
    table.to_string()
}

/// The subnets of a function; without any it is of no VPC.
fn subnets(subnets: &[String]) -> String {
    if subnets.is_empty() { "no VPC".to_owned() } else { subnets.join(",") }
}

fn list(names: &[String]) -> String {
    or_dash((!names.is_empty()).then(|| names.join(",")))
}

fn enis(enis: &Vec<Eni>) -> String {
    let mut table = Table::new(&[
        "eni",
        "kind",
        "owner",
        "private ip",
        "public ip",
        "ports in use",
        "capacity",
        "state",
        "cannot be deleted",
    ]);
    for eni in enis {
        table.row([
            eni.id.clone(),
            word(&eni.kind),
            eni.owner.clone(),
            eni.private_ip.to_string(),
            or_dash(eni.public_ip),
            or_dash(eni.connections),
            or_dash(eni.capacity),
            or_dash(eni.state.as_ref().map(word)),
            or_dash(eni.held_by.as_ref()),
        ]);
    }
    table.to_string()
}

fn versions(versions: &Vec<Version>) -> String {
    let mut table =
        Table::new(&["function", "version", "account", "state", "subnets", "groups", "enis"]);
    for version in versions {
        table.row([
            version.function.clone(),
            version.version.clone(),
            version.account.clone(),
            with_code(&version.state, version.state_reason_code.as_ref()),
            subnets(&version.subnets),
            list(&version.security_groups),
            list(&version.enis),
        ]);
    }
    table.to_string()
}

fn events(events: &[Event]) -> String {
    let mut table = Table::new(&["at", "what"]);
    for event in events {
        table.row([seconds(event.time_ms), event.what.clone()]);
    }
    table.to_string()
}

/// A state, and its reason if there is one.
fn with_code(state: &str, code: Option<&String>) -> String {
    code.map_or_else(|| state.to_owned(), |code| format!("{state} ({code})"))
}

fn attachments(attachments: &Vec<Attachment>) -> String {
    let mut table = Table::new(&[
        "host",
        "kind",
        "state",
        "device",
        "mtu",
        "worker",
        "connections",
        "capacity",
        "throttled",
    ]);
    for attachment in attachments {
        table.row([
            attachment.name.clone(),
            word(&attachment.kind),
            word(&attachment.state),
            or_dash(attachment.device.as_ref()),
            or_dash(attachment.mtu),
            or_dash(attachment.worker),
            attachment.connections.to_string(),
            or_dash(attachment.capacity),
            or_dash(attachment.throttled_frames),
        ]);
    }
    table.to_string()
}

fn connections(connections: &Vec<Connection>) -> String {
    let mut table = Table::new(&[
        "opener",
        "target",
        "request",
        "seen by the target",
        "state",
        "sent",
        "received",
        "idle",
    ]);
    for connection in connections {
        table.row([
            connection.opener.clone(),
            connection.target.clone(),
            connection.request.to_string(),
            connection.translated.to_string(),
            word(&connection.state),
            connection.sent.bytes.to_string(),
            connection.received.bytes.to_string(),
            seconds(connection.idle_ms),
        ]);
    }
    table.to_string()
}

fn counters(counters: &Counters) -> String {
    let Counters {
        forwarded_packets,
        forwarded_bytes,
        answered_packets,
        reassembled_fragments,
        reassembled_datagrams,
        fragmented_packets,
        sent_fragments,
        connections_opened,
        connections_ended,
        connections_resumed,
        connections_lost,
        dropped_packets,
        overflowed_frames,
        throttled_frames,
        drop_events_lost,
    } = counters;
    let mut table = Table::new(&["counter", "value"]);
    for (name, value) in [
        ("forwarded packets", forwarded_packets),
        ("forwarded bytes", forwarded_bytes),
        ("answered packets", answered_packets),
        ("reassembled fragments", reassembled_fragments),
        ("reassembled datagrams", reassembled_datagrams),
        ("fragmented packets", fragmented_packets),
        ("sent fragments", sent_fragments),
        ("connections opened", connections_opened),
        ("connections ended", connections_ended),
        ("connections resumed", connections_resumed),
        ("connections lost", connections_lost),
        ("overflowed frames", overflowed_frames),
        ("throttled frames", throttled_frames),
        ("drop events lost", drop_events_lost),
    ] {
        table.row([name.to_owned(), value.to_string()]);
    }
    for (reason, packets) in dropped_packets {
        table.row([format!("dropped {reason}"), packets.to_string()]);
    }
    table.to_string()
}

fn drops(events: &[DropEvent]) -> String {
    let mut table = Table::new(&["at", "came in at", "reason", "packet", "in reply to"]);
    for event in events {
        table.row(drop_line(event));
    }
    table.to_string()
}

fn drop_line(event: &DropEvent) -> [String; 5] {
    [
        seconds(event.time_ms),
        event.attachment.clone(),
        event.reason.to_string(),
        or_dash(event.flow),
        or_dash(event.request),
    ]
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

/// A unit variant as the API spells it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
