//! Lists with filters, in pages.

use data_encoding::BASE64URL_NOPAD;
use viaduct_control_plane::lifecycle::Lifecycle;

use crate::{
    api::{
        caller::Caller,
        query::{Failure, form::Form, xml::Element},
    },
    network::Network,
};

/// Items on a page at most, and if nobody asks for fewer.
const PAGE: usize = 1000;

/// What an action lists, and how it is asked for some of it.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) action: &'static str,
    /// The element around the items.
    pub(super) set: &'static str,
    /// The parameter that names single ones, and what is said of one that is not there.
    pub(super) id: &'static str,
    pub(super) not_found: &'static str,
    /// The filters that there are.
    pub(super) filters: &'static [&'static str],
    /// Everything that a caller sees.
    pub(super) items: fn(&Network, &Lifecycle, &Caller) -> Vec<Item>,
}

/// One thing in a list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    /// What filters look at; several values under one name if it has several.
    pub(super) attributes: Vec<(&'static str, String)>,
    pub(super) elements: Vec<Element>,
}

impl Item {
    /// Something of which nothing is told yet.
    pub(super) fn new(id: impl ToString) -> Self {
        Self { id: id.to_string(), attributes: Vec::new(), elements: Vec::new() }
    }

    /// Tells a value, and lets it be filtered by.
    pub(super) fn told(
        self,
        element: &'static str,
        filter: &'static str,
        value: impl ToString,
    ) -> Self {
        let value = value.to_string();
        self.with(Element::text(element, &value)).filtered(filter, value)
    }

    /// Tells a value.
    pub(super) fn with(mut self, element: Element) -> Self {
        self.elements.push(element);
        self
    }

    /// Lets it be filtered by a value.
    pub(super) fn filtered(mut self, filter: &'static str, value: impl ToString) -> Self {
        self.attributes.push((filter, value.to_string()));
        self
    }
}

impl Listing {
    /// The items that a form asks for, in a response.
    pub(super) fn page(
        &self,
        mut items: Vec<Item>,
        form: &Form,
        response: Element,
    ) -> Result<Element, Failure> {
        // Nothing is hidden (LAM-34): whoever asks for what is gets the same.
        form.flag("IncludeManagedResources")?;
        items.sort_by(|one, other| one.id.cmp(&other.id));
        let named: Vec<&str> = form.list(self.id).collect();
        if let Some(missing) = named.iter().find(|id| !items.iter().any(|item| item.id == **id)) {
            return Err(Failure::new(self.not_found, format!("The ID '{missing}' does not exist")));
        }
        let filters = self.filters(form)?;
        let wanted = |item: &Item| {
            (named.is_empty() || named.contains(&item.id.as_str()))
                && filters.iter().all(|(name, values)| {
                    let mut present = item.attributes.iter().filter(|(it, _)| it == name);
                    present.any(|(_, it)| values.iter().any(|value| matches(value, it)))
                })
        };
        let room = match form.text("MaxResults") {
            None => PAGE,
            Some(text) => {
                let room = text.parse().ok().filter(|room| (5..=PAGE).contains(room));
                room.ok_or_else(|| {
                    let message = format!(
                        "Value ( {text} ) for parameter maxResults is invalid: 5 to {PAGE}"
                    );
                    Failure::new("InvalidParameterValue", message)
                })?
            }
        };
        let after = match form.text("NextToken") {
            None => String::new(),
            Some(token) => {
                let decoded = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
                decoded.and_then(|token| String::from_utf8(token).ok()).ok_or_else(|| {
                    Failure::new("InvalidNextToken", "The token is of no list here".to_owned())
                })?
            }
        };
        let mut rest = items.into_iter().filter(|item| item.id > after && wanted(item)).peekable();
        let (mut set, mut last) = (Element::parent(self.set), String::new());
        for item in rest.by_ref().take(room) {
            set = set.with(item.elements.into_iter().fold(Element::parent("item"), Element::with));
            last = item.id;
        }
        let response = response.with(set);
        Ok(match rest.peek() {
            Some(_) => {
                let token = BASE64URL_NOPAD.encode(last.as_bytes());
                response.with(Element::text("nextToken", token))
            }
            None => response,
        })
    }

    /// The filters of a form: each has a name and values, one of which suffices.
    fn filters<'f>(&self, form: &'f Form) -> Result<Vec<(&'f str, Vec<&'f str>)>, Failure> {
        let mut filters = Vec::new();
        for number in 1.. {
            let Some(name) = form.text(&format!("Filter.{number}.Name")) else { break };
            if !self.filters.contains(&name) {
                let message = format!(
                    "The filter '{name}' is invalid: viaduct knows {}",
                    self.filters.join(", ")
                );
                return Err(Failure::new("InvalidParameterValue", message));
            }
            filters.push((name, form.list(&format!("Filter.{number}.Value")).collect()));
        }
        Ok(filters)
    }
}

/// Whether a text is as a filter wants it: in that `*` stands for any characters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when the last `*` is to take a character more.
    let (mut p, mut t, mut again) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, taken)) = again else { return false };
                again = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_filters_match_as_a_naive_matcher_says() {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'*', rest @ ..], text) => {
                    (0..=text.len()).any(|taken| naive(rest, &text[taken..]))
                }
                ([b'?', pattern @ ..], [_, text @ ..]) => naive(pattern, text),
                ([one, pattern @ ..], [other, text @ ..]) if one == other => naive(pattern, text),
                _ => false,
            }
        }
        let words = |letters: &[char]| {
            let mut words = vec![String::new()];
            for length in 0..4 {
                let longer: Vec<String> = words
                    .iter()
                    .filter(|word| word.len() == length)
                    .flat_map(|word| letters.iter().map(move |letter| format!("{word}{letter}")))
                    .collect();
                words.extend(longer);
            }
            words
        };
        for pattern in words(&['a', 'b', '*', '?']) {
            for text in words(&['a', 'b']) {
                let expected = naive(pattern.as_bytes(), text.as_bytes());
                assert_eq!(matches(&pattern, &text), expected, "{pattern} {text}");
            }
        }
    }
}
