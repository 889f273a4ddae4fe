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

    /// A value that is true or false; false if it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let message =
                    format!("Value ( {other} ) for parameter {name} is invalid: true or false");
                Err(Failure::new("InvalidParameterValue", message))
            }
        }
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
