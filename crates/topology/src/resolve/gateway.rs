//! Internet gateways and NAT gateways.

use std::net::IpAddr;

use super::{addresses::Owner, context::Context};
use crate::{
    arena::Handle,
    model::{Connectivity, InternetGateway, NatGateway, NatGatewayState, Vpc},
    spec::{self, Field},
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
    let route_table = gateway.route_table.as_ref();
    let route_table = route_table.and_then(|reference| context.find_route_table(reference, vpc));
    let gateway = InternetGateway { id, name, vpc, route_table };
    Some(context.topology.internet_gateways.push(gateway))
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
    let state = spec.state.as_ref().map_or(NatGatewayState::default(), |given| given.value);
    // What has failed or is gone has given its addresses back (NAT-22).
    let gone = matches!(state, NatGatewayState::Failed | NatGatewayState::Deleted);
    let connectivity = match &spec.connectivity_type {
        Field::Given(given) => Some(given.value),
        Field::Missing => Some(Connectivity::Public),
        Field::Unreadable => None,
    };
    if connectivity == Some(Connectivity::Public) && vpc_spec.internet_gateway.is_none() && !gone {
        context
            .report
            .error(
                spec.name.span,
                format!(
                    "{noun} stands in VPC `{}`, which has no internet gateway",
                    vpc_spec.name.value
                ),
            )
            .help("give the VPC one with `internet_gateway: igw`, or write `connectivity_type: private`");
    }

    let subnet = context.report.require(&spec.subnet, "subnet", &noun, spec.name.span);
    let subnet = subnet.and_then(|reference| context.find_subnet(reference, Some(vpc)));
    let owner = Owner { noun: noun.clone(), vpc, subnet };
    let private_ip = spec.private_ip.as_ref().filter(|_| !gone);
    let private_ip = private_ip.and_then(|ip| context.claim_private(&owner, ip));

    let (addresses, public_ips) = match connectivity {
        Some(Connectivity::Public) if gone => (1, Vec::new()),
        Some(Connectivity::Public) => {
            let public_ips = public_ips(context, spec, &owner);
            // Each public address has a private one of its own (NAT-06).
            (u32::try_from(public_ips.len()).unwrap_or(u32::MAX), public_ips)
        }
        Some(Connectivity::Private) => (private_addresses(context, spec, &noun), Vec::new()),
        None => (1, Vec::new()),
    };
    if let Some(subnet) = subnet.filter(|_| state.is_there()) {
        context.addresses.take(subnet, addresses);
        if connectivity == Some(Connectivity::Public) {
            context.addresses.behind_internet_gateway(subnet, spec.name.span, noun);
        }
    }
    context.topology.nat_gateways.push(NatGateway {
        id,
        name: name.clone(),
        subnet: subnet.unwrap_or(Handle::at(0)),
        private_ip,
        addresses,
        public_ips,
        state,
    });
}

/// How many addresses a private gateway has (NAT-06).
fn private_addresses(context: &mut Context, spec: &spec::NatGateway, noun: &str) -> u32 {
    if let Some(given) = spec.public_ips.given() {
        context
            .report
            .error(given.span, format!("{noun} is private and has public addresses"))
            .help("remove `public_ips`, or write `connectivity_type: public`");
    }
    let Some(given) = &spec.secondary_private_ip_address_count else { return 1 };
    if given.value as usize >= MOST_ADDRESSES {
        context.report.error(
            given.span,
            format!(
                "{noun} has {} addresses; {MOST_ADDRESSES} are the most",
                u64::from(given.value) + 1
            ),
        );
        return 1;
    }
    1 + given.value
}

fn public_ips(context: &mut Context, spec: &spec::NatGateway, owner: &Owner) -> Vec<IpAddr> {
    let noun = &owner.noun;
    if let Some(given) = &spec.secondary_private_ip_address_count {
        context
            .report
            .error(given.span, format!("{noun} is public"))
            .help("it has a private address for each of its `public_ips`");
    }
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

/// Warns of routes to NAT gateways that lead nowhere (NAT-22).
pub(super) fn check(context: &mut Context) {
    for (place, gateway) in &context.nat_routes {
        let gateway = &context.topology.nat_gateways[*gateway];
        if !gateway.state.is_there() {
            let NatGateway { name, state, .. } = gateway;
            context
                .report
                .warning(*place, format!("the state of NAT gateway `{name}` is `{state}`"))
                .help("this route is a blackhole");
        }
    }
}
