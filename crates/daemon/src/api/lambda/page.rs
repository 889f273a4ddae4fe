//! Lists in pages.

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use viaduct_control_plane::lifecycle::{FunctionName, Qualifier};

use super::failure::Failure;

/// Entries of a page at most.
const PAGE: usize = 50;

/// What a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    marker: Option<String>,
    max_items: Option<usize>,
    pub(super) function_version: Option<String>,
}

impl Page {
    /// The page that a query asks for.
    pub(super) fn asked(query: Result<Query<Self>, QueryRejection>) -> Result<Self, Failure> {
        let Query(page) = query.map_err(|error| Failure::validation(&[error.body_text()]))?;
        Ok(page)
    }

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

/// What a version is listed under: by name, `$LATEST` first, then by number.
pub(super) fn key(function: &FunctionName, qualifier: Qualifier) -> String {
    let number = match qualifier {
        Qualifier::Latest => 0,
        Qualifier::Version(number) => number,
    };
    // In names there is nothing below a digit but `-` and `.`: of two, the one that goes on is later.
    format!("{}\u{1}{number:010}", function.name)
}

/// What a page's marker says it begins after.
fn key_of(marker: &str) -> Result<String, Failure> {
    let decoded = BASE64URL_NOPAD.decode(marker.as_bytes()).ok();
    decoded.and_then(|key| String::from_utf8(key).ok()).ok_or_else(|| {
        Failure::invalid(format!("Invalid Marker: '{marker}' is of no NextMarker of a list here"))
    })
}
