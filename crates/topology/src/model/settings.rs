//! Timers, limits and rates: everything of the network that is a number and not a resource.
//!
//! AWS's own pages differ on some (D-01..D-11), and whoever tests against the RFCs wants others:
//! hence settings, and a profile that says where those come from that a file leaves out.

use std::fmt;

use super::PortRange;

/// Where defaults come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AWS's documentation.
    #[default]
    Aws,
    /// The RFCs that say how a NAT behaves (4787, 5382, 5508, 6888, 7857), as far as a VPC lets it:
    /// timers are never below their minimum, fragments of all protocols pass, and source ports keep
    /// their parity. Mapping and filtering depend on both endpoints in this profile too, because
    /// nothing may open a connection to a function (LAM-02).
    Rfc,
}

impl Profile {
    /// The word for it in a file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Rfc => "rfc",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Timers, limits and rates. A limit that is `None` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the defaults of the others come from.
    pub profile: Profile,
    /// Connections one Hyperplane ENI carries, TCP and UDP together (LAM-07). 1..=1,000,000.
    pub eni_connections: u32,
    /// New connections a second through one Hyperplane ENI. 1..=1,000,000.
    pub eni_connections_per_second: Option<u32>,
    /// First and last source port of V2N NAT and NAT gateways (LAM-09, NAT-08). 1..=65535.
    pub source_ports: PortRange,
    /// Hyperplane ENIs a VPC may have (LAM-25, D-01). 1..=100,000.
    pub enis_per_vpc: u32,
    /// Connections that one function environment has at once (RFC 6888, REQ-4). 1..=1,000,000; by
    /// default half of what an ENI carries, so that none alone can drain one that others share.
    pub environment_connections: Option<u32>,
    /// New connections a second of one function environment (RFC 6888, REQ-5). 1..=1,000,000.
    pub environment_connections_per_second: Option<u32>,
    /// What one function environment sends, and what it gets, in Mb/s (LAM-20: 625). 1..=100,000.
    pub environment_bandwidth: Option<u32>,
    /// Connections of one NAT gateway address to one (destination, port, protocol) (NAT-05).
    /// 1..=65,535.
    pub nat_gateway_connections_per_destination: u32,
    /// What one NAT gateway carries in both directions together, in Mb/s (NAT-16: 5,000 to
    /// 100,000). 1..=100,000.
    pub nat_gateway_bandwidth: Option<u32>,
    /// What one NAT gateway carries in both directions together, in packets a second (NAT-16: one
    /// to ten million). 1..=10,000,000.
    pub nat_gateway_packets_per_second: Option<u32>,
    /// Bytes of fragments that wait for the rest of their datagrams, for each attachment (RFC 6888,
    /// REQ-5). 81,920 (the largest datagram) ..=67,108,864.
    pub fragment_bytes: u32,
    /// Datagrams whose fragments wait, for each attachment. 1..=65,535.
    pub fragment_datagrams: u32,
    /// How long a datagram waits for the rest of its fragments, in seconds. 1..=3,600; 2 at least in
    /// RFC 6146, section 3.4, 30 in Linux.
    pub fragment_timeout: u32,
    /// How long interfaces with security groups remember what is idle (SG-25).
    pub connection_tracking: ConnectionTracking,
    /// How long Hyperplane ENIs and NAT gateways keep a translation that is idle (NAT-10).
    pub nat: NatTimeouts,
    /// How long the control plane takes to make and to delete Hyperplane ENIs.
    pub lifecycle: Lifecycle,
    /// By how much its times are divided, so that two weeks pass in a minute; packet timers never
    /// are. 1..=1,000,000.
    pub lifecycle_scale: u32,
}

impl Settings {
    /// The settings of a file that names its profile and nothing else.
    #[must_use]
    pub const fn of(profile: Profile) -> Self {
        let eni_connections = 65_000;
        Self {
            profile,
            eni_connections,
            eni_connections_per_second: None,
            source_ports: PortRange { first: 1024, last: 65_535 },
            enis_per_vpc: 500,
            environment_connections: Some(Self::environment_share(eni_connections)),
            environment_connections_per_second: None,
            environment_bandwidth: None,
            nat_gateway_connections_per_destination: 55_000,
            nat_gateway_bandwidth: None,
            nat_gateway_packets_per_second: None,
            fragment_bytes: 1 << 20,
            fragment_datagrams: 128,
            fragment_timeout: 30,
            connection_tracking: ConnectionTracking::of(profile),
            nat: NatTimeouts::of(profile),
            lifecycle: Lifecycle::DEFAULT,
            lifecycle_scale: 1,
        }
    }

    /// How much of an ENI one environment has if the file does not say: half of it, rounded up.
    #[must_use]
    pub const fn environment_share(eni_connections: u32) -> u32 {
        eni_connections.div_ceil(2)
    }

    /// Whether fragments of every protocol pass translators, and not those of UDP alone (NAT-14).
    #[must_use]
    pub const fn forwards_all_fragments(&self) -> bool {
        matches!(self.profile, Profile::Rfc)
    }

    /// Whether an even source port is translated to an even one, and an odd one to an odd one
    /// (RFC 4787, REQ-4; RFC 7857, section 5, has it off).
    #[must_use]
    pub const fn preserves_port_parity(&self) -> bool {
        matches!(self.profile, Profile::Rfc)
    }

    /// Whether connections to different destinations share a port once none is free (NAT-09, D-11);
    /// else each has one of its own (RFC 4787, REQ-3; RFC 5382, REQ-7).
    #[must_use]
    pub const fn overloads_ports(&self) -> bool {
        matches!(self.profile, Profile::Aws)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(Profile::default())
    }
}

/// How long an idle connection is remembered where security groups track it, in seconds. AWS names
/// three of these (SG-25), and 600 s for protocols without ports (SG-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTracking {
    /// TCP before its handshake is over. 1..=65,535; by default the transitory timeout of RFC 5382
    /// (REQ-5).
    pub tcp_opening_timeout: u32,
    /// TCP. 1..=432,000 (D-03).
    pub tcp_established_timeout: u32,
    /// TCP of which both sides have said that they are done. 1..=65,535.
    pub tcp_closing_timeout: u32,
    /// UDP that was one-way, or a single question and answer. 1..=65,535.
    pub udp_timeout: u32,
    /// UDP with more than one question and answer. 1..=65,535.
    pub udp_stream_timeout: u32,
    /// ICMP. 1..=65,535; AWS names none: the least of RFC 5508 (REQ-2).
    pub icmp_timeout: u32,
    /// Other protocols. 1..=65,535.
    pub other_timeout: u32,
}

impl ConnectionTracking {
    const fn of(profile: Profile) -> Self {
        let aws = Self {
            tcp_opening_timeout: 240,
            tcp_established_timeout: 432_000,
            tcp_closing_timeout: 240,
            udp_timeout: 30,
            udp_stream_timeout: 180,
            icmp_timeout: 60,
            other_timeout: 600,
        };
        match profile {
            Profile::Aws => aws,
            // A connection lives as long as the shortest timer on its way.
            Profile::Rfc => Self { udp_timeout: 300, udp_stream_timeout: 300, ..aws },
        }
    }
}

/// How long the translation of an idle connection is kept, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTimeouts {
    /// TCP before its handshake is over. 1..=65,535; by default the transitory timeout of RFC 5382
    /// (REQ-5).
    pub tcp_opening_timeout: u32,
    /// TCP. 1..=432,000; NAT-10, RFC 5382 (REQ-5).
    pub tcp_established_timeout: u32,
    /// TCP of which both sides have said that they are done. 1..=65,535.
    pub tcp_closing_timeout: u32,
    /// UDP. 1..=65,535; NAT-10, RFC 4787 (REQ-5).
    pub udp_timeout: u32,
    /// ICMP echo. 1..=65,535; NAT-10, RFC 5508 (REQ-2).
    pub icmp_timeout: u32,
}

impl NatTimeouts {
    const fn of(profile: Profile) -> Self {
        let (tcp_established_timeout, udp_timeout, icmp_timeout) = match profile {
            Profile::Aws => (350, 350, 350),
            Profile::Rfc => (7440, 300, 60),
        };
        Self {
            tcp_opening_timeout: 240,
            tcp_established_timeout,
            tcp_closing_timeout: 240,
            udp_timeout,
            icmp_timeout,
        }
    }
}

/// How long the control plane takes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Until a new ENI can be used. AWS says "about a minute" and "minutes" (LAM-45). 0..=86,400.
    pub creation: u32,
    /// From the moment when an ENI has no user any more until it is deleted. AWS says up to 20
    /// minutes (LAM-55); it is all of them here, because that is what one must be prepared for.
    /// 0..=86,400.
    pub deletion: u32,
    /// How long an ENI is unused by any function until it is reclaimed (LAM-51, D-07).
    /// 1..=31,536,000.
    pub idle: u32,
    /// How long a further ENI of a key has no connections until it goes. AWS names no time.
    /// 0..=86,400.
    pub shrinking: u32,
}

impl Lifecycle {
    const DEFAULT: Self =
        Self { creation: 90, deletion: 20 * 60, idle: 14 * 24 * 60 * 60, shrinking: 10 * 60 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_profile_never_undercuts_them() {
        let Settings { connection_tracking: tracking, nat, .. } = Settings::of(Profile::Rfc);
        // RFC 5382, REQ-5: two hours and four minutes; four minutes.
        assert!(tracking.tcp_established_timeout.min(nat.tcp_established_timeout) >= 7440);
        for transitory in [
            tracking.tcp_opening_timeout,
            tracking.tcp_closing_timeout,
            nat.tcp_opening_timeout,
            nat.tcp_closing_timeout,
        ] {
            assert!(transitory >= 240);
        }
        // RFC 4787, REQ-5c: five minutes unless somebody chose another time.
        for udp in [tracking.udp_timeout, tracking.udp_stream_timeout, nat.udp_timeout] {
            assert!(udp >= 300);
        }
        // RFC 5508, REQ-2.
        assert!(tracking.icmp_timeout.min(nat.icmp_timeout) >= 60);
    }
}
