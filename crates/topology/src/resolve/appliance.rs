//! Appliances: instances that routes lead through.

use super::context::Context;
use crate::{
    arena::Handle,
    model::{Instance, RouteTable},
    spec::Span,
};

/// A route to an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appliance {
    /// Where its target is written.
    pub(super) span: Span,
    pub(super) table: Handle<RouteTable>,
    pub(super) instance: Handle<Instance>,
}

/// Warns of what AWS accepts and drops.
pub(super) fn check(context: &mut Context) {
    for Appliance { span, table, instance } in &context.appliances {
        let Context { topology, report, .. } = context;
        // Whatever was refused may be the one that is meant.
        if report.has_errors() {
            return;
        }
        let instance = &topology.instances[*instance];
        let name = &instance.name;
        if instance.source_dest_check {
            report
                .warning(*span, format!("instance `{name}` drops what is not its own"))
                .help("to forward packets of others it needs `source_dest_check: false`");
        }
        let vpc = topology.subnets[instance.subnet].vpc;
        let gateway = topology.vpcs[vpc].internet_gateway.map(|it| &topology.internet_gateways[it]);
        if instance.public_ip.is_none() && gateway.is_some_and(|it| it.route_table == Some(*table))
        {
            report
                .warning(*span, format!("instance `{name}` has no public address"))
                .help("an internet gateway drops what its table leads there (RT-18)");
        }
        if topology.subnets[instance.subnet].route_table == *table {
            let subnet = &topology.subnets[instance.subnet].name;
            report
                .warning(
                    *span,
                    format!("instance `{name}` is in subnet `{subnet}`, which uses this route"),
                )
                .help(
                    "what it forwards comes back to it; an appliance stands in a subnet of its own",
                );
        }
    }
}
