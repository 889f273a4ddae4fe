//! Functions: create, read, list, update, delete.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde_json::{Value, json};
use viaduct_control_plane::iam::Context;

use super::{
    answer::{Configuration, shown, shown_to},
    configuration::{self, LOOKED_AT, Shown},
    failure::Failure,
    input::{Input, LIMIT, Operation},
    members,
    order::Order,
    page::{self, Page},
    shape::{Member, Shape},
    tags,
    target::Target,
};
use crate::api::{Running, caller::Caller};

type App = Arc<Running>;

/// Bytes of a request with code in it.
const CODE_LIMIT: usize = 70_167_211;

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
    let create = Order::create(function, configuration, tags, publish);
    let answer = create.carry_out(&running, &target).await?;
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
    let update = Order::update_configuration(function, change, revision);
    update.carry_out(&running, &target).await?;
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
    let update = Order::update_code(function, code, revision, publish);
    let answer = update.carry_out(&running, &target).await?;
    let target = target.published(answer);
    shown(&running, &target)
}

/// `DeleteFunction`: all of it, or one version.
pub(super) async fn delete(
    State(running): State<App>,
    target: Target,
) -> Result<StatusCode, Failure> {
    let delete = Order::delete(target.function.clone(), target.qualifier);
    delete.carry_out(&running, &target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `ListFunctions`: of the caller's account.
pub(super) async fn list(
    State(running): State<App>,
    caller: Caller,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let page = Page::asked(query)?;
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
            (page::key(&function.name, qualifier), shown.configuration())
        })
    });
    page.of(entries, "Functions")
}
