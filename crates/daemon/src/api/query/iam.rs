//! IAM, as far as functions need it: execution roles and their policies (LAM-70).
//!
//! The machine knows roles by their names alone, as the topology file has them, in whichever account
//! and under whichever path. A role's policies are told apart by their names: inline ones by the name
//! they are given, managed ones by AWS's.

use std::sync::Arc;

use axum::http::StatusCode;
use viaduct_config_plane::load_policy;
use viaduct_control_plane::{
    iam::{Context, Policy},
    lifecycle::{Answer, Command, Lifecycle, Owner, Refusal, Role},
};

use super::{Failure, form::Form, unknown, xml::Element};
use crate::api::{Running, caller::Caller};

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// Characters of a role's name.
const LONGEST_NAME: usize = 64;

const ACTIONS: [&str; 9] = [
    "CreateRole",
    "GetRole",
    "DeleteRole",
    "PutRolePolicy",
    "DeleteRolePolicy",
    "ListRolePolicies",
    "AttachRolePolicy",
    "DetachRolePolicy",
    "ListAttachedRolePolicies",
];

/// Carries out an action.
pub(super) async fn answer(
    running: &Arc<Running>,
    caller: &Caller,
    action: &str,
    form: &Form,
) -> Result<Element, Failure> {
    if !ACTIONS.contains(&action) {
        return Err(unknown(action));
    }
    let name = role_name(form)?;
    let path = form.text("Path").unwrap_or("/");
    let arn = format!("arn:aws:iam::{}:role{path}{name}", caller.account());
    caller
        .may(&format!("iam:{action}"), &arn, &Context::default())
        .map_err(|denied| refused(StatusCode::FORBIDDEN, "AccessDenied", denied.to_string()))?;
    let shown = Element::parent("Role")
        .with(Element::text("RoleName", name))
        .with(Element::text("Arn", arn));
    let result = match action {
        "CreateRole" => {
            let trust = form.required("AssumeRolePolicyDocument")?;
            serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(trust).map_err(
                |error| {
                    Failure::new("MalformedPolicyDocument", format!("the trust policy: {error}"))
                },
            )?;
            write(running, |machine| create(machine, name)).await?;
            vec![shown]
        }
        "GetRole" => {
            existing(&running.functions.machine(), name)?;
            vec![shown]
        }
        "DeleteRole" => {
            write(running, |machine| delete(machine, name)).await?;
            Vec::new()
        }
        "ListRolePolicies" => listed(running, name, "PolicyNames", |id| {
            Policy::managed(id).is_none().then(|| Element::text("member", id))
        })?,
        "ListAttachedRolePolicies" => listed(running, name, "AttachedPolicies", |id| {
            let arn = format!("arn:aws:iam::aws:policy/service-role/{id}");
            let member = Element::parent("member").with(Element::text("PolicyName", id));
            Policy::managed(id).map(|_| member.with(Element::text("PolicyArn", arn)))
        })?,
        _ => {
            write(running, |machine| other_policies(machine, name, action, form)).await?;
            Vec::new()
        }
    };
    let mut response = Element::parent(format!("{action}Response")).of(NAMESPACE);
    if !result.is_empty() {
        let result =
            result.into_iter().fold(Element::parent(format!("{action}Result")), Element::with);
        response = response.with(result);
    }
    let id = Element::text("RequestId", crate::api::request_id());
    Ok(response.with(Element::parent("ResponseMetadata").with(id)))
}

async fn write(
    running: &Running,
    make: impl FnOnce(&Lifecycle) -> Result<Command, Failure>,
) -> Result<Answer, Failure> {
    Ok(running.functions.decide(make).await??)
}

fn create(machine: &Lifecycle, name: &str) -> Result<Command, Failure> {
    if machine.role(name).is_some() {
        let message = format!("Role with name {name} already exists.");
        return Err(refused(StatusCode::CONFLICT, "EntityAlreadyExists", message));
    }
    Ok(Command::PutRole { role: name.into(), policies: Vec::new() })
}

fn delete(machine: &Lifecycle, name: &str) -> Result<Command, Failure> {
    if !changeable(machine, name)?.policies.is_empty() {
        let message = "Cannot delete entity, must detach all policies first.";
        return Err(refused(StatusCode::CONFLICT, "DeleteConflict", message));
    }
    Ok(Command::DeleteRole(name.into()))
}

/// Adds a policy to those of a role, or takes one away.
fn other_policies(
    machine: &Lifecycle,
    name: &str,
    action: &str,
    form: &Form,
) -> Result<Command, Failure> {
    let mut policies = changeable(machine, name)?.policies.clone();
    let (id, added) = match action {
        "PutRolePolicy" => {
            let id = form.required("PolicyName")?;
            let document = form.required("PolicyDocument")?;
            let policy = load_policy("PolicyDocument", document).map_err(|problems| {
                Failure::new("MalformedPolicyDocument", problems.to_string())
            })?;
            (id.to_owned(), Some(Policy { id: Some(id.to_owned()), ..policy }))
        }
        "DeleteRolePolicy" => (form.required("PolicyName")?.to_owned(), None),
        attach_or_detach => {
            let arn = form.required("PolicyArn")?;
            let policy = Policy::managed(arn).ok_or_else(|| {
                let message = format!(
                    "Policy {arn} does not exist or is not attachable: viaduct knows {}",
                    Policy::MANAGED.join(", ")
                );
                refused(StatusCode::NOT_FOUND, "NoSuchEntity", message)
            })?;
            let id = policy.id.clone().unwrap_or_default();
            (id, Some(policy).filter(|_| attach_or_detach == "AttachRolePolicy"))
        }
    };
    let is_it = |policy: &Policy| policy.id.as_deref() == Some(&id);
    if added.is_none() && !policies.iter().any(is_it) {
        let message = format!("The role {name} has no policy {id}.");
        return Err(refused(StatusCode::NOT_FOUND, "NoSuchEntity", message));
    }
    policies.retain(|policy| !is_it(policy));
    policies.extend(added);
    Ok(Command::PutRole { role: name.into(), policies })
}

/// The policies of a role that are to be listed.
fn listed(
    running: &Running,
    name: &str,
    list: &str,
    entry: impl Fn(&str) -> Option<Element>,
) -> Result<Vec<Element>, Failure> {
    let machine = running.functions.machine();
    let ids = existing(&machine, name)?.policies.iter().filter_map(|policy| policy.id.as_deref());
    let list = ids.filter_map(entry).fold(Element::parent(list), Element::with);
    Ok(vec![list, Element::text("IsTruncated", "false")])
}

fn existing<'m>(machine: &'m Lifecycle, name: &str) -> Result<&'m Role, Failure> {
    machine.role(name).ok_or_else(|| Refusal::RoleNotFound(name.into()).into())
}

/// A role that the topology file does not declare: of that the next reload would undo all changes.
fn changeable<'m>(machine: &'m Lifecycle, name: &str) -> Result<&'m Role, Failure> {
    let role = existing(machine, name)?;
    match role.owner {
        Owner::Api => Ok(role),
        Owner::File => Err(Failure::new(
            "UnmodifiableEntity",
            format!("the role {name} is declared by the topology file: change it there"),
        )),
    }
}

fn role_name(form: &Form) -> Result<&str, Failure> {
    let name = form.required("RoleName")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    match name.len() <= LONGEST_NAME && name.chars().all(letters) {
        true => Ok(name),
        false => Err(Failure::new(
            "ValidationError",
            format!(
                "1 validation error detected: Value '{name}' at 'roleName' failed to satisfy \
                 constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]{{1,64}}"
            ),
        )),
    }
}

fn refused(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
    Failure { status, ..Failure::new(code, message) }
}

/// The shape of IAM's errors.
pub(super) fn error(failure: &Failure, id: &str) -> Element {
    let error = Element::parent("Error")
        .with(Element::text("Type", "Sender"))
        .with(Element::text("Code", failure.code))
        .with(Element::text("Message", &failure.message));
    Element::parent("ErrorResponse").of(NAMESPACE).with(error).with(Element::text("RequestId", id))
}
