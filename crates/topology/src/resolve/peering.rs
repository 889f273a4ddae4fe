//! Peering connections: between two VPCs whose blocks do not overlap.

use super::{context::Context, vpc::overlap};
use crate::{
    arena::Handle,
    model::{Vpc, VpcPeeringConnection},
    spec::{self, Field, Spanned},
};

/// Builds a peering connection. The VPCs need not be built.
pub(super) fn build(context: &mut Context, spec: &spec::VpcPeeringConnection) {
    let name = &spec.name.value;
    let id = context.ids.id(&mut context.report, "pcx", name, spec.id.as_ref());
    let requester = end(context, spec, &spec.requester, "requester");
    let accepter = end(context, spec, &spec.accepter, "accepter");
    let ends = requester.zip(accepter);
    if let Some((one, other)) = ends {
        if one == other {
            context
                .report
                .error(spec.name.span, format!("peering connection `{name}` has one VPC twice"))
                .help("it joins two");
        } else if !context.names.peer(one, other) {
            context
                .report
                .error(
                    spec.name.span,
                    format!("peering connection `{name}` joins VPCs that are peered already"),
                )
                .help("there is one connection at most between two VPCs");
        }
    }
    context.peerings.push(ends.map(|(one, other)| [one, other]));
    context.topology.vpc_peering_connections.push(VpcPeeringConnection {
        id,
        name: name.clone(),
        requester: requester.unwrap_or(Handle::at(0)),
        accepter: accepter.unwrap_or(Handle::at(0)),
    });
}

fn end(
    context: &mut Context,
    spec: &spec::VpcPeeringConnection,
    field: &Field<String>,
    key: &str,
) -> Option<Handle<Vpc>> {
    let noun = format!("peering connection `{}`", spec.name.value);
    let Spanned { value, span } = context.report.require(field, key, &noun, spec.name.span)?;
    match context.names.vpc(value) {
        Ok(vpc) => Some(vpc),
        Err(miss) => {
            context.miss(*span, miss);
            None
        }
    }
}

/// AWS refuses to peer VPCs that have an address in common: no route could tell them apart.
pub(super) fn check(context: &mut Context, specs: &[spec::VpcPeeringConnection]) {
    for (spec, ends) in specs.iter().zip(&context.peerings) {
        let Some([one, other]) = ends.map(|ends| ends.map(|vpc| &context.topology.vpcs[vpc]))
        else {
            continue;
        };
        if one.name == other.name {
            continue;
        }
        let mut pairs = one.cidr_blocks.iter().flat_map(|a| {
            other.cidr_blocks.iter().filter(move |b| overlap(a, b)).map(move |b| (a, b))
        });
        if let Some((a, b)) = pairs.next() {
            context
                .report
                .error(
                    spec.name.span,
                    format!("`{a}` of VPC `{}` overlaps `{b}` of VPC `{}`", one.name, other.name),
                )
                .help("peered VPCs have no address in common");
        }
    }
}
