//! Tags: carried, and given back.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, Request, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    failure::Failure,
    input::{Input, LIMIT, Operation},
    order::Order,
    shape::{Member, Shape},
    target::Target,
};
use crate::api::Running;

/// Tags by their keys.
pub(super) const TAGS: Shape = Shape::Texts(&Shape::Text(1..=128), &Shape::Text(0..=256));

static TAG: Operation =
    Operation { name: "TagResource", limit: LIMIT, members: &[&[Member::required("Tags", TAGS)]] };

/// The tags that a request gives.
pub(super) fn given(input: &Input) -> BTreeMap<String, String> {
    let tags = input.object("Tags");
    let tags = tags.iter().flat_map(Input::texts);
    tags.map(|(key, tag)| (key.to_owned(), tag.to_owned())).collect()
}

/// `ListTags`
pub(super) async fn list(
    State(running): State<Arc<Running>>,
    target: Target,
) -> Result<Json<Value>, Failure> {
    let machine = running.functions.machine();
    let function = target.read("lambda:ListTags", &machine)?;
    Ok(Json(json!({ "Tags": function.tags })))
}

/// `TagResource`
pub(super) async fn tag(
    State(running): State<Arc<Running>>,
    target: Target,
    request: Request,
) -> Result<StatusCode, Failure> {
    let input = Input::read(request, &TAG).await?;
    let function = target.clone().changeable()?;
    Order::tag(function, given(&input)).carry_out(&running, &target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `UntagResource`
pub(super) async fn untag(
    State(running): State<Arc<Running>>,
    target: Target,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Failure> {
    let query = query.unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let keys = pairs.filter(|(name, _)| name == "tagKeys").map(|(_, key)| key.into_owned());
    let untag = Order::untag(target.clone().changeable()?, keys.collect());
    untag.carry_out(&running, &target).await?;
    Ok(StatusCode::NO_CONTENT)
}
