//! Published versions: each keeps its configuration, and with it its ENIs (LAM-54).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    answer::{Configuration, shown},
    configuration::{self, Shown},
    failure::Failure,
    input::{Input, LIMIT, Operation},
    members,
    order::Order,
    page::{self, Page},
    shape::{Member, Shape},
    target::Target,
};
use crate::api::Running;

static PUBLISH: Operation = Operation {
    name: "PublishVersion",
    limit: LIMIT,
    members: &[&[
        Member::new("CodeSha256", Shape::Text(0..=64)),
        Member::new("Description", Shape::Text(0..=256)),
        Member::new("RevisionId", Shape::Text(0..=64)),
    ]],
};

/// `PublishVersion`
pub(super) async fn publish(
    State(running): State<Arc<Running>>,
    target: Target,
    request: Request,
) -> Result<(StatusCode, Configuration), Failure> {
    let input = Input::read(request, &PUBLISH).await?;
    let function = target.clone().changeable()?;
    let revision = match input.text("CodeSha256").filter(|digest| !digest.is_empty()) {
        None => configuration::revision(&input, &function),
        // The digest and the revision that is published are of one moment.
        Some(digest) => Some(match configuration::revision(&input, &function) {
            Some(named) => {
                has_code(&running, &target, digest)?;
                named
            }
            None => has_code(&running, &target, digest)?,
        }),
    };
    // An empty one counts as none, as with a digest.
    let described = input.text("Description").filter(|text| !text.is_empty());
    let described = described.map(|text| ("Description".to_owned(), json!(text).to_string()));
    let order = Order::publish(function, revision, described.into_iter().collect());
    let answer = order.carry_out(&running, &target).await?;
    let target = target.published(answer);
    Ok((StatusCode::CREATED, shown(&running, &target)?))
}

/// Whether `$LATEST` has this code; if so, its revision.
fn has_code(running: &Running, target: &Target, digest: &str) -> Result<u64, Failure> {
    let machine = running.functions.machine();
    let function = target.read("lambda:PublishVersion", &machine)?;
    let latest = &function.latest;
    let present = members::read(&latest.configuration.carried, "CodeSha256");
    let present = present.as_ref().and_then(Value::as_str).unwrap_or_default();
    match present == digest {
        true => Ok(latest.revision),
        false => Err(Failure::invalid(format!(
            "CodeSHA256 ({digest}) is different from current CodeSHA256 in $LATEST ({present}). \
             Please try again with the CodeSHA256 in $LATEST."
        ))),
    }
}

/// `ListVersionsByFunction`: `$LATEST`, then what was published.
pub(super) async fn list(
    State(running): State<Arc<Running>>,
    target: Target,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let page = Page::asked(query)?;
    let machine = running.functions.machine();
    let function = target.read("lambda:ListVersionsByFunction", &machine)?;
    let entries = function.versions().map(|(qualifier, version)| {
        let shown = Shown {
            machine: &machine,
            region: &target.region,
            function: &function.name,
            qualifier,
            version,
            qualified: true,
            state: true,
        };
        (page::key(&function.name, qualifier), shown.configuration())
    });
    page.of(entries, "Versions")
}
