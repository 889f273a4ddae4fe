//! Names and ids: what may be one, and that no two are the same.

use std::{collections::HashMap, net::IpAddr};

use super::Report;
use crate::{
    id::ResourceId,
    path::Kind,
    spec::{Span, Spanned},
};

/// Names become parts of paths, host names and names of namespaces, hence the modest length.
const LONGEST_NAME: usize = 63;

/// Checks the name of something; `what` has its article.
pub(super) fn check(report: &mut Report, what: &str, name: &Spanned<String>) {
    let text = name.value.as_str();
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !starts_well || !text.chars().all(letters) || text.len() > LONGEST_NAME {
        report.error(name.span, format!("`{text}` cannot be the name of {what}")).help(format!(
            "a name has 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`, and starts with a \
             letter or a digit"
        ));
    } else if text.parse::<IpAddr>().is_ok() {
        report
            .error(name.span, format!("`{text}` cannot be the name of {what}"))
            .help("it would be taken for the address");
    }
}

/// Checks the name of a VPC, which stands before others in references.
pub(super) fn check_vpc(report: &mut Report, name: &Spanned<String>) {
    check(report, "a VPC", name);
    if Kind::from_word(&name.value).is_some() {
        report
            .error(name.span, format!("`{}` cannot be the name of a VPC", name.value))
            .help("it is the word for a kind of resource in references");
    }
}

/// The ids that a topology's author chose.
#[derive(Debug, Default)]
pub(super) struct Ids {
    chosen: HashMap<String, Span>,
}

impl Ids {
    /// The id of a resource: the chosen one, or one derived from its path.
    pub(super) fn id(
        &mut self,
        report: &mut Report,
        prefix: &str,
        path: &str,
        chosen: Option<&Spanned<String>>,
    ) -> ResourceId {
        let derived = ResourceId::derived(prefix, path);
        let Some(chosen) = chosen else { return derived };
        let digits = chosen.value.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        let valid = digits.is_some_and(|digits| {
            (1..=32).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_alphanumeric())
        });
        if !valid {
            report
                .error(chosen.span, format!("`{}` is not an id of this kind", chosen.value))
                .help(format!("an id is `{prefix}-` and letters or digits, such as `{derived}`"));
            return derived;
        }
        if self.chosen.insert(chosen.value.clone(), chosen.span).is_some() {
            report
                .error(chosen.span, format!("the id `{}` is used twice", chosen.value))
                .help("every resource has an id of its own");
        }
        ResourceId::named(&chosen.value)
    }
}
