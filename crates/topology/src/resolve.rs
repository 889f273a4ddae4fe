//! From declarations to a consistent [`Topology`], or all that is wrong with them.
//!
//! Two passes. The first gives every name its handle, because resources refer to each other in
//! circles: a VPC to its main route table, the table's routes to a NAT gateway, the gateway to a
//! subnet of the VPC. The second builds the resources in the same order and checks each against the
//! others. A mistake never stops a pass: it is reported, something stands in for what it spoilt, and
//! the topology is thrown away at the end. Nothing is ever half-loaded.
//!
//! Checked is what AWS would refuse, and what viaduct cannot do yet. What AWS accepts although it is
//! probably not meant is a warning.

pub(crate) mod names;

mod account;
mod acl;
mod addresses;
mod appliance;
mod cidr;
mod context;
mod endpoint;
mod expect;
mod function;
mod gateway;
mod gateway_table;
mod instance;
mod internet;
mod naming;
mod peering;
mod prefix_list;
mod principal;
mod quotas;
mod report;
mod routes;
mod security_group;
mod service;
mod service_vpc;
mod settings;
mod sharing;
mod subnet;
mod vpc;

pub use report::{Problem, Report, Severity};

use crate::{model::Topology, spec::Spec};
use context::Context;

/// A topology, and what its author should look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The topology.
    pub topology: Topology,
    /// Warnings, in the order of their places.
    pub warnings: Vec<Problem>,
}

/// Resolves a specification. `report` holds what its reader had to say, which is judged together
/// with what is found here.
///
/// # Errors
///
/// All problems, warnings included and in the order of their places, if any of them is an error.
pub fn resolve(spec: &Spec, report: Report) -> Result<Resolved, Vec<Problem>> {
    let mut context = Context::declare(spec, report);
    context.topology.settings = settings::resolve(&spec.settings, &mut context.report);
    sharing::build_organization(&mut context, &spec.organization);
    let service_vpc = spec.settings.service_vpc_public_ips.as_ref();
    service_vpc::claim(&mut context, service_vpc);
    for list in &spec.prefix_lists {
        prefix_list::build(&mut context, list);
    }
    for service in &spec.services {
        service::build(&mut context, service);
    }
    for connection in &spec.vpc_peering_connections {
        peering::build(&mut context, connection);
    }
    for (declared, vpc) in spec.vpcs.iter().enumerate() {
        vpc::build(&mut context, declared, vpc);
    }
    routes::check_counts(&mut context);
    peering::check(&mut context, &spec.vpc_peering_connections);
    for host in &spec.internet {
        internet::build(&mut context, host);
    }
    service_vpc::complete(&mut context, service_vpc.is_some());
    for role in &spec.roles {
        principal::build_role(&mut context, role);
    }
    for principal in &spec.principals {
        principal::build(&mut context, principal);
    }
    for function in &spec.functions {
        function::build(&mut context, function);
    }
    addresses::check(&mut context);
    sharing::check_counts(&mut context, &spec.vpcs);
    service::check(&mut context);
    appliance::check(&mut context);
    gateway::check(&mut context);
    quotas::check(&mut context, &spec.vpcs);
    for expectation in &spec.expect {
        expect::build(&mut context, expectation);
    }
    context.finish()
}
