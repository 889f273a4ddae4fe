//! Functions: create, read, list, update, delete.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use viaduct_control_plane::{
    iam::Context,
    lifecycle::{Command, VersionId},
};

use super::{
    command,
    configuration::{self, LOOKED_AT, Shown},
    failure::Failure,
    input::{Input, Operation},
    members,
    shape::{Member, Shape},
    tags,
    target::Target,
    versions,
};
use crate::api::{Running, caller::Caller};

type App = Arc<Running>;

/// Bytes of a request with code in it.
const CODE_LIMIT: usize = 70_167_211;

/// Bytes of any other; a configuration with all that it may have is shorter.
pub(super) const LIMIT: usize = 1 << 20;

/// Functions on a page at most.
const PAGE: usize = 50;

static CREATE: Operation = Operation {
    name: "CreateFunction",
    limit: CODE_LIMIT,
    members: &[
        &[
            Member::required("FunctionName", Shape::Text(1..=140)),
            Member::required("Role", Shape::Text(1..=2048)),
            Member::required("Code", Shape::Object(members::CODE)),
            Member::new("Publish", Shape::Flag),
            Member::new("Tags", tags::TAGS),
        ],
        LOOKED_AT,
        members::CARRIED,
    ],
};

static UPDATE_CONFIGURATION: Operation = Operation {
    name: "UpdateFunctionConfiguration",
    limit: LIMIT,
    members: &[&[Member::new("RevisionId", Shape::Text(0..=64))], LOOKED_AT, members::CARRIED],
};

static UPDATE_CODE: Operation = Operation {
    name: "UpdateFunctionCode",
    limit: CODE_LIMIT,
    members: &[
        &[
            Member::new("RevisionId", Shape::Text(0..=64)),
            Member::new("Publish", Shape::Flag),
            Member::new("DryRun", Shape::Flag),
        ],
        members::CODE,
        members::CARRIED,
    ],
};

/// A configuration, as most operations answer.
pub(super) type Configuration = Json<Map<String, Value>>;

/// `CreateFunction`
pub(super) async fn create(
    State(running): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Configuration), Failure> {
    let input = Input::read(request, &CREATE).await?;
    let target = Target::parse(input.text("FunctionName").unwrap_or_default(), &caller)?;
    let function = target.clone().changeable()?;
    let configuration = configuration::whole(&input, &function, SystemTime::now())?;
    let tags = tags::given(&input);
    let publish = input.flag("Publish");
    let create = Command::CreateFunction { function, configuration, tags, publish };
    let answer = command(&running, &target, create).await?;
    let target = target.published(answer);
    Ok((StatusCode::CREATED, shown(&running, &target)?))
}

/// `GetFunction`
pub(super) async fn function(
    State(running): State<App>,
    target: Target,
) -> Result<Json<Value>, Failure> {
    let Json(configuration) = shown_to("lambda:GetFunction", &running, &target)?;
    let machine = running.functions.machine();
    let function = machine.function(&target.function);
    let image = function
        .and_then(|function| function.version(target.version().version))
        .and_then(|version| members::read(&version.configuration.carried, "ImageUri"));
    // Code is not kept, so there is nowhere to load it from.
    let code = image
        .map_or_else(|| json!({}), |image| json!({ "RepositoryType": "ECR", "ImageUri": image }));
    let mut answer = json!({ "Configuration": configuration, "Code": code });
    if let Some(tags) = function.map(|function| &function.tags).filter(|tags| !tags.is_empty()) {
        answer["Tags"] = json!(tags);
    }
    Ok(Json(answer))
}

/// `GetFunctionConfiguration`
pub(super) async fn configuration(
    State(running): State<App>,
    target: Target,
) -> Result<Configuration, Failure> {
    shown_to("lambda:GetFunctionConfiguration", &running, &target)
}

/// `UpdateFunctionConfiguration`
pub(super) async fn update_configuration(
    State(running): State<App>,
    target: Target,
    request: Request,
) -> Result<Configuration, Failure> {
    let input = Input::read(request, &UPDATE_CONFIGURATION).await?;
    let function = target.clone().changeable()?;
    let revision = configuration::revision(&input, &function);
    let change = configuration::change(&input, &function, SystemTime::now())?;
    let update = Command::UpdateFunctionConfiguration { function, change, revision };
    command(&running, &target, update).await?;
    shown(&running, &target)
}

/// `UpdateFunctionCode`
pub(super) async fn update_code(
    State(running): State<App>,
    target: Target,
    request: Request,
) -> Result<Configuration, Failure> {
    let input = Input::read(request, &UPDATE_CODE).await?;
    let function = target.clone().changeable()?;
    let revision = configuration::revision(&input, &function);
    let mut code = members::code(&input)?;
    code.extend(members::carried(&input)?);
    code.extend(configuration::modified(SystemTime::now()));
    if input.flag("DryRun") {
        return shown_to("lambda:UpdateFunctionCode", &running, &target);
    }
    let publish = input.flag("Publish");
    let update = Command::UpdateFunctionCode { function, code, revision, publish };
    let answer = command(&running, &target, update).await?;
    let target = target.published(answer);
    shown(&running, &target)
}

/// `DeleteFunction`: all of it, or one version.
pub(super) async fn delete(
    State(running): State<App>,
    target: Target,
) -> Result<StatusCode, Failure> {
    let (function, version) = (target.function.clone(), target.qualifier);
    command(&running, &target, Command::DeleteFunction { function, version }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    marker: Option<String>,
    max_items: Option<usize>,
    function_version: Option<String>,
}

impl Page {
    /// The entries of this page of all of them, each with a key that its page can begin after.
    pub(super) fn of(
        self,
        all: impl Iterator<Item = (String, Map<String, Value>)>,
        name: &str,
    ) -> Result<Json<Value>, Failure> {
        let Self { marker, max_items, .. } = self;
        let room = max_items.unwrap_or(PAGE);
        if !(1..=10_000).contains(&room) {
            return Err(Failure::validation(&[format!(
                "Value '{room}' at 'maxItems' failed to satisfy constraint: Member must have value \
                 between 1 and 10000"
            )]));
        }
        let after = match &marker {
            None => None,
            Some(marker) => Some(key_of(marker)?),
        };
        let mut rest = all.skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after));
        let (mut last, mut entries) = (None, Vec::new());
        for (key, entry) in rest.by_ref().take(room.min(PAGE)) {
            entries.push(entry);
            last = Some(key);
        }
        let mut answer = json!({ name: entries });
        if let Some(last) = last.filter(|_| rest.next().is_some()) {
            answer["NextMarker"] = json!(BASE64URL_NOPAD.encode(last.as_bytes()));
        }
        Ok(Json(answer))
    }
}

/// What a page's marker says it begins after.
fn key_of(marker: &str) -> Result<String, Failure> {
    let decoded = BASE64URL_NOPAD.decode(marker.as_bytes()).ok();
    decoded.and_then(|key| String::from_utf8(key).ok()).ok_or_else(|| {
        Failure::invalid(format!("Invalid Marker: '{marker}' is of no NextMarker of a list here"))
    })
}

/// The query of a list.
pub(super) fn page(query: Result<Query<Page>, QueryRejection>) -> Result<Page, Failure> {
    let Query(page) = query.map_err(|error| Failure::validation(&[error.body_text()]))?;
    Ok(page)
}

/// `ListFunctions`: of the caller's account.
pub(super) async fn list(
    State(running): State<App>,
    caller: Caller,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let page = page(query)?;
    caller.may("lambda:ListFunctions", "*", &Context::default())?;
    let all = match page.function_version.as_deref() {
        None => false,
        Some("ALL") => true,
        Some(other) => {
            return Err(Failure::validation(&[format!(
                "Value '{other}' at 'functionVersion' failed to satisfy constraint: Member must \
                 satisfy enum value set: [ALL]"
            )]));
        }
    };
    let machine = running.functions.machine();
    let functions = machine.functions().filter(|it| it.name.account == *caller.account());
    let entries = functions.flat_map(|function| {
        let versions = function.versions().take(if all { usize::MAX } else { 1 });
        versions.map(|(qualifier, version)| {
            let shown = Shown {
                machine: &machine,
                region: &caller.region,
                function: &function.name,
                qualifier,
                version,
                qualified: all,
                state: false,
            };
            (versions::key(&function.name, qualifier), shown.configuration())
        })
    });
    page.of(entries, "Functions")
}

/// A function or version as it is now, for whoever may do this with it.
fn shown_to(action: &str, running: &Running, target: &Target) -> Result<Configuration, Failure> {
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
