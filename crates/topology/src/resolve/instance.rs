//! Instances.

use std::net::IpAddr;

use super::{
    addresses::Owner,
    context::{Context, Declared},
    security_group::{self, Limits},
    sharing,
};
use crate::{arena::Handle, model::Instance, spec};

/// Groups of an interface (SG-30).
const GROUPS: Limits = Limits { usual: 5, most: 16 };

/// Builds an instance.
pub(super) fn build(
    context: &mut Context,
    declared: Declared,
    vpc_spec: &spec::Vpc,
    spec: &spec::Instance,
) {
    let name = &spec.name.value;
    let noun = format!("instance `{name}`");
    let path = format!("{}/{name}", vpc_spec.name.value);
    let id = context.ids.id(&mut context.report, "i", &path, spec.id.as_ref());

    let scope = Some(declared.vpc);
    let subnet = context.report.require(&spec.subnet, "subnet", &noun, spec.name.span);
    let subnet = subnet.and_then(|reference| context.find_subnet(reference, scope));
    let owner = Owner { noun, vpc: declared.vpc, subnet };
    let private_ip = spec.private_ip.as_ref().and_then(|ip| context.claim_private(&owner, ip));
    let secondary = spec.secondary_private_ips.as_ref().map_or(&[][..], |given| &given.value);
    let secondary_private_ips: Vec<IpAddr> =
        secondary.iter().filter_map(|ip| context.claim_private(&owner, ip)).collect();
    let public_ip = spec.public_ip.as_ref().and_then(|ip| {
        if vpc_spec.internet_gateway.is_none() {
            context
                .report
                .error(
                    ip.span,
                    format!(
                        "{} has a public address, but VPC `{}` has no internet gateway",
                        owner.noun, vpc_spec.name.value
                    ),
                )
                .help("give the VPC one with `internet_gateway: igw`");
        }
        context.claim_public(&owner.noun, ip)
    });

    if let Some(subnet) = subnet {
        let addresses = 1 + u32::try_from(secondary.len()).unwrap_or(u32::MAX - 1);
        context.addresses.take(subnet, addresses);
        if public_ip.is_some() {
            context.addresses.behind_internet_gateway(subnet, spec.name.span, owner.noun.clone());
        }
    }
    let mut security_groups = match &spec.security_groups {
        Some(given) => {
            security_group::of_interface(context, &owner.noun, given, &GROUPS, |context, group| {
                sharing::find_owners_group(context, &owner.noun, group, declared.vpc)
            })
        }
        None => Vec::new(),
    };
    if security_groups.is_empty() {
        security_groups.push(declared.default_security_group);
    }
    context.topology.instances.push(Instance {
        id,
        name: name.clone(),
        subnet: subnet.unwrap_or(Handle::at(0)),
        private_ip,
        secondary_private_ips,
        public_ip,
        security_groups,
        source_dest_check: spec.source_dest_check.as_ref().is_none_or(|check| check.value),
    });
}
