//! EC2, as far as finders of network interfaces and people's scripts read it; of writing there is one
//! action, which deletes an ENI that is stranded (LAM-55).

mod interfaces;
mod listing;
mod network;

use std::sync::Arc;

use axum::http::StatusCode;
use viaduct_control_plane::{
    iam::Context,
    lifecycle::{Command, Lifecycle},
};
use viaduct_topology::ResourceId;

use self::listing::Listing;
use super::{Failure, form::Form, unknown, xml::Element};
use crate::api::{Running, caller::Caller};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The actions that list something, with what they list.
static LISTINGS: [Listing; 5] = [
    interfaces::INTERFACES,
    network::VPCS,
    network::SUBNETS,
    network::SECURITY_GROUPS,
    network::ROUTE_TABLES,
];

/// Carries out an action.
pub(super) async fn answer(
    running: &Arc<Running>,
    caller: &Caller,
    action: &str,
    form: &Form,
) -> Result<Element, Failure> {
    let listing = LISTINGS.iter().find(|listing| listing.action == action);
    if listing.is_none() && action != "DeleteNetworkInterface" {
        return Err(unknown(action));
    }
    caller.may(&format!("ec2:{action}"), "*", &Context::default()).map_err(|denied| Failure {
        status: StatusCode::FORBIDDEN,
        ..Failure::new(
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {denied}"),
        )
    })?;
    let id = Element::text("requestId", crate::api::request_id());
    let response = Element::parent(format!("{action}Response")).of(NAMESPACE).with(id);
    if let Some(listing) = listing {
        let network = running.registry.network();
        let machine = running.functions.machine();
        let items = (listing.items)(&network, &machine, caller);
        return listing.page(items, form, response);
    }
    let eni = ResourceId::named(form.required("NetworkInterfaceId")?);
    let made = running.functions.decide(|machine| {
        may_touch(machine, caller, &eni)?;
        Ok::<_, Failure>(Command::DeleteNetworkInterface(eni))
    });
    made.await??;
    Ok(response.with(Element::text("return", "true")))
}

/// Whether an interface is the caller's own: whoever owns the VPC sees those of others and does not touch
/// them (SHR-05). Of one that is not there, the machine says so.
fn may_touch(machine: &Lifecycle, caller: &Caller, eni: &ResourceId) -> Result<(), Failure> {
    match machine.eni(eni) {
        Some((set, _)) if set.key.account() != &**caller.account() => Err(Failure {
            status: StatusCode::FORBIDDEN,
            ..Failure::new(
                "AuthFailure",
                format!(
                    "You do not have permission to access the specified resource: {eni} is of account \
                     {}",
                    set.key.account()
                ),
            )
        }),
        _ => Ok(()),
    }
}

/// The shape of EC2's errors.
pub(super) fn error(failure: &Failure, id: &str) -> Element {
    let error = Element::parent("Error")
        .with(Element::text("Code", failure.code))
        .with(Element::text("Message", &failure.message));
    Element::parent("Response")
        .with(Element::parent("Errors").with(error))
        .with(Element::text("RequestID", id))
}
