//! What rules look at besides addresses, as one number in one of four classes.
//!
//! TCP and UDP rules match a range of destination ports, ICMP rules a type with all or one of its
//! codes, other rules a protocol number. Each of these is a range of 16-bit values within a class,
//! so security groups and network ACLs share one compact entry, and a whole range of ports can be
//! judged as easily as one.

use std::fmt;

use ipnet::IpNet;
use viaduct_topology::model::{PortRange, Traffic};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The kinds of traffic that rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The value is the destination port.
    Tcp,
    /// The value is the destination port.
    Udp,
    /// The value is type × 256 + code.
    Icmp,
    /// The value is the protocol number; ports do not exist (SG-13, ACL-12).
    Other,
}

impl Class {
    const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Other];

    /// The class of an IP protocol number.
    pub(crate) const fn of(protocol: u8) -> Self {
        match protocol {
            TCP => Self::Tcp,
            UDP => Self::Udp,
            ICMP => Self::Icmp,
            _ => Self::Other,
        }
    }
}

/// What a packet is to a rule: its class, and the values it might have. A packet has one; an
/// explanation that does not know a port asks about all it might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) class: Class,
    pub(crate) values: PortRange,
}

impl Selector {
    /// A packet to a port or ports, or of an ICMP type and code.
    pub(crate) fn new(protocol: u8, ports: PortRange, icmp: (u8, u8)) -> Self {
        let class = Class::of(protocol);
        let values = match class {
            Class::Tcp | Class::Udp => ports,
            Class::Icmp => PortRange::single(u16::from_be_bytes([icmp.0, icmp.1])),
            Class::Other => PortRange::single(protocol.into()),
        };
        Self { class, values }
    }

    /// Whether it is an ICMP echo request (RFC 792): type 8, code 0.
    pub(crate) const fn is_echo_request(self) -> bool {
        matches!(self.class, Class::Icmp) && self.values.first == 8 << 8
    }

    /// Whether it stands for more than one value.
    pub(crate) const fn is_range(self) -> bool {
        self.values.first != self.values.last
    }
}

/// The values of a class that a rule's traffic covers.
fn values(traffic: Traffic, class: Class) -> Option<PortRange> {
    match traffic {
        Traffic::All => Some(PortRange::ALL),
        Traffic::Tcp(ports) => (class == Class::Tcp).then_some(ports),
        Traffic::Udp(ports) => (class == Class::Udp).then_some(ports),
        Traffic::Icmp { kind, code } => (class == Class::Icmp).then_some(match (kind, code) {
            // Without a type, a code means nothing (SG-15).
            (None, _) => PortRange::ALL,
            (Some(kind), None) => PortRange {
                first: u16::from_be_bytes([kind, 0]),
                last: u16::from_be_bytes([kind, 255]),
            },
            (Some(kind), Some(code)) => PortRange::single(u16::from_be_bytes([kind, code])),
        }),
        Traffic::Protocol(protocol) => (class == Class::of(protocol)).then_some(match class {
            Class::Other => PortRange::single(protocol.into()),
            _ => PortRange::ALL,
        }),
    }
}

/// A rule in the form in which it is searched: 16 bytes, two comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) values: PortRange,
    network: u32,
    mask: u32,
    /// Its position among the direction's rules.
    pub(crate) rule: u32,
}

impl Entry {
    pub(crate) const fn matches_address(&self, address: u32) -> bool {
        address & self.mask == self.network
    }

    pub(crate) const fn matches(&self, value: u16, address: u32) -> bool {
        // Addresses first: in a long list of rules they tell more apart than ports do.
        self.matches_address(address) && self.values.contains(value)
    }

    /// Whether its block is 0.0.0.0/0.
    pub(crate) const fn is_for_everybody(&self) -> bool {
        self.mask == 0
    }
}

/// The rules of one direction, sorted by class, each class in the order of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByClass<T>([Box<[T]>; 4]);

impl<T> ByClass<T> {
    /// Sorts rules into the classes they are about; `entries` makes those of one rule.
    pub(crate) fn new<'a, R: 'a, E: IntoIterator<Item = T>>(
        rules: impl Iterator<Item = &'a R> + Clone,
        traffic: impl Fn(&R) -> Traffic,
        entries: impl Fn(PortRange, u32, &'a R) -> E,
    ) -> Self {
        Self(Class::ALL.map(|class| {
            (0..)
                .zip(rules.clone())
                .filter_map(|(index, rule)| {
                    Some(entries(values(traffic(rule), class)?, index, rule))
                })
                .flatten()
                .collect()
        }))
    }

    pub(crate) fn of(&self, class: Class) -> &[T] {
        &self.0[class as usize]
    }
}

/// The entry of a rule about a block of addresses; none for IPv6, which never matches IPv4
/// (SG-16, ACL-15).
pub(crate) fn entry(values: PortRange, rule: u32, block: IpNet) -> Option<Entry> {
    let IpNet::V4(block) = block else { return None };
    let mask = u32::from(block.netmask());
    Some(Entry { values, network: u32::from(block.network()), mask, rule })
}

/// Traffic in the words of a rule: `tcp 443`, `icmp 8/*`, `all`.
pub(crate) struct Words(pub(crate) Traffic);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Traffic::All => f.write_str("all traffic"),
            Traffic::Tcp(ports) => write!(f, "tcp {}", PortWords(ports)),
            Traffic::Udp(ports) => write!(f, "udp {}", PortWords(ports)),
            Traffic::Icmp { kind: None, .. } => f.write_str("icmp"),
            Traffic::Icmp { kind: Some(kind), code: None } => write!(f, "icmp type {kind}"),
            Traffic::Icmp { kind: Some(kind), code: Some(code) } => {
                write!(f, "icmp type {kind} code {code}")
            }
            Traffic::Protocol(protocol) => write!(f, "protocol {protocol}"),
        }
    }
}

/// Ports in the words of a rule: `443`, `1024-65535`.
pub(crate) struct PortWords(pub(crate) PortRange);

impl fmt::Display for PortWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PortRange { first, last } if first == last => write!(f, "{first}"),
            PortRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(traffic: Traffic, protocol: u8, port: u16, icmp: (u8, u8)) -> bool {
        let selector = Selector::new(protocol, PortRange::single(port), icmp);
        values(traffic, selector.class).is_some_and(|range| range.contains(selector.values.first))
    }

    // Conforms: SG-15
    #[test]
    fn sg_15_icmp_type_and_code() {
        let fragmentation_needed = Traffic::Icmp { kind: Some(3), code: Some(4) };
        assert!(covers(fragmentation_needed, ICMP, 0, (3, 4)));
        assert!(!covers(fragmentation_needed, ICMP, 0, (3, 3)));

        let echo = Traffic::Icmp { kind: Some(8), code: None };
        assert!(covers(echo, ICMP, 0, (8, 0)) && covers(echo, ICMP, 0, (8, 255)));
        assert!(!covers(echo, ICMP, 0, (9, 0)) && !covers(echo, ICMP, 0, (7, 255)));

        assert!(covers(Traffic::Icmp { kind: None, code: None }, ICMP, 0, (255, 255)));
        assert!(!covers(Traffic::Icmp { kind: None, code: None }, TCP, 0, (0, 0)));
    }

    #[test]
    fn sg_13_other_protocols_have_no_ports() {
        assert!(covers(Traffic::All, 47, 0, (0, 0)) && covers(Traffic::All, TCP, 65_535, (0, 0)));
        assert!(covers(Traffic::Protocol(47), 47, 0, (0, 0)));
        assert!(!covers(Traffic::Protocol(47), 50, 0, (0, 0)));
        // A protocol named by its number, without ports, is open on all of them.
        assert!(covers(Traffic::Protocol(UDP), UDP, 53, (0, 0)));
        assert!(!covers(Traffic::Protocol(UDP), TCP, 53, (0, 0)));
    }

    #[test]
    fn rules_read_like_rules() {
        let range = PortRange { first: 1024, last: 65_535 };
        assert_eq!(Words(Traffic::Tcp(range)).to_string(), "tcp 1024-65535");
        assert_eq!(Words(Traffic::Udp(PortRange::single(53))).to_string(), "udp 53");
        assert_eq!(Words(Traffic::Icmp { kind: Some(8), code: None }).to_string(), "icmp type 8");
    }
}
