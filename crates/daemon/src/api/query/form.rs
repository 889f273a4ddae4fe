//! Forms: names and values, with numbers in the names for lists.

use std::collections::BTreeMap;

use super::Failure;

/// What a request asks, as names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads what a form or a query holds. Of two values of one name the last one counts.
    pub(super) fn read(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// A value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values of a list: `NAME.1`, `NAME.2` and so on.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        (1..).map_while(move |number| self.text(&format!("{name}.{number}")))
    }

    /// A value that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.text(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let message = format!("The request must contain the parameter {name}");
            Failure::new("MissingParameter", message)
        })
    }
}
