//! Settings: the profile's numbers, unless the file has others.

use std::ops::RangeInclusive;

use super::Report;
use crate::{
    model::{ConnectionTracking, Lifecycle, NatTimeouts, PortRange, Profile, Settings},
    spec::{self, Limit, Spanned},
};

/// Fills in the defaults and checks the ranges.
pub(super) fn resolve(spec: &spec::Settings, report: &mut Report) -> Settings {
    let default = Settings::of(spec.profile.as_ref().map_or(Profile::Aws, |given| given.value));
    let mut number = |key, given: &Option<Spanned<u32>>, range, default| {
        in_range(report, key, given.as_ref(), range, default)
    };
    let eni_connections =
        number("eni_connections", &spec.eni_connections, 1..=1_000_000, default.eni_connections);
    let enis_per_vpc =
        number("enis_per_vpc", &spec.enis_per_vpc, 1..=100_000, default.enis_per_vpc);
    let per_destination = number(
        "nat_gateway_connections_per_destination",
        &spec.nat_gateway_connections_per_destination,
        1..=65_535,
        default.nat_gateway_connections_per_destination,
    );
    // The largest datagram is to have room.
    let fragment_bytes =
        number("fragment_bytes", &spec.fragment_bytes, 81_920..=1 << 26, default.fragment_bytes);
    let fragment_datagrams = number(
        "fragment_datagrams",
        &spec.fragment_datagrams,
        1..=65_535,
        default.fragment_datagrams,
    );
    let fragment_timeout =
        number("fragment_timeout", &spec.fragment_timeout, 1..=3600, default.fragment_timeout);
    let lifecycle_scale =
        number("lifecycle_scale", &spec.lifecycle_scale, 1..=1_000_000, default.lifecycle_scale);

    let mut limit = |key, given: &Option<Spanned<Limit>>, most, default| {
        limit(report, key, given.as_ref(), most, default)
    };
    let settings = Settings {
        profile: default.profile,
        eni_connections,
        enis_per_vpc,
        nat_gateway_connections_per_destination: per_destination,
        fragment_bytes,
        fragment_datagrams,
        fragment_timeout,
        environment_connections: limit(
            "environment_connections",
            &spec.environment_connections,
            1_000_000,
            Some(Settings::environment_share(eni_connections)),
        ),
        environment_connections_per_second: limit(
            "environment_connections_per_second",
            &spec.environment_connections_per_second,
            1_000_000,
            default.environment_connections_per_second,
        ),
        environment_bandwidth: limit(
            "environment_bandwidth",
            &spec.environment_bandwidth,
            100_000,
            default.environment_bandwidth,
        ),
        eni_connections_per_second: limit(
            "eni_connections_per_second",
            &spec.eni_connections_per_second,
            1_000_000,
            default.eni_connections_per_second,
        ),
        nat_gateway_bandwidth: limit(
            "nat_gateway_bandwidth",
            &spec.nat_gateway_bandwidth,
            100_000,
            default.nat_gateway_bandwidth,
        ),
        nat_gateway_packets_per_second: limit(
            "nat_gateway_packets_per_second",
            &spec.nat_gateway_packets_per_second,
            10_000_000,
            default.nat_gateway_packets_per_second,
        ),
        source_ports: source_ports(report, spec.source_ports.as_ref(), default.source_ports),
        connection_tracking: tracking(report, &spec.connection_tracking, &default),
        nat: nat(report, &spec.nat, &default),
        lifecycle: lifecycle(report, &spec.lifecycle, default.lifecycle),
        lifecycle_scale,
    };

    // A port carries one connection to a destination (NAT-05), so fewer ports mean fewer
    // connections. Only worth a word if somebody chose this number.
    let ports = u32::from(settings.source_ports.last) - u32::from(settings.source_ports.first) + 1;
    if let Some(given) = &spec.nat_gateway_connections_per_destination
        && given.value > ports
    {
        report
            .warning(given.span, format!("there are {ports} source ports for {}", given.value))
            .help("connections to one destination need a port each; widen `source_ports`");
    }
    settings
}

fn in_range(
    report: &mut Report,
    key: &str,
    given: Option<&Spanned<u32>>,
    range: RangeInclusive<u32>,
    default: u32,
) -> u32 {
    let Some(given) = given else { return default };
    if !range.contains(&given.value) {
        let (least, most) = range.into_inner();
        report
            .error(given.span, format!("`{key}` cannot be {}", given.value))
            .help(format!("it is {least} to {most}; {default} if not given"));
        return default;
    }
    given.value
}

fn limit(
    report: &mut Report,
    key: &str,
    given: Option<&Spanned<Limit>>,
    most: u32,
    default: Limit,
) -> Limit {
    let Some(given) = given else { return default };
    let value = given.value?;
    if !(1..=most).contains(&value) {
        let default = default.map_or_else(|| "none".to_owned(), |default| default.to_string());
        report
            .error(given.span, format!("`{key}` cannot be {value}"))
            .help(format!("it is 1 to {most}, or `none`; {default} if not given"));
    }
    Some(value)
}

fn source_ports(
    report: &mut Report,
    given: Option<&Spanned<PortRange>>,
    default: PortRange,
) -> PortRange {
    let Some(given) = given else { return default };
    if given.value.first == 0 {
        report
            .error(given.span, "port 0 cannot be a source port")
            .help(format!("the ports are 1 to 65535; {default} if not given"));
        return default;
    }
    given.value
}

/// A timer of a file, and what its profile's source allows it to be.
#[derive(Clone, Copy)]
struct Timer {
    key: &'static str,
    /// The longest that there can be, in seconds.
    most: u32,
    /// AWS's range (SG-25).
    aws: Option<(u32, u32)>,
    /// The least that an RFC demands, and which does.
    rfc: Option<(u32, &'static str)>,
}

impl Timer {
    /// 65,535 s at most: a connection has 16 bits for it.
    const fn new(key: &'static str) -> Self {
        Self { key, most: 65_535, aws: None, rfc: None }
    }

    const fn aws(self, least: u32, most: u32) -> Self {
        Self { aws: Some((least, most)), ..self }
    }

    const fn rfc(self, least: u32, source: &'static str) -> Self {
        Self { rfc: Some((least, source)), ..self }
    }

    fn read(
        self,
        report: &mut Report,
        profile: Profile,
        given: Option<&Spanned<u32>>,
        default: u32,
    ) -> u32 {
        let Self { key, most, aws, rfc } = self;
        let seconds = in_range(report, key, given, 1..=most, default);
        let allowed = match profile {
            Profile::Aws => {
                aws.map(|(least, most)| (least..=most, "AWS (SG-25)", format!("{least} to {most}")))
            }
            Profile::Rfc => {
                rfc.map(|(least, source)| (least..=most, source, format!("{least} or more")))
            }
        };
        if let Some(given) = given.filter(|given| given.value == seconds)
            && let Some((range, source, words)) = allowed
            && !range.contains(&seconds)
        {
            report
                .warning(given.span, format!("{source} does not allow `{key}` to be {seconds}"))
                .help(format!("there, it is {words}; {default} if not given"));
        }
        seconds
    }
}

const TCP_OPENING: Timer = Timer::new("tcp_opening_timeout").rfc(240, "RFC 5382 (REQ-5)");
const TCP_ESTABLISHED: Timer =
    Timer { most: 432_000, ..Timer::new("tcp_established_timeout") }.rfc(7440, "RFC 5382 (REQ-5)");
const TCP_CLOSING: Timer = Timer::new("tcp_closing_timeout").rfc(240, "RFC 5382 (REQ-5)");
const UDP: Timer = Timer::new("udp_timeout").rfc(120, "RFC 4787 (REQ-5)");
const UDP_STREAM: Timer = Timer::new("udp_stream_timeout").rfc(120, "RFC 4787 (REQ-5)");
const ICMP: Timer = Timer::new("icmp_timeout").rfc(60, "RFC 5508 (REQ-2)");
const OTHER: Timer = Timer::new("other_timeout");

fn tracking(
    report: &mut Report,
    spec: &spec::ConnectionTracking,
    default: &Settings,
) -> ConnectionTracking {
    let mut read = |timer: Timer, given: &Option<Spanned<u32>>, seconds| {
        timer.read(report, default.profile, given.as_ref(), seconds)
    };
    let default = default.connection_tracking;
    ConnectionTracking {
        tcp_opening_timeout: read(
            TCP_OPENING,
            &spec.tcp_opening_timeout,
            default.tcp_opening_timeout,
        ),
        tcp_established_timeout: read(
            TCP_ESTABLISHED.aws(60, 432_000),
            &spec.tcp_established_timeout,
            default.tcp_established_timeout,
        ),
        tcp_closing_timeout: read(
            TCP_CLOSING,
            &spec.tcp_closing_timeout,
            default.tcp_closing_timeout,
        ),
        udp_timeout: read(UDP.aws(30, 60), &spec.udp_timeout, default.udp_timeout),
        udp_stream_timeout: read(
            UDP_STREAM.aws(60, 180),
            &spec.udp_stream_timeout,
            default.udp_stream_timeout,
        ),
        icmp_timeout: read(ICMP, &spec.icmp_timeout, default.icmp_timeout),
        other_timeout: read(OTHER, &spec.other_timeout, default.other_timeout),
    }
}

fn nat(report: &mut Report, spec: &spec::NatTimeouts, default: &Settings) -> NatTimeouts {
    let mut read = |timer: Timer, given: &Option<Spanned<u32>>, seconds| {
        timer.read(report, default.profile, given.as_ref(), seconds)
    };
    let default = default.nat;
    NatTimeouts {
        tcp_opening_timeout: read(
            TCP_OPENING,
            &spec.tcp_opening_timeout,
            default.tcp_opening_timeout,
        ),
        tcp_established_timeout: read(
            TCP_ESTABLISHED,
            &spec.tcp_established_timeout,
            default.tcp_established_timeout,
        ),
        tcp_closing_timeout: read(
            TCP_CLOSING,
            &spec.tcp_closing_timeout,
            default.tcp_closing_timeout,
        ),
        udp_timeout: read(UDP, &spec.udp_timeout, default.udp_timeout),
        icmp_timeout: read(ICMP, &spec.icmp_timeout, default.icmp_timeout),
    }
}

fn lifecycle(report: &mut Report, spec: &spec::Lifecycle, default: Lifecycle) -> Lifecycle {
    const DAY: u32 = 86_400;
    let mut read = |key, given: &Option<Spanned<u32>>, range, default| {
        in_range(report, key, given.as_ref(), range, default)
    };
    Lifecycle {
        creation: read("creation", &spec.creation, 0..=DAY, default.creation),
        deletion: read("deletion", &spec.deletion, 0..=DAY, default.deletion),
        // Idle at once would be never there.
        idle: read("idle", &spec.idle, 1..=365 * DAY, default.idle),
        shrinking: read("shrinking", &spec.shrinking, 0..=DAY, default.shrinking),
    }
}
