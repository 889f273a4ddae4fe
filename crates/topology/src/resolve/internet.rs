//! Hosts of the internet.

use super::{cidr, context::Context};
use crate::{
    model::InternetHost,
    spec::{self},
};

/// Builds an internet host.
pub(super) fn build(context: &mut Context, spec: &spec::InternetHost) {
    let noun = format!("internet host `{}`", spec.name.value);
    let ip = context.report.require(&spec.ip, "ip", &noun, spec.name.span);
    let ip = ip.and_then(|ip| context.claim_public(&noun, ip));
    context.topology.internet_hosts.push(InternetHost {
        name: spec.name.value.clone(),
        ip: ip.unwrap_or(cidr::NOWHERE.addr()),
    });
}
