//! Rules of security groups and network ACLs, and the traffic they are about.

use viaduct_topology::{
    Report, Span, Spanned,
    model::{AclAction, Traffic},
    spec::{AclRule, SgPeer, SgRule},
    suggest::suggest,
};

use super::{
    fields::{Entry, fields, fields_or, items, mapping, present},
    keys,
    scalar::{self, BlockOrReference},
};
use crate::tree::{Node, Value};

/// The direction of a security group's rule: who its peer is.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// The rules of a security group in one direction.
pub(super) fn security_group(
    report: &mut Report,
    entry: Entry<'_>,
    direction: Direction,
) -> Option<Vec<SgRule>> {
    items(report, entry, "rules", |report, node| sg_rule(report, node, direction))
}

fn sg_rule(report: &mut Report, node: &Node, direction: Direction) -> Option<SgRule> {
    let (object, peer_key, synonym) = match direction {
        Direction::Ingress => (keys::INGRESS_RULE, "from", ("to", "from")),
        Direction::Egress => (keys::EGRESS_RULE, "to", ("from", "to")),
    };
    let [protocol, ports, icmp_type, icmp_code, peer] =
        fields_or(report, node, &object, &[synonym, ("cidr_block", peer_key)]);
    let owner = object.owner;
    let traffic =
        traffic(report, owner, node.span, Parts { protocol, ports, icmp_type, icmp_code });
    let peer = present(report, peer, peer_key, owner, node.span)
        .and_then(|node| self::peer(report, node).map(|peer| Spanned::new(peer, node.span)));
    Some(SgRule { span: node.span, traffic: traffic?, peer: peer? })
}

/// A block, or a reference to a group or a prefix list.
fn peer(report: &mut Report, node: &Node) -> Option<SgPeer> {
    Some(match scalar::block_or_reference(report, node)? {
        BlockOrReference::Block(block) => SgPeer::Cidr(block),
        BlockOrReference::Reference(text) => SgPeer::Reference(text),
    })
}

/// The rules of a network ACL in one direction.
pub(super) fn network_acl(report: &mut Report, entry: Entry<'_>) -> Option<Vec<AclRule>> {
    let Entry::Present(node) = entry else { return None };
    if let Value::Sequence(_) = node.value {
        report
            .error(node.span, "expected a mapping, found a list")
            .help("rules are keyed by their numbers: `{ 100: { action: allow, … } }`");
        return None;
    }
    let entries = mapping(report, node, "rules");
    let rules = entries.iter().filter_map(|(key, value)| {
        let Some(number) = scalar::digits(&key.text) else {
            let problem =
                report.error(key.span, format!("`{}` is not the number of a rule", key.text));
            if key.text == "*" {
                problem.help("whatever no rule matches is denied; that needs no rule");
            } else {
                problem.help("rules are numbered 1 to 32766 and tried in that order");
            }
            return None;
        };
        acl_rule(report, Spanned::new(number, key.span), value)
    });
    Some(rules.collect())
}

fn acl_rule(report: &mut Report, number: Spanned<u32>, node: &Node) -> Option<AclRule> {
    const OWNER: &str = keys::ACL_RULE.owner;
    let [action, protocol, ports, icmp_type, icmp_code, cidr_block] =
        fields(report, node, &keys::ACL_RULE);
    let place = number.span;
    let action = present(report, action, "action", OWNER, place).and_then(|node| {
        let words = [("allow", AclAction::Allow), ("deny", AclAction::Deny)];
        scalar::word(report, node, &words)
    });
    let traffic = traffic(report, OWNER, place, Parts { protocol, ports, icmp_type, icmp_code });
    let cidr_block = present(report, cidr_block, "cidr_block", OWNER, place)
        .and_then(|node| scalar::net(report, node).map(|net| Spanned::new(net, node.span)));
    Some(AclRule { number, action: action?, traffic: traffic?, cidr_block: cidr_block? })
}

/// The keys of a rule that say what traffic it is about.
struct Parts<'n> {
    protocol: Entry<'n>,
    ports: Entry<'n>,
    icmp_type: Entry<'n>,
    icmp_code: Entry<'n>,
}

/// What a rule's `protocol` says.
#[derive(Clone, Copy)]
enum Protocol {
    All,
    Tcp,
    Udp,
    Icmp,
    Other(u8),
}

fn traffic(report: &mut Report, owner: &str, place: Span, parts: Parts<'_>) -> Option<Traffic> {
    let Parts { protocol, ports, icmp_type, icmp_code } = parts;
    let protocol = present(report, protocol, "protocol", owner, place)
        .and_then(|node| self::protocol(report, node));
    let Some(protocol) = protocol else {
        // What belongs to an unknown protocol cannot be judged, but it can be misspelt.
        if let Entry::Present(node) = ports {
            scalar::ports(report, node);
        }
        return None;
    };
    if !matches!(protocol, Protocol::Icmp) {
        for (entry, key) in [(icmp_type, "icmp_type"), (icmp_code, "icmp_code")] {
            if let Entry::Present(node) = entry {
                report.error(node.span, format!("`{key}` belongs to ICMP alone"));
            }
        }
    }
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            // AWS has no default here either (SG-14, ACL-13).
            let Entry::Present(node) = ports else {
                report
                    .error(place, format!("{owner} for TCP or UDP has no `ports`"))
                    .help("write `ports: 443`, `ports: 1024-65535` or `ports: all`");
                return None;
            };
            let ports = scalar::ports(report, node)?;
            let tcp = matches!(protocol, Protocol::Tcp);
            Some(if tcp { Traffic::Tcp(ports) } else { Traffic::Udp(ports) })
        }
        Protocol::Icmp => {
            if let Entry::Present(node) = ports {
                report
                    .error(node.span, "ICMP has no ports")
                    .help("write `icmp_type` and `icmp_code`, or leave them out for any");
            }
            icmp(report, icmp_type, icmp_code)
        }
        Protocol::All | Protocol::Other(_) => {
            if let Entry::Present(node) = ports {
                // As AWS does (SG-13, ACL-12).
                report
                    .warning(node.span, "the ports are ignored")
                    .help("only rules for `tcp` and `udp` have ports");
            }
            Some(match protocol {
                Protocol::Other(number) => Traffic::Protocol(number),
                _ => Traffic::All,
            })
        }
    }
}

fn protocol(report: &mut Report, node: &Node) -> Option<Protocol> {
    let text = scalar::text(report, node)?;
    match text.to_ascii_lowercase().as_str() {
        "all" | "-1" => Some(Protocol::All),
        "tcp" | "6" => Some(Protocol::Tcp),
        "udp" | "17" => Some(Protocol::Udp),
        "icmp" | "1" => Some(Protocol::Icmp),
        "icmpv6" => Some(Protocol::Other(58)),
        other => {
            if let Some(number) = scalar::digits(other).and_then(|it| u8::try_from(it).ok()) {
                return Some(Protocol::Other(number));
            }
            let help = match suggest(other, ["tcp", "udp", "icmp", "all"]) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "write `tcp`, `udp`, `icmp`, `all`, or a number from 0 to 255".to_owned(),
            };
            report.error(node.span, format!("`{text}` is not a protocol")).help(help);
            None
        }
    }
}

/// ICMP's type and code; any, if left out (SG-15).
fn icmp(report: &mut Report, kind: Entry<'_>, code: Entry<'_>) -> Option<Traffic> {
    let mut read = |entry: Entry<'_>| match entry {
        Entry::Present(node) => byte_or_any(report, node),
        Entry::Absent | Entry::Unreadable => Some(None),
    };
    let (kind, code_value) = (read(kind), read(code));
    let (kind, code_value) = (kind?, code_value?);
    if let (None, Some(_), Entry::Present(node)) = (kind, code_value, code) {
        report
            .error(node.span, "a code of any type means nothing")
            .help("give the rule an `icmp_type` too, or remove the code");
        return None;
    }
    Some(Traffic::Icmp { kind, code: code_value })
}

/// 0 to 255; `all` or `-1` is any.
fn byte_or_any(report: &mut Report, node: &Node) -> Option<Option<u8>> {
    let text = scalar::text(report, node)?;
    if matches!(text.as_str(), "all" | "-1") {
        return Some(None);
    }
    let byte = scalar::digits(&text).and_then(|number| u8::try_from(number).ok());
    if byte.is_none() {
        report
            .error(node.span, format!("`{text}` is not an ICMP type or code"))
            .help("write a number from 0 to 255, or `all`");
    }
    byte.map(Some)
}
