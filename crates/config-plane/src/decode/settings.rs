//! Settings and their sections.

use viaduct_topology::{
    Report,
    model::Profile,
    spec::{ConnectionTracking, Lifecycle, NatTimeouts, Settings},
};

use super::{
    fields::{Entry, fields, optional},
    keys, scalar,
};

pub(super) fn settings(report: &mut Report, entry: Entry<'_>) -> Settings {
    let Entry::Present(node) = entry else { return Settings::default() };
    let [
        profile,
        eni_connections,
        eni_connections_per_second,
        source_ports,
        enis_per_vpc,
        environment_connections,
        environment_connections_per_second,
        environment_bandwidth,
        per_destination,
        nat_gateway_bandwidth,
        nat_gateway_packets_per_second,
        fragment_bytes,
        fragment_datagrams,
        fragment_timeout,
        connection_tracking,
        nat,
        lifecycle,
        lifecycle_scale,
    ] = fields(report, node, &keys::SETTINGS);
    Settings {
        profile: optional(report, profile, |report, node| {
            let profiles = [Profile::Aws, Profile::Rfc];
            scalar::word(report, node, &profiles.map(|profile| (profile.word(), profile)))
        }),
        eni_connections: optional(report, eni_connections, scalar::number),
        eni_connections_per_second: optional(report, eni_connections_per_second, scalar::limit),
        source_ports: optional(report, source_ports, scalar::ports),
        enis_per_vpc: optional(report, enis_per_vpc, scalar::number),
        environment_connections: optional(report, environment_connections, scalar::limit),
        environment_connections_per_second: optional(
            report,
            environment_connections_per_second,
            scalar::limit,
        ),
        environment_bandwidth: optional(report, environment_bandwidth, scalar::limit),
        nat_gateway_connections_per_destination: optional(report, per_destination, scalar::number),
        nat_gateway_bandwidth: optional(report, nat_gateway_bandwidth, scalar::limit),
        nat_gateway_packets_per_second: optional(
            report,
            nat_gateway_packets_per_second,
            scalar::limit,
        ),
        fragment_bytes: optional(report, fragment_bytes, scalar::number),
        fragment_datagrams: optional(report, fragment_datagrams, scalar::number),
        fragment_timeout: optional(report, fragment_timeout, scalar::number),
        connection_tracking: self::connection_tracking(report, connection_tracking),
        nat: self::nat(report, nat),
        lifecycle: self::lifecycle(report, lifecycle),
        lifecycle_scale: optional(report, lifecycle_scale, scalar::number),
    }
}

fn connection_tracking(report: &mut Report, entry: Entry<'_>) -> ConnectionTracking {
    let Entry::Present(node) = entry else { return ConnectionTracking::default() };
    let [opening, established, closing, udp, udp_stream, icmp, other] =
        fields(report, node, &keys::CONNECTION_TRACKING);
    ConnectionTracking {
        tcp_opening_timeout: optional(report, opening, scalar::number),
        tcp_established_timeout: optional(report, established, scalar::number),
        tcp_closing_timeout: optional(report, closing, scalar::number),
        udp_timeout: optional(report, udp, scalar::number),
        udp_stream_timeout: optional(report, udp_stream, scalar::number),
        icmp_timeout: optional(report, icmp, scalar::number),
        other_timeout: optional(report, other, scalar::number),
    }
}

fn nat(report: &mut Report, entry: Entry<'_>) -> NatTimeouts {
    let Entry::Present(node) = entry else { return NatTimeouts::default() };
    let [opening, established, closing, udp, icmp] = fields(report, node, &keys::NAT);
    NatTimeouts {
        tcp_opening_timeout: optional(report, opening, scalar::number),
        tcp_established_timeout: optional(report, established, scalar::number),
        tcp_closing_timeout: optional(report, closing, scalar::number),
        udp_timeout: optional(report, udp, scalar::number),
        icmp_timeout: optional(report, icmp, scalar::number),
    }
}

fn lifecycle(report: &mut Report, entry: Entry<'_>) -> Lifecycle {
    let Entry::Present(node) = entry else { return Lifecycle::default() };
    let [creation, deletion, idle, shrinking] = fields(report, node, &keys::LIFECYCLE);
    Lifecycle {
        creation: optional(report, creation, scalar::number),
        deletion: optional(report, deletion, scalar::number),
        idle: optional(report, idle, scalar::number),
        shrinking: optional(report, shrinking, scalar::number),
    }
}
