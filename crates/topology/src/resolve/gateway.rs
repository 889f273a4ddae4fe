//! Internet gateways and NAT gateways.

use std::net::IpAddr;

use super::{addresses::Owner, context::Context};
use crate::{
    arena::Handle,
    model::{InternetGateway, NatGateway, Vpc},
    spec,
};

/// Addresses of a NAT gateway without a raised quota, and at most (NAT-06).
const USUAL_ADDRESSES: usize = 2;
const MOST_ADDRESSES: usize = 8;

/// Builds the internet gateway of a VPC, if it has one (IGW-01).
pub(super) fn build_internet_gateway(
    context: &mut Context,
    vpc: Handle<Vpc>,
    spec: &spec::Vpc,
) -> Option<Handle<InternetGateway>> {
    let gateway = spec.internet_gateway.as_ref()?;
    let path = format!("{}/{}", spec.name.value, gateway.name.value);
    let id = context.ids.id(&mut context.report, "igw", &path, gateway.id.as_ref());
    let name = gateway.name.value.clone();
    Some(context.topology.internet_gateways.push(InternetGateway { id, name, vpc }))
}

/// Builds a NAT gateway.
pub(super) fn build_nat_gateway(
    context: &mut Context,
    vpc: Handle<Vpc>,
    vpc_spec: &spec::Vpc,
    spec: &spec::NatGateway,
) {
    let name = &spec.name.value;
    let noun = format!("NAT gateway `{name}`");
    let path = format!("{}/{name}", vpc_spec.name.value);
    let id = context.ids.id(&mut context.report, "nat", &path, spec.id.as_ref());
    if vpc_spec.internet_gateway.is_none() {
        context
            .report
            .error(
                spec.name.span,
                format!(
                    "{noun} stands in VPC `{}`, which has no internet gateway",
                    vpc_spec.name.value
                ),
            )
            .help("give the VPC one with `internet_gateway: igw`");
    }

    let subnet = context.report.require(&spec.subnet, "subnet", &noun, spec.name.span);
    let subnet = subnet.and_then(|reference| context.find_subnet(reference, Some(vpc)));
    let owner = Owner { noun: noun.clone(), vpc, subnet };
    let private_ip = spec.private_ip.as_ref().and_then(|ip| context.claim_private(&owner, ip));

    let public_ips = public_ips(context, spec, &owner);
    if let Some(subnet) = subnet {
        // Each public address has a private one of its own (NAT-06).
        let interfaces = u32::try_from(public_ips.len()).unwrap_or(u32::MAX);
        context.addresses.take(subnet, interfaces);
        context.addresses.behind_internet_gateway(subnet, spec.name.span, noun);
    }
    context.topology.nat_gateways.push(NatGateway {
        id,
        name: name.clone(),
        subnet: subnet.unwrap_or(Handle::at(0)),
        private_ip,
        public_ips,
    });
}

fn public_ips(context: &mut Context, spec: &spec::NatGateway, owner: &Owner) -> Vec<IpAddr> {
    let noun = &owner.noun;
    let given = context.report.require(&spec.public_ips, "public_ips", noun, spec.name.span);
    let Some(given) = given else { return Vec::new() };
    let count = given.value.len();
    if count == 0 {
        context
            .report
            .error(given.span, format!("{noun} has no public address"))
            .help("a public NAT gateway needs one, such as `[203.0.113.10]`");
    } else if count > MOST_ADDRESSES {
        context.report.error(
            given.span,
            format!("{noun} has {count} public addresses; {MOST_ADDRESSES} are the most"),
        );
    } else if count > USUAL_ADDRESSES {
        let message = format!("{noun} has {count} public addresses");
        context
            .report
            .warning(given.span, message)
            .help(format!("AWS allows {USUAL_ADDRESSES} unless the quota is raised"));
    }
    given.value.iter().filter_map(|ip| context.claim_public(noun, ip)).collect()
}
