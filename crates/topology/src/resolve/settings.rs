//! Settings: AWS's numbers, unless the file has others.

use super::Report;
use crate::{
    model::{PortRange, Settings},
    spec::{self, Spanned},
};

/// Fills in the defaults and checks the ranges.
pub(super) fn resolve(spec: &spec::Settings, report: &mut Report) -> Settings {
    let default = Settings::default();
    let settings = Settings {
        eni_connections: number(
            report,
            spec.eni_connections.as_ref(),
            "eni_connections",
            1_000_000,
            default.eni_connections,
        ),
        source_ports: source_ports(report, spec.source_ports.as_ref(), default.source_ports),
        nat_gateway_connections_per_destination: number(
            report,
            spec.nat_gateway_connections_per_destination.as_ref(),
            "nat_gateway_connections_per_destination",
            65_535,
            default.nat_gateway_connections_per_destination,
        ),
        enis_per_vpc: number(
            report,
            spec.enis_per_vpc.as_ref(),
            "enis_per_vpc",
            100_000,
            default.enis_per_vpc,
        ),
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

fn number(
    report: &mut Report,
    given: Option<&Spanned<u32>>,
    key: &str,
    most: u32,
    default: u32,
) -> u32 {
    let Some(given) = given else { return default };
    if !(1..=most).contains(&given.value) {
        report
            .error(given.span, format!("`{key}` cannot be {}", given.value))
            .help(format!("it is 1 to {most}; {default} if not given"));
        return default;
    }
    given.value
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
