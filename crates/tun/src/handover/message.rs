//! What is said on the hand-over socket.

use std::{fmt, net::IpAddr, os::fd::OwnedFd};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Token;
use crate::{DeviceKind, HandoverError};

/// From the helper to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Opens the conversation.
    Hello {
        /// [`super::PROTOCOL_VERSION`] of the helper.
        version: u32,
    },
    /// Asks how the device of an attachment is to be set up.
    Describe {
        /// The attachment, as the topology names it: `function/api/1`, `instance/db`.
        name: String,
        /// As in an [`Offer`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
    },
    /// Hands a queue over. Carries exactly one descriptor; all others carry none.
    Offer(Offer),
    /// Ends an attachment and keeps the connection.
    Withdraw {
        /// The attachment.
        name: String,
    },
}

/// A queue on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Offer {
    /// The attachment, as the topology names it.
    pub name: String,
    /// Proof that the helper may attach it, where the socket itself is not proof enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The device's MTU, in bytes of IP: the daemon cannot ask a device in another namespace.
    pub mtu: u16,
}

/// From the daemon to the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// How the device of an attachment is to be set up.
    Plan(Plan),
    /// The queue is taken: packets flow.
    Attached {
        /// The attachment.
        name: String,
        /// The daemon's number for the queue, for logs on both sides.
        queue_id: u64,
    },
    /// A request was not followed.
    Refused {
        /// The attachment it was about; none where it was about the connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The reason, for programs.
        reason: RefusalReason,
        /// The reason, for people.
        message: String,
    },
    /// An attachment has ended.
    Detached {
        /// The attachment.
        name: String,
        /// Why.
        reason: DetachReason,
    },
}

/// How a device is to be set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Plan {
    /// The attachment.
    pub name: String,
    /// The address inside.
    pub address: IpAddr,
    /// The length of the prefix the address stands in, in bits.
    pub prefix_len: u8,
    /// Blocks of further addresses that are the host's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<IpNet>,
    /// Where everything goes; none: straight onto the device, which a TUN allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The device's MTU, in bytes of IP.
    pub mtu: u16,
    /// The kind of device that the daemon takes queues of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: DeviceKind,
    /// Whether the host is to pass on packets that are not its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwards: bool,
    /// Names for the hosts file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostEntry>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The name that stands for it.
    pub name: String,
}

/// Why a request was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The helper speaks another version.
    UnsupportedVersion,
    /// The message makes no sense here.
    BadMessage,
    /// The topology has no such attachment (yet).
    UnknownAttachment,
    /// The token, or this connection, does not entitle to it.
    NotAllowed,
    /// Another live connection holds it.
    AlreadyAttached,
    /// The descriptor is not a queue the daemon can use.
    BadQueue,
    /// A bound of the daemon is reached.
    TooMany,
    /// The daemon failed in a way that is its own fault.
    Internal,
}

/// Why an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetachReason {
    /// The helper asked for it.
    Withdrawn,
    /// Another connection, entitled to it, has taken it over.
    Replaced,
    /// The topology has it no more.
    Removed,
    /// The topology gives it another address now: attach it anew.
    Changed,
    /// The queue has no device any more, or one that cannot serve.
    QueueGone,
    /// The daemon stops.
    Shutdown,
}

/// A request as the daemon receives it: with the descriptor it must carry.
#[derive(Debug)]
pub enum Incoming {
    /// See [`Request::Hello`].
    Hello {
        /// The helper's version.
        version: u32,
    },
    /// See [`Request::Describe`].
    Describe {
        /// The attachment.
        name: String,
        /// Proof that the helper may attach it.
        token: Option<Token>,
    },
    /// See [`Request::Offer`].
    Offer {
        /// What is said about the queue.
        offer: Offer,
        /// The queue, or so it is said: hand it to [`crate::Queue::adopt`].
        queue: OwnedFd,
    },
    /// See [`Request::Withdraw`].
    Withdraw {
        /// The attachment.
        name: String,
    },
}

impl Incoming {
    /// Joins a request with the descriptors that came along. All others are closed.
    pub(super) fn new(
        request: Request,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Self, HandoverError> {
        let expected = usize::from(matches!(request, Request::Offer(_)));
        let found = descriptors.len();
        let queue = descriptors.pop();
        match (request, queue) {
            (Request::Offer(offer), Some(queue)) if found == 1 => Ok(Self::Offer { offer, queue }),
            (Request::Hello { version }, None) => Ok(Self::Hello { version }),
            (Request::Describe { name, token }, None) => Ok(Self::Describe { name, token }),
            (Request::Withdraw { name }, None) => Ok(Self::Withdraw { name }),
            _ => Err(HandoverError::Descriptors { found, expected }),
        }
    }
}

impl Reply {
    /// The attachment it is about; none where it is about the connection.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Plan(plan) => Some(&plan.name),
            Self::Attached { name, .. } | Self::Detached { name, .. } => Some(name),
            Self::Refused { name, .. } => name.as_deref(),
        }
    }
}

impl fmt::Display for DetachReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Withdrawn => "withdrawn by its helper",
            Self::Replaced => "taken over by another connection",
            Self::Removed => "no longer in the topology",
            Self::Changed => "the topology gives it another address now: attach it anew",
            Self::QueueGone => "its queue has no device any more",
            Self::Shutdown => "the daemon stops",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_fixed() {
        let offer =
            Request::Offer(Offer { name: "function/api/1".to_owned(), token: None, mtu: 1500 });
        assert_eq!(
            serde_json::to_string(&offer).unwrap(),
            r#"{"offer":{"name":"function/api/1","mtu":1500}}"#
        );
        let plan = Reply::Plan(Plan {
            name: "instance/db".to_owned(),
            address: "10.0.2.10".parse().unwrap(),
            prefix_len: 24,
            further: Vec::new(),
            gateway: Some("10.0.2.1".parse().unwrap()),
            mtu: 1500,
            device: DeviceKind::Offload,
            forwards: false,
            hosts: vec![HostEntry { address: "10.0.2.10".parse().unwrap(), name: "db".to_owned() }],
        });
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(
            text,
            r#"{"plan":{"name":"instance/db","address":"10.0.2.10","prefix_len":24,"gateway":"10.0.2.1","mtu":1500,"hosts":[{"address":"10.0.2.10","name":"db"}]}}"#
        );
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), plan);
        let text = text.replace(r#""mtu":1500"#, r#""mtu":1500,"device":"plain""#);
        let Reply::Plan(plain) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(plain.device, DeviceKind::Plain);
        assert_eq!(serde_json::to_string(&Reply::Plan(plain)).unwrap(), text);
        assert_eq!(
            serde_json::to_string(&Reply::Refused {
                name: None,
                reason: RefusalReason::UnsupportedVersion,
                message: "old".to_owned(),
            })
            .unwrap(),
            r#"{"refused":{"reason":"unsupported_version","message":"old"}}"#
        );
    }

    #[test]
    fn unknown_fields_and_messages_are_refused() {
        for text in [
            r#"{"hello":{"version":1,"more":2}}"#,
            r#"{"offer":{"name":"a","mtu":1500,"more":2}}"#,
            r#"{"offer":{"name":"a","mtu":70000}}"#,
            r#"{"goodbye":{}}"#,
            r#"{"hello":{"version":1}} trailing"#,
            "",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text:?} was accepted");
        }
    }
}
