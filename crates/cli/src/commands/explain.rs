//! `viaduct explain`: would this flow pass, and why?

use std::{fmt::Write as _, path::PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;
use viaduct_dataplane::explain::{Explanation, Verdict};
use viaduct_topology::flow::{FlowError, parse_traffic};

use crate::{
    exit::{Answer, Failure, Outcome},
    explaining::{Explained, Explainer, Question},
    files, output,
};

/// Explain a flow, hop by hop, there and back: needs no daemon and no privileges
///
/// Judges the round trip: a reply that is blocked denies the flow. Exits with 0 if it is allowed
/// (from every subnet of a function), with 1 if it is denied.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The topology
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Who opens the connection: function/api, function/api/2, instance/db, internet/web, service/s3
    #[arg(long, value_name = "HOST")]
    from: String,

    /// To whom: as --from, or an address
    #[arg(long, value_name = "HOST|ADDRESS")]
    to: String,

    /// Protocol and destination port: tcp/5432, udp/53, icmp, icmp/13/0, protocol/47
    #[arg(long, value_name = "TRAFFIC")]
    port: String,

    /// The source port; any that the opener's system may choose, if not given
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,

    /// Judge the request alone
    #[arg(long)]
    one_way: bool,

    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

/// The explanation of the flow; if subnets differ, that of the first that denies it.
#[derive(Debug, Serialize)]
struct Report<'e> {
    #[serde(flatten)]
    explanation: &'e Explanation,
    /// Every subnet of a function that has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subnets: Vec<OfSubnet<'e>>,
}

#[derive(Debug, Serialize)]
struct OfSubnet<'e> {
    subnet: &'e str,
    #[serde(flatten)]
    explanation: &'e Explanation,
}

impl Explain {
    pub(crate) fn run(self) -> Outcome {
        let loaded = files::load(&self.file)?;
        let topology = &loaded.topology;
        let from = topology.parse_endpoint(&self.from).map_err(wrong("--from"))?;
        let to = topology.parse_endpoint(&self.to).map_err(wrong("--to"))?;
        let question = Question {
            from: &from,
            to: &to,
            traffic: parse_traffic(&self.port).map_err(wrong("--port"))?,
            source_port: self.source_port,
            one_way: self.one_way,
        };
        let explained = Explainer::new(topology)?.explain(&loaded, &question)?;
        let denied = |it: &&Explained| it.explanation.verdict == Verdict::Deny;
        let Some(first) = explained.iter().find(denied).or(explained.first()) else {
            return Err(Failure::with_help(
                format_args!("`{}` has no subnet to explain from", self.from),
                "give the function a subnet",
            ));
        };
        if self.json {
            let subnets = explained
                .iter()
                .filter_map(|it| {
                    Some(OfSubnet { subnet: it.subnet.as_deref()?, explanation: &it.explanation })
                })
                .collect();
            output::json(&Report { explanation: &first.explanation, subnets })?;
        } else {
            output::text(&text(&explained, first))?;
        }
        Ok(match first.explanation.verdict {
            Verdict::Allow => Answer::Yes,
            Verdict::Deny => Answer::No,
        })
    }
}

fn wrong(option: &'static str) -> impl FnOnce(FlowError) -> Failure {
    move |error| Failure::Error { message: format!("{option}: {error}"), help: error.help }
}

/// One explanation where all subnets agree, else each under its subnet's name.
fn text(explained: &[Explained], first: &Explained) -> String {
    let agree = explained.iter().all(|it| it.explanation.agrees_with(&first.explanation));
    let mut text = String::new();
    for it in if agree { std::slice::from_ref(first) } else { explained } {
        if let (Some(subnet), false) = (&it.subnet, agree) {
            let bold = Style::new().bold();
            writeln!(text, "{bold}from {subnet}{bold:#}").expect("a String takes everything");
        }
        text.push_str(&coloured(&it.explanation));
    }
    if agree && explained.len() > 1 {
        let subnets: Vec<&str> = explained.iter().filter_map(|it| it.subnet.as_deref()).collect();
        writeln!(text, "\nthe same from {}", subnets.join(", "))
            .expect("a String takes everything");
    }
    text
}

/// The text of an explanation with its verdicts in green and red.
fn coloured(explanation: &Explanation) -> String {
    let (green, red) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default());
    let verdict = match explanation.verdict {
        Verdict::Allow => green.bold(),
        Verdict::Deny => red.bold(),
    };
    let mut text = String::new();
    for (line, first) in
        explanation.to_string().lines().zip(std::iter::once(true).chain(std::iter::repeat(false)))
    {
        let style = if first {
            verdict
        } else if line.starts_with("refused:") || is_marked(line, "NO") {
            red
        } else if is_marked(line, "ok") {
            green
        } else {
            Style::new()
        };
        writeln!(text, "{style}{line}{style:#}").expect("a String takes everything");
    }
    text
}

/// Whether a line is that of a hop, `  3 ok …`, with this mark.
fn is_marked(line: &str, mark: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|number| number.parse::<usize>().is_ok()) && words.next() == Some(mark)
}
