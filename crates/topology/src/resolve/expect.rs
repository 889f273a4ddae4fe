//! `expect` lines.

use super::context::Context;
use crate::{
    flow::{self, FlowError},
    model::{Endpoint, Expectation, ExpectedVerdict, Traffic},
    reason::Reason,
    spec::{self, Field, Spanned, Verdict},
    suggest::suggest,
};

/// Builds an expectation.
pub(super) fn build(context: &mut Context, spec: &spec::Expectation) {
    let from = endpoint(context, spec, &spec.from, "from");
    let to = endpoint(context, spec, &spec.to, "to");
    let traffic = traffic(context, spec);
    let verdict = verdict(context, spec);
    let (Some(from), Some(to), Some(traffic), Some(verdict)) = (from, to, traffic, verdict) else {
        return;
    };
    if check_ends(context, spec, &from, &to, verdict == ExpectedVerdict::Allow) {
        let expectation = Expectation { from, to, traffic, verdict, span: spec.span };
        context.topology.expectations.push(expectation);
    }
}

fn endpoint(
    context: &mut Context,
    spec: &spec::Expectation,
    field: &Field<String>,
    key: &str,
) -> Option<Endpoint> {
    let text = context.report.require(field, key, "the expectation", spec.span)?;
    let endpoint = flow::endpoint(&text.value, &context.names, &context.topology);
    unless_wrong(context, text, endpoint)
}

fn traffic(context: &mut Context, spec: &spec::Expectation) -> Option<Traffic> {
    let text = context.report.require(&spec.port, "port", "the expectation", spec.span)?;
    unless_wrong(context, text, flow::parse_traffic(&text.value))
}

fn unless_wrong<T>(
    context: &mut Context,
    text: &Spanned<String>,
    read: Result<T, FlowError>,
) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            context.report.error(text.span, error.message).help = error.help;
            None
        }
    }
}

fn verdict(context: &mut Context, spec: &spec::Expectation) -> Option<ExpectedVerdict> {
    let verdict = context.report.require(&spec.verdict, "verdict", "the expectation", spec.span);
    let reason = spec.because.as_ref().map(|code| (code, code.value.parse::<Reason>()));
    if let Some((code, Err(_))) = &reason {
        let known = Reason::ALL.iter().map(|reason| reason.code());
        let help = match suggest(&code.value, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "docs/reasons.md lists the codes".to_owned(),
        };
        context.report.error(code.span, format!("there is no reason `{}`", code.value)).help(help);
    }
    match (verdict?.value, reason) {
        (Verdict::Allow, None) => Some(ExpectedVerdict::Allow),
        (Verdict::Allow, Some((code, _))) => {
            context
                .report
                .error(code.span, "what is allowed has no reason to be denied")
                .help("remove `because`, or write `verdict: deny`");
            None
        }
        (Verdict::Deny, None) => Some(ExpectedVerdict::Deny(None)),
        (Verdict::Deny, Some((_, reason))) => reason.ok().map(|it| ExpectedVerdict::Deny(Some(it))),
    }
}

/// Whether something can be tried between these ends.
fn check_ends(
    context: &mut Context,
    spec: &spec::Expectation,
    from: &Endpoint,
    to: &Endpoint,
    allow: bool,
) -> bool {
    let (Some(from_text), Some(to_text)) = (spec.from.given(), spec.to.given()) else {
        return false;
    };
    let report = &mut context.report;
    match (from, to) {
        (Endpoint::Address(_), _) => {
            report.error(from_text.span, "an address sends nothing: a host does").help(
                "name the function, instance, service or internet host that opens the connection",
            );
            false
        }
        (Endpoint::VpcEndpoint(_), _) => {
            report.error(from_text.span, "an endpoint opens no connections (EP-10)").help(
                "name the function, instance, service or internet host that opens the connection",
            );
            false
        }
        (
            Endpoint::Internet(_) | Endpoint::Service(_),
            Endpoint::Internet(_) | Endpoint::Service(_),
        ) => {
            report.error(spec.span, "neither end is in a VPC; there is nothing to judge");
            false
        }
        (Endpoint::Instance(one), Endpoint::Instance(other)) if one == other => {
            report.error(spec.span, "both ends are the same instance");
            false
        }
        (Endpoint::Internet(_) | Endpoint::Service(_), Endpoint::Instance(instance)) if allow => {
            let instance = &context.topology.instances[*instance];
            let help = match instance.public_ip {
                Some(ip) => format!("write its public address, {ip}"),
                None => "it has no public address".to_owned(),
            };
            report
                .warning(to_text.span, "nothing outside reaches an instance's private address")
                .help(format!("the instance's name stands for that; {help}"));
            true
        }
        _ => true,
    }
}
