//! Flows as people write them: `function/api/2` to `instance/db` on `tcp/5432`.
//!
//! `expect` lines and the command line's `--from`, `--to` and `--port` are read here, so that they
//! can never mean different things.

use std::{fmt, net::IpAddr};

use crate::{
    arena::Handle,
    model::{Endpoint, PortRange, Topology, Traffic, VpcEndpoint, VpcEndpointKind},
    path::Kind,
    resolve::names::{Names, Target},
    suggest::suggest,
};

/// The ICMP echo request: what `icmp` on its own means, because that is what opens a flow.
const ECHO_REQUEST: Traffic = Traffic::Icmp { kind: Some(8), code: Some(0) };

/// A text that names no endpoint or no traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FlowError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl FlowError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

impl Topology {
    /// Reads an endpoint: `function/api`, `function/api/2`, `instance/db`, `main/instance/db`,
    /// `internet/web`, `service/s3`, `vpc_endpoint/lambda`, an address, or a bare name that only one
    /// of them has.
    ///
    /// # Errors
    ///
    /// When nothing, or more than one thing, is meant by it.
    pub fn parse_endpoint(&self, text: &str) -> Result<Endpoint, FlowError> {
        endpoint(text, &Names::of(self), self)
    }
}

/// Reads an endpoint. The functions and endpoints that have names are in the topology already.
pub(crate) fn endpoint(
    text: &str,
    names: &Names,
    topology: &Topology,
) -> Result<Endpoint, FlowError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return if ip.is_ipv4() {
            Ok(Endpoint::Address(ip))
        } else {
            Err(FlowError::new("IPv6 is not forwarded yet", "use an IPv4 address"))
        };
    }
    let (path, environment) = split_environment(text, names)?;
    let accepted =
        [Kind::Function, Kind::Instance, Kind::Internet, Kind::Service, Kind::VpcEndpoint];
    let target = names
        .find(path, &accepted, None)
        .map_err(|miss| FlowError { message: miss.message, help: miss.help })?;
    let found = match target {
        Target::Function(function) => Endpoint::Function(function, environment),
        Target::Instance(instance) => Endpoint::Instance(instance),
        Target::Internet(host) => Endpoint::Internet(host),
        Target::Service(service) => Endpoint::Service(service),
        Target::VpcEndpoint(endpoint) => at_interfaces(path, endpoint, topology)?,
        _ => unreachable!("only the accepted kinds are found"),
    };
    match (&found, environment) {
        (Endpoint::Function(function, _), Some(number)) => {
            let count = topology.functions[*function].environments;
            if number == 0 || number > count {
                let range = if count == 1 {
                    "it has one environment: 1".to_owned()
                } else {
                    format!("its environments are 1 to {count}")
                };
                return Err(FlowError::new(format!("`{path}` has no environment {number}"), range));
            }
        }
        (_, Some(_)) => {
            return Err(FlowError::new(
                format!("`{path}` is not a function, so it has no environments"),
                format!("write `{path}`"),
            ));
        }
        (_, None) => {}
    }
    Ok(found)
}

/// An endpoint that has addresses: a gateway endpoint is a route, and has none (EP-02).
fn at_interfaces(
    path: &str,
    endpoint: Handle<VpcEndpoint>,
    topology: &Topology,
) -> Result<Endpoint, FlowError> {
    let VpcEndpoint { kind, service, .. } = &topology.vpc_endpoints[endpoint];
    match kind {
        VpcEndpointKind::Interface { .. } => Ok(Endpoint::VpcEndpoint(endpoint)),
        VpcEndpointKind::Gateway { .. } => {
            // While a file is read, the service may be one that does not exist.
            let exists = service.index() < topology.services.len();
            Err(FlowError {
                message: format!("`{path}` is a gateway endpoint, which has no address"),
                help: exists.then(|| format!("name the service: `{}`", topology.path(*service))),
            })
        }
    }
}

/// Splits `function/api/2` into `function/api` and 2, and `api/2` into `api` and 2.
fn split_environment<'t>(
    text: &'t str,
    names: &Names,
) -> Result<(&'t str, Option<u32>), FlowError> {
    let Some((path, last)) = text.rsplit_once('/') else { return Ok((text, None)) };
    let number = last.parse::<u32>().ok();
    match path.split_once('/') {
        // `function/2` is the function of that name, `main/2` something in the VPC.
        None if Kind::from_word(path).is_some() || names.is_vpc(path) => Ok((text, None)),
        None if number.is_some() => Ok((path, number)),
        None => Ok((text, None)),
        Some((kind, _)) if Kind::from_word(kind).is_none() => Ok((text, None)),
        Some(_) if number.is_some() => Ok((path, number)),
        Some(_) => Err(FlowError::new(
            format!("`{last}` is not the number of an environment"),
            "write a function's environment as `function/NAME/NUMBER`, starting at 1",
        )),
    }
}

/// Reads the traffic of one flow: `tcp/5432`, `udp/53`, `icmp` (an echo request), `icmp/13/0` (of
/// this type and code; code 0, if it is left out), `protocol/47`.
///
/// # Errors
///
/// When it is anything else, several ports, or an ICMP message that opens no flow.
pub fn parse_traffic(text: &str) -> Result<Traffic, FlowError> {
    const FORMS: &str = "write `tcp/443`, `udp/53` or `icmp`";
    let (protocol, rest) = match text.split_once('/') {
        Some((protocol, rest)) => (protocol, Some(rest)),
        None => (text, None),
    };
    let port = |name: &str| -> Result<PortRange, FlowError> {
        let Some(port) = rest else {
            return Err(FlowError::new(
                format!("`{text}` names no port"),
                format!("write the destination port after a slash: `{name}/443`"),
            ));
        };
        match port.parse::<u16>() {
            Ok(0) | Err(_) => Err(FlowError::new(
                format!("`{port}` is not a port"),
                "a flow has one destination port, 1 to 65535",
            )),
            Ok(port) => Ok(PortRange::single(port)),
        }
    };
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Traffic::Tcp(port("tcp")?)),
        "udp" => Ok(Traffic::Udp(port("udp")?)),
        "icmp" => rest.map_or(Ok(ECHO_REQUEST), |rest| icmp(text, rest)),
        "protocol" => match rest.and_then(|number| number.parse::<u8>().ok()) {
            Some(1 | 6 | 17) | None => Err(FlowError::new(
                format!("`{text}` names no other protocol"),
                format!("{FORMS}, or another protocol's number: `protocol/47`"),
            )),
            Some(number) => Ok(Traffic::Protocol(number)),
        },
        _ if text.parse::<u16>().is_ok() => Err(FlowError::new(
            format!("`{text}` names no protocol"),
            format!("write the protocol before the port: `tcp/{text}`"),
        )),
        unknown => {
            let help = match suggest(unknown, ["tcp", "udp", "icmp"]) {
                Some(meant) => format!("did you mean `{meant}`? {FORMS}"),
                None => FORMS.to_owned(),
            };
            Err(FlowError::new(format!("`{text}` is not the traffic of a flow"), help))
        }
    }
}

/// Reads `13` or `13/0` behind `icmp/`.
fn icmp(text: &str, rest: &str) -> Result<Traffic, FlowError> {
    let (kind, code) = rest.split_once('/').unwrap_or((rest, "0"));
    let (Ok(kind), Ok(code)) = (kind.parse(), code.parse()) else {
        return Err(FlowError::new(
            format!("`{text}` names no type and code, each 0 to 255: ICMP has no ports"),
            "write `icmp`, an echo request, or `icmp/13/0` for another message",
        ));
    };
    match kind {
        // Echo reply; unreachable, source quench, redirect, time exceeded, parameter problem.
        0 | 3 | 4 | 5 | 11 | 12 => Err(FlowError::new(
            format!("`{text}` opens no flow: it belongs to the one that it answers"),
            "name the traffic of that flow",
        )),
        _ => Ok(Traffic::Icmp { kind: Some(kind), code: Some(code) }),
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tcp(ports) => write!(f, "tcp/{ports}"),
            Self::Udp(ports) => write!(f, "udp/{ports}"),
            Self::Icmp { kind: None, .. } => f.write_str("icmp"),
            echo if *echo == ECHO_REQUEST => f.write_str("icmp echo request"),
            Self::Icmp { kind: Some(kind), code: None } => write!(f, "icmp type {kind}"),
            Self::Icmp { kind: Some(kind), code: Some(code) } => {
                write!(f, "icmp type {kind} code {code}")
            }
            Self::Protocol(number) => write!(f, "protocol/{number}"),
        }
    }
}
