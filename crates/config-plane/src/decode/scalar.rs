//! Single values: what the text must be, and what is said if it is not.
//!
//! YAML itself would make a number of `65_000`, a boolean of `yes` and octal of `0123`. Here a value
//! is text until the key it stands under says what it must be.

use std::net::IpAddr;

use ipnet::IpNet;
use viaduct_topology::{
    Report, Spanned,
    model::PortRange,
    spec::{Limit, References},
};

use crate::tree::{Node, Value};

/// The text of a value; `expected` is what it should be.
fn scalar<'n>(report: &mut Report, node: &'n Node, expected: &str) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(text) => return Some(text),
        Value::Refused => {}
        Value::Null => {
            report
                .error(node.span, format!("expected {expected}, found nothing"))
                .help("give the key a value, or remove it");
        }
        other => {
            report.error(node.span, format!("expected {expected}, found {}", other.noun()));
        }
    }
    None
}

/// A text, such as a name or a reference.
pub(super) fn text(report: &mut Report, node: &Node) -> Option<String> {
    scalar(report, node, "a single value").map(str::to_owned)
}

/// A whole number.
pub(super) fn number(report: &mut Report, node: &Node) -> Option<u32> {
    let text = scalar(report, node, "a number")?;
    parse_number(report, node, text, "")
}

/// A whole number, or `none` for a limit that does not hold.
pub(super) fn limit(report: &mut Report, node: &Node) -> Option<Limit> {
    let text = scalar(report, node, "a number or `none`")?;
    if text == "none" {
        return Some(None);
    }
    parse_number(report, node, text, "; without a limit, write `none`").map(Some)
}

/// A whole number, from the text of a value; `else_` is what else there could be.
fn parse_number(report: &mut Report, node: &Node, text: &str, else_: &str) -> Option<u32> {
    let number = digits(text);
    if number.is_none() {
        let problem = report.error(node.span, format!("`{text}` is not a number"));
        if text.contains(['_', ',']) && digits(&text.replace(['_', ','], "")).is_some() {
            problem.help("write the digits alone");
        } else {
            problem.help(format!("a number has digits only and is at most {}{else_}", u32::MAX));
        }
    }
    number
}

/// A number in decimal digits. Signs and leading zeros are refused: they mean something else in too
/// many places.
pub(super) fn digits(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded { text.parse().ok() } else { None }
}

/// `true` or `false`.
pub(super) fn boolean(report: &mut Report, node: &Node) -> Option<bool> {
    match scalar(report, node, "`true` or `false`")? {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        other => {
            report
                .error(node.span, format!("`{other}` is neither true nor false"))
                .help("write `true` or `false`");
            None
        }
    }
}

/// An address.
pub(super) fn ip(report: &mut Report, node: &Node) -> Option<IpAddr> {
    let text = scalar(report, node, "an address")?;
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let problem = report.error(node.span, format!("`{text}` is not an address"));
    match text.split_once('/') {
        Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => {
            problem.help(format!("one address is wanted, not a block: `{ip}`"));
        }
        _ => problem.help("an address is written like `10.0.1.10`"),
    }
    None
}

/// A block.
pub(super) fn net(report: &mut Report, node: &Node) -> Option<IpNet> {
    let text = scalar(report, node, "a block")?;
    parse_net(report, node, text)
}

/// A block, from the text of a value.
pub(super) fn parse_net(report: &mut Report, node: &Node, text: &str) -> Option<IpNet> {
    if let Ok(net) = text.parse() {
        return Some(net);
    }
    let problem = report.error(node.span, format!("`{text}` is not a CIDR block"));
    let address = text.split('/').next().unwrap_or_default().parse::<IpAddr>();
    match address {
        Ok(ip) if !text.contains('/') => {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            problem
                .help(format!("add the length of the prefix; `{ip}/{bits}` is this address alone"));
        }
        Ok(ip) => {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            problem.help(format!("the length of the prefix is 0 to {bits}"));
        }
        Err(_) => problem.help("a block is an address and the length of a prefix: `10.0.0.0/16`"),
    }
    None
}

/// A block, or something that has blocks.
pub(super) enum BlockOrReference {
    Block(IpNet),
    Reference(String),
}

/// A block, or a reference to something that has blocks. What looks like an address is taken for a
/// block, so that a slip in one is told as such.
pub(super) fn block_or_reference(report: &mut Report, node: &Node) -> Option<BlockOrReference> {
    let text = scalar(report, node, "a block or a reference")?;
    let numeric = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/');
    let address = text.parse::<IpAddr>().is_ok();
    if address || (text.contains(['.', ':']) && text.chars().all(numeric)) {
        return parse_net(report, node, text).map(BlockOrReference::Block);
    }
    Some(BlockOrReference::Reference(text.to_owned()))
}

/// `443`, `1024-65535` or `all`.
pub(super) fn ports(report: &mut Report, node: &Node) -> Option<PortRange> {
    const FORMS: &str = "ports are written `443` or `1024-65535`, from 0 to 65535";
    if let Value::Sequence(_) = node.value {
        report
            .error(node.span, "expected ports, found a list")
            .help("a rule has one range of ports; write a rule for each");
        return None;
    }
    let text = scalar(report, node, "ports")?;
    if text == "all" {
        return Some(PortRange::ALL);
    }
    let port = |text: &str| digits(text.trim()).and_then(|port| u16::try_from(port).ok());
    let range = match text.split_once('-') {
        None => port(text).map(PortRange::single),
        Some((first, last)) => match (port(first), port(last)) {
            (Some(first), Some(last)) => Some(PortRange { first, last }),
            _ => None,
        },
    };
    match range {
        Some(range) if range.first > range.last => {
            report
                .error(node.span, format!("`{text}` ends before it begins"))
                .help(format!("write `{}-{}`", range.last, range.first));
            None
        }
        Some(range) => Some(range),
        None => {
            report.error(node.span, format!("`{text}` is not a port")).help(FORMS);
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    report: &mut Report,
    node: &Node,
    words: &[(&'static str, T)],
) -> Option<T> {
    let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let known = match known.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => known.concat(),
    };
    let text = scalar(report, node, &known)?;
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    if found.is_none() {
        report.error(node.span, format!("expected {known}, found `{text}`"));
    }
    found.map(|(_, value)| *value)
}

/// A list of references.
pub(super) fn references(report: &mut Report, node: &Node) -> Option<References> {
    list(report, node, "names", text)
}

/// A list of accounts.
pub(super) fn accounts(report: &mut Report, node: &Node) -> Option<Vec<Spanned<String>>> {
    list(report, node, "accounts", text)
}

/// A list of blocks.
pub(super) fn nets(report: &mut Report, node: &Node) -> Option<Vec<Spanned<IpNet>>> {
    list(report, node, "blocks", net)
}

/// A list of addresses.
pub(super) fn ips(report: &mut Report, node: &Node) -> Option<Vec<Spanned<IpAddr>>> {
    list(report, node, "addresses", ip)
}

/// A list of values. `None` if it has some and none can be read, because then it is not known what
/// it should hold.
fn list<T>(
    report: &mut Report,
    node: &Node,
    nouns: &str,
    mut read: impl FnMut(&mut Report, &Node) -> Option<T>,
) -> Option<Vec<Spanned<T>>> {
    let items = match &node.value {
        Value::Sequence(items) => items,
        Value::Null => return Some(Vec::new()),
        Value::Refused => return None,
        other => {
            let problem = report
                .error(node.span, format!("expected a list of {nouns}, found {}", other.noun()));
            if let Value::Scalar(text) = other {
                problem.help(format!("write `[{text}]`"));
            }
            return None;
        }
    };
    let values: Vec<Spanned<T>> = items
        .iter()
        .filter_map(|item| read(report, item).map(|value| Spanned::new(value, item.span)))
        .collect();
    (items.is_empty() || !values.is_empty()).then_some(values)
}

/// A list of which every item can be read.
pub(super) fn all<T>(
    read: impl FnOnce(&mut Report, &Node) -> Option<Vec<T>>,
) -> impl FnOnce(&mut Report, &Node) -> Option<Vec<T>> {
    |report, node| {
        let written = match &node.value {
            Value::Sequence(items) => items.len(),
            _ => 0,
        };
        read(report, node).filter(|values| values.len() == written)
    }
}
