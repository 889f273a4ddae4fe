//! Prefix lists: sets of blocks that rules and routes name.

use std::collections::HashSet;

use ipnet::IpNet;

use super::{cidr, context::Context};
use crate::{
    model::PrefixList,
    spec::{self, Spanned},
};

/// Entries a list may have.
pub(super) const MOST_ENTRIES: u32 = 1000;

/// Builds a prefix list.
pub(super) fn build(context: &mut Context, spec: &spec::PrefixList) {
    let name = &spec.name.value;
    let noun = format!("prefix list `{name}`");
    let id = context.ids.id(&mut context.report, "pl", name, spec.id.as_ref());
    let given = context.report.require(&spec.entries, "entries", &noun, spec.name.span);
    let given = given.map_or(&[][..], |given| &given.value);
    let entries: Vec<IpNet> =
        entries(context, &noun, given).into_iter().map(|entry| entry.value).collect();
    let report = &mut context.report;
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let max_entries = match &spec.max_entries {
        Some(given) if !(1..=MOST_ENTRIES).contains(&given.value) => {
            report
                .error(given.span, format!("`max_entries` cannot be {}", given.value))
                .help(format!("it is 1 to {MOST_ENTRIES}; as many as there are if not given"));
            count
        }
        Some(given) if given.value < count => {
            report.error(
                given.span,
                format!("{noun} has {count} entries; its `max_entries` are {}", given.value),
            );
            count
        }
        Some(given) => given.value,
        None => {
            if count > MOST_ENTRIES {
                report.error(
                    spec.name.span,
                    format!("{noun} has {count} entries; {MOST_ENTRIES} are the most"),
                );
            }
            count
        }
    };
    let name = name.clone();
    context.topology.prefix_lists.push(PrefixList { id, name, entries, max_entries });
}

/// The entries of a list, canonical, each where it was written.
pub(super) fn entries(
    context: &mut Context,
    noun: &str,
    given: &[Spanned<IpNet>],
) -> Vec<Spanned<IpNet>> {
    let report = &mut context.report;
    let mut entries: Vec<Spanned<IpNet>> = Vec::with_capacity(given.len());
    let mut seen = HashSet::new();
    for written in given {
        let block = cidr::canonical(report, written);
        if !seen.insert(block) {
            report
                .error(written.span, format!("{noun} has `{block}` twice"))
                .help("AWS refuses duplicates; remove one");
        }
        if entries.first().is_some_and(|first| !cidr::same_family(&first.value, &block)) {
            report
                .error(written.span, format!("{noun} mixes IPv4 and IPv6"))
                .help("a list is of one family; make two lists");
        }
        entries.push(Spanned::new(block, written.span));
    }
    entries
}
