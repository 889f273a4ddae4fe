//! What the daemon answers.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use viaduct_topology::Reason;

use crate::flow::Flow;

/// The daemon and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The commit it was built from, where that is known.
    pub commit: Option<String>,
    /// Its process id, as its own namespace sees it.
    pub pid: u32,
    /// Whether it takes attachments and forwards.
    pub ready: bool,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// The file it runs.
    pub topology: PathBuf,
    /// Counts the policies that were in force, this one included.
    pub generation: u32,
    /// Packet threads.
    pub workers: usize,
    /// The kind of all hosts' devices: `offload` or `plain`.
    pub device: String,
    /// The socket on which queues are handed over.
    pub attach_socket: PathBuf,
    /// How many hosts there are.
    pub attachments: AttachmentCount,
    /// The zones that somebody has let fail.
    pub failed_zones: Vec<String>,
}

/// What somebody has let fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// The zones that have failed.
    pub zones: Vec<String>,
}

/// How many hosts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentCount {
    /// In the topology.
    pub declared: usize,
    /// With a queue at this moment.
    pub attached: usize,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// Its subnets, as `vpc/subnet`.
    pub subnets: Vec<String>,
    /// Its groups, as `vpc/group`.
    pub security_groups: Vec<String>,
    /// The ENIs that its environments use.
    pub enis: Vec<String>,
    /// Its environments.
    pub environments: AttachmentCount,
    /// Who made it: `file` or `api`.
    pub made_by: String,
    /// `Pending`, `Active`, `Inactive` or `Failed` (LAM-40).
    pub state: String,
    /// Why it is not active: a code (LAM-42).
    pub state_reason_code: Option<String>,
    /// The same as a sentence.
    pub state_reason: Option<String>,
    /// `Successful`, `Failed` or `InProgress` (LAM-41).
    pub last_update_status: String,
    /// Why the last update failed: a code (LAM-44).
    pub last_update_status_reason_code: Option<String>,
    /// The same as a sentence.
    pub last_update_status_reason: Option<String>,
}

/// `$LATEST` of a function, or a version that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The function.
    pub function: String,
    /// The account that owns it.
    pub account: String,
    /// `$LATEST`, or its number.
    pub version: String,
    /// `subnet-…`
    pub subnets: Vec<String>,
    /// `sg-…`
    pub security_groups: Vec<String>,
    /// The ENIs that it uses or waits for.
    pub enis: Vec<String>,
    /// `Pending`, `Active`, `Inactive` or `Failed` (LAM-40).
    pub state: String,
    /// Why it is not active: a code (LAM-42).
    pub state_reason_code: Option<String>,
}

/// Something that has happened to functions and their ENIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; each is one more than that before it.
    pub sequence: u64,
    /// Milliseconds since the daemon started.
    pub time_ms: u64,
    /// What has happened, as a sentence.
    pub what: String,
}

/// Events after a sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Ask again with `after` set to this.
    pub next: u64,
    /// The events, oldest first. What is no longer remembered is left out.
    pub events: Vec<Event>,
}

/// How far the life of a Hyperplane ENI is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EniState {
    /// It is being made.
    Pending,
    /// It carries connections.
    InUse,
    /// It carries those that it has, and takes no new ones.
    Draining,
    /// Nobody uses it any more, and it will be deleted.
    Releasing,
    /// Nobody uses it, and it can only be deleted by hand (LAM-55).
    Stranded,
}

/// What an ENI belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EniKind {
    /// Functions that share their subnet and set of groups (LAM-03).
    Functions,
    /// One instance.
    Instance,
    /// One address of a NAT gateway.
    NatGateway,
    /// An interface endpoint in one of its subnets.
    VpcEndpoint,
    /// An endpoint, as its service sees it.
    ServiceSide,
    /// An address of the service VPC's NAT: functions without a VPC leave through it (LAM-12).
    ServiceVpc,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// `eni-…`
    pub id: String,
    /// What it belongs to.
    pub kind: EniKind,
    /// The owner: `instance/db`, `vpc_endpoint/s3`, a NAT gateway's id, the account of the functions, or
    /// `service VPC`.
    pub owner: String,
    /// `vpc-…`; at a service, the service's id.
    pub vpc: String,
    /// `subnet-…`; at a service, the service's id.
    pub subnet: String,
    /// Its private address.
    pub private_ip: IpAddr,
    /// Its public address.
    pub public_ip: Option<IpAddr>,
    /// `sg-…`
    pub security_groups: Vec<String>,
    /// Connections that hold a port of it; none where it does not translate.
    pub connections: Option<u32>,
    /// Connections it may carry at once (LAM-07), if that is limited.
    pub capacity: Option<u32>,
    /// Which of the ENIs of its key it is, from 0; of functions' ENIs alone.
    pub ordinal: Option<u32>,
    /// How far its life is; of functions' ENIs alone.
    pub state: Option<EniState>,
    /// The functions and versions that use it.
    pub users: Vec<String>,
    /// Why it cannot be deleted, if it is a function's and cannot be.
    pub held_by: Option<String>,
}

/// What stands at an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// A function's execution environment.
    Environment,
    /// An instance.
    Instance,
    /// A host of the internet.
    Internet,
    /// The host of a service.
    Service,
}

/// Whether something stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentState {
    /// A queue is there.
    Attached,
    /// Its holder's connection ended a moment ago; its connections wait for it to come back.
    Reconnecting,
    /// Nothing is there: packets to it are dropped as `ATTACHMENT_DOWN`.
    Detached,
}

/// A host that can be attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its number; 1 is the first.
    pub id: u32,
    /// `function/api/1`, `instance/db`, `internet/web`, `service/s3`.
    pub name: String,
    /// What stands there.
    pub kind: HostKind,
    /// Whether the topology file has it; else it is an environment that goes when nobody stands there.
    pub declared: bool,
    /// Whether something stands there.
    pub state: AttachmentState,
    /// The device behind it, as its giver names it.
    pub device: Option<String>,
    /// The device's MTU in bytes.
    pub mtu: Option<u16>,
    /// The worker that reads it, from 0.
    pub worker: Option<usize>,
    /// Connections that it opened and that live.
    pub connections: u32,
    /// Those it may have at once; limited for functions' environments alone.
    pub capacity: Option<u32>,
    /// Frames for it that were dropped because its own receive path is so slow that its share of a
    /// worker's time was used up.
    pub throttled_frames: Option<u64>,
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets; a super-packet counts as those that it stands for.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Only one side was heard so far.
    Opening,
    /// Both were.
    Established,
    /// One side has said that it is done.
    Closing,
}

/// A connection, with both its directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The attachment that opened it.
    pub opener: String,
    /// The attachment that its requests go to.
    pub target: String,
    /// The request as its opener sends it.
    pub request: Flow,
    /// The request as its target receives it: translated.
    pub translated: Flow,
    /// How far it is.
    pub state: ConnectionState,
    /// From the opener.
    pub sent: Traffic,
    /// To the opener.
    pub received: Traffic,
    /// Milliseconds since it was opened.
    pub age_ms: u64,
    /// Milliseconds since its last packet.
    pub idle_ms: u64,
}

/// What was done since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets forwarded; a super-packet counts as those that it stands for.
    pub forwarded_packets: u64,
    /// Their IP bytes.
    pub forwarded_bytes: u64,
    /// Packets answered (RST, ICMP errors) instead of forwarded.
    pub answered_packets: u64,
    /// Fragments of datagrams that were put together.
    pub reassembled_fragments: u64,
    /// The datagrams; each then counts as one packet.
    pub reassembled_datagrams: u64,
    /// Packets that were too big for the next hop, and cut.
    pub fragmented_packets: u64,
    /// What they were cut into, which counts as forwarded.
    pub sent_fragments: u64,
    /// Connections made, with those that were resumed.
    pub connections_opened: u64,
    /// Connections closed or expired.
    pub connections_ended: u64,
    /// Connections of the daemon before that went on when this one started.
    pub connections_resumed: u64,
    /// Connections of the daemon before that could not go on.
    pub connections_lost: u64,
    /// Packets dropped, by the reason's code; reasons that did not occur are left out.
    pub dropped_packets: BTreeMap<String, u64>,
    /// Frames that a target's device had no room for: lost as on a wire.
    pub overflowed_frames: u64,
    /// Frames for targets whose own receive path is so slow that their share of a worker's time was
    /// used up.
    pub throttled_frames: u64,
    /// Drop events that were not kept, because they came faster than they were collected.
    pub drop_events_lost: u64,
}

/// Drop events after a sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Ask again with `after` set to this.
    pub next: u64,
    /// Events after `after` that are gone: not kept, or pushed out by newer ones.
    pub lost: u64,
    /// The events, oldest first.
    pub events: Vec<DropEvent>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropEvent {
    /// Its number; each is one more than that before it.
    pub sequence: u64,
    /// Milliseconds since the daemon started.
    pub time_ms: u64,
    /// The attachment where the packet came in.
    pub attachment: String,
    /// Why it was dropped.
    #[serde(deserialize_with = "reason")]
    pub reason: Reason,
    /// The packet's flow as it came in; none if it could not be parsed.
    pub flow: Option<Flow>,
    /// If it was a reply: the request that it answers, as its opener sent it.
    pub request: Option<Flow>,
    /// The packets it stood for.
    pub packets: u64,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
    let code = String::deserialize(deserializer)?;
    code.parse().map_err(|error| serde::de::Error::custom(format!("{code}: {error}")))
}

/// How a host is to be set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// The attachment's name.
    pub name: String,
    /// MTU of its device, in bytes.
    pub device_mtu: u16,
    /// Its own address as it sees it.
    pub address: IpAddr,
    /// The prefix length of its link.
    pub prefix_len: u8,
    /// Blocks of further addresses that are its own.
    pub further: Vec<IpNet>,
    /// Who answers for everything else.
    pub gateway: IpAddr,
    /// The lines of its hosts file.
    pub hosts: Vec<(IpAddr, String)>,
}

/// What an applied topology changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Whether nothing was done, and this is what would be.
    pub dry_run: bool,
    /// The generation of the policy now in force.
    pub generation: u32,
    /// What becomes of each object that is not as it was.
    pub changes: Vec<ObjectChange>,
    /// Hosts that were attached and are let go: they are gone, or to have another address.
    pub detached: Vec<String>,
    /// What the file's author should look at again; empty if nothing.
    pub warnings: String,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// What becomes of it.
    pub action: Action,
    /// Its path, as `main/security_group/db`.
    pub path: String,
    /// Of a changed object: each value that is another, each line of a list that goes or comes.
    pub details: Vec<String>,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Added,
    /// It stays, and something in it is different.
    Changed,
    /// It is there no more.
    Removed,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub help: Option<String>,
}
