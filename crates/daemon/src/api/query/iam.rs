//! IAM, as far as functions need it: execution roles and whether they permit ENIs (LAM-70).
//!
//! A role is known to the machine by its ARN.

use std::sync::Arc;

use axum::http::StatusCode;
use viaduct_control_plane::{
    iam::Policy,
    lifecycle::{Command, Lifecycle, Refusal, RoleName},
};

use super::{Failure, form::Form, unknown, xml::Element};
use crate::api::{Running, caller::Caller};

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exception = refusal.exception();
        let status = StatusCode::from_u16(exception.status()).expect("it is a status of HTTP");
        Self { status, ..Self::new(exception.name(), refusal.to_string()) }
    }
}

/// Carries out an action.
pub(super) async fn answer(
    running: &Arc<Running>,
    caller: &Caller,
    action: &str,
    form: &Form,
) -> Result<Element, Failure> {
    let name = || form.required("RoleName").map(|name| arn(caller, "/", name));
    let result = match action {
        "CreateRole" => {
            let path = form.text("Path").unwrap_or("/");
            let role = arn(caller, path, form.required("RoleName")?);
            form.required("AssumeRolePolicyDocument")?;
            let create = |machine: &Lifecycle| match machine.role(&role) {
                None => Ok(Command::PutRole { role: role.clone(), policies: Vec::new() }),
                Some(_) => Err(Failure {
                    status: StatusCode::CONFLICT,
                    ..Failure::new("EntityAlreadyExists", format!("Role {role} already exists."))
                }),
            };
            running.functions.decide(create).await?;
            Some(shown(&role))
        }
        "GetRole" => {
            let role = name()?;
            existing(&running.functions.machine(), &role)?;
            Some(shown(&role))
        }
        "DeleteRole" => {
            let role = name()?;
            running.functions.decide(|_| Ok::<_, Failure>(Command::DeleteRole(role))).await?;
            None
        }
        "AttachRolePolicy" | "DetachRolePolicy" => {
            // A managed policy that is not known here permits nothing that is asked for here.
            let (role, policy) = (name()?, Policy::managed(form.required("PolicyArn")?));
            let attach = |machine: &Lifecycle| {
                let mut policies = existing(machine, &role)?.to_vec();
                if let Some(policy) = &policy {
                    policies.retain(|other| other != policy);
                    policies.extend((action == "AttachRolePolicy").then(|| policy.clone()));
                }
                Ok::<_, Failure>(Command::PutRole { role: role.clone(), policies })
            };
            running.functions.decide(attach).await?;
            None
        }
        other => return Err(unknown(other)),
    };
    let mut response = Element::parent(format!("{action}Response")).of(NAMESPACE);
    if let Some(shown) = result {
        response = response.with(Element::parent(format!("{action}Result")).with(shown));
    }
    let id = Element::text("RequestId", crate::api::request_id());
    Ok(response.with(Element::parent("ResponseMetadata").with(id)))
}

/// The shape of IAM's errors.
pub(super) fn error(failure: &Failure, id: &str) -> Element {
    let error = Element::parent("Error")
        .with(Element::text("Type", "Sender"))
        .with(Element::text("Code", failure.code))
        .with(Element::text("Message", &failure.message));
    Element::parent("ErrorResponse").of(NAMESPACE).with(error).with(Element::text("RequestId", id))
}

/// The policies of a role.
fn existing<'m>(machine: &'m Lifecycle, role: &RoleName) -> Result<&'m [Policy], Failure> {
    let existing = machine.role(role).map(|role| role.policies.as_slice());
    existing.ok_or_else(|| Refusal::RoleNotFound(role.clone()).into())
}

fn arn(caller: &Caller, path: &str, name: &str) -> RoleName {
    format!("arn:aws:iam::{}:role{path}{name}", caller.account).into()
}

fn shown(role: &RoleName) -> Element {
    let name = role.rsplit('/').next().unwrap_or_default();
    Element::parent("Role")
        .with(Element::text("RoleName", name))
        .with(Element::text("Arn", &**role))
}
