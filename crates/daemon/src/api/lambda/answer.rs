//! A function's configuration, as most operations answer it.

use axum::Json;
use serde_json::{Map, Value};
use viaduct_control_plane::{iam::Context, lifecycle::VersionId};

use super::{configuration::Shown, failure::Failure, target::Target};
use crate::api::Running;

/// A configuration.
pub(super) type Configuration = Json<Map<String, Value>>;

/// A function or version as it is now, for whoever may do this with it.
pub(super) fn shown_to(
    action: &str,
    running: &Running,
    target: &Target,
) -> Result<Configuration, Failure> {
    target.may(action, &Context::default())?;
    shown(running, target)
}

/// A function or version as it is now.
pub(super) fn shown(running: &Running, target: &Target) -> Result<Configuration, Failure> {
    let machine = running.functions.machine();
    let VersionId { function, version: qualifier } = target.version();
    let Some(version) = machine.function(&function).and_then(|it| it.version(qualifier)) else {
        return Err(target.not_found(qualifier));
    };
    let shown = Shown {
        machine: &machine,
        region: &target.region,
        function: &function,
        qualifier,
        version,
        qualified: target.qualifier.is_some(),
        state: true,
    };
    Ok(Json(shown.configuration()))
}
