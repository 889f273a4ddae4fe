//! `viaduct lab test`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use viaduct_config_plane::Loaded;
use viaduct_lab::{
    Host, LabName, Layout, Running, down, rootless,
    trial::{self, Place, Tried},
    up,
};

use super::{Bringing, bring_up, lab_name};
use crate::{
    exit::{Answer, Failure, Outcome},
    explaining::Explainer,
    files, output,
    table::Table,
};

/// Try each `expect` of a topology with real packets
///
/// Compares what the file expects, what `viaduct explain` says and what a packet met. Brings the
/// lab up and takes it down again, unless it is up already. With `--runtime-dir` and `--netns`, tries
/// them between the hosts of a daemon that is no lab's, such as containers. Exits with 1 if anything
/// disagrees.
#[derive(Debug, Args)]
pub(crate) struct LabTest {
    /// The topology
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the lab is called; the file's name without its extension, if not given
    #[arg(long, value_name = "NAME")]
    name: Option<LabName>,

    #[command(flatten)]
    how: Bringing,

    /// Where a daemon has its sockets that runs this topology, and is no lab's
    #[arg(long, value_name = "DIR", requires = "netns", conflicts_with_all = ["name", "rootless"])]
    runtime_dir: Option<PathBuf>,

    /// The network namespace of a host of that daemon: a name, a path or a process id
    #[arg(long, value_name = "HOST=NAMESPACE", value_parser = host, requires = "runtime_dir")]
    netns: Vec<Host>,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    tried: usize,
    disagree: usize,
    flows: Vec<Tried>,
}

impl LabTest {
    pub(crate) fn run(self) -> Outcome {
        let loaded = files::load(&self.file)?;
        let flows = match &self.runtime_dir {
            Some(runtime_dir) => {
                let control_socket = &runtime_dir.join("control.sock");
                try_all(Place { control_socket, hosts: &self.netns }, &loaded)?
            }
            None => self.try_in_lab(&loaded)?,
        };
        let disagree = flows.iter().filter(|flow| !flow.agree).count();
        let report = Report { tried: flows.len(), disagree, flows };
        if self.json {
            output::json(&report)?;
        } else {
            output::text(&table(&self.file.display().to_string(), &report))?;
            output::say(format_args!(
                "{} of {} flows agree",
                report.tried - report.disagree,
                report.tried
            ));
        }
        Ok(if disagree == 0 { Answer::Yes } else { Answer::No })
    }

    fn try_in_lab(&self, loaded: &Loaded) -> Result<Vec<Tried>, Failure> {
        let name = lab_name(self.name.clone(), &self.file)?;
        let (lab, ours) = if Layout::of(&name).directory().exists() {
            rootless::join(&name)?;
            (self.join(&name, loaded)?, false)
        } else {
            (bring_up(name.clone(), loaded, &self.how, None)?, true)
        };
        let control_socket = &lab.layout.control_socket();
        let tried = try_all(Place { control_socket, hosts: &lab.hosts }, loaded);
        if ours {
            down(&name)?;
        }
        tried
    }

    /// A lab that is up, if it was brought up from the same text.
    fn join(&self, name: &LabName, loaded: &Loaded) -> Result<Running, Failure> {
        if up::topology_text(name)?.as_deref() != Some(loaded.warnings.source().text()) {
            return Err(Failure::with_help(
                format_args!("the lab `{name}` was brought up from another topology than this"),
                format_args!(
                    "take it down with `viaduct lab down {name}`, or try this one under another name with `--name`"
                ),
            ));
        }
        Ok(up::running(name, &loaded.topology)?)
    }
}

/// `HOST=NAMESPACE`.
fn host(text: &str) -> Result<Host, &'static str> {
    match text.split_once('=') {
        Some((name, namespace)) if !name.is_empty() && !namespace.is_empty() => {
            Ok(Host { name: name.to_owned(), namespace: namespace.to_owned() })
        }
        _ => Err("it takes a host, `=` and its namespace: instance/db=4711"),
    }
}

fn try_all(place: Place<'_>, loaded: &Loaded) -> Result<Vec<Tried>, Failure> {
    let explainer = Explainer::new(&loaded.topology)?;
    let bar = crate::progress::bar("flows tried");
    let source = loaded.warnings.source();
    let line = |span| source.places(span).0.line;
    let tried = trial::run(place, &loaded.topology, line, &explainer, |_, flows| {
        bar.set_length(flows as u64);
        bar.inc(1);
    });
    bar.finish_and_clear();
    Ok(tried?)
}

fn table(file: &str, report: &Report) -> String {
    let mut table =
        Table::new(&["", "place", "from", "to", "traffic", "expected", "explain", "packet"]);
    for flow in &report.flows {
        table.row([
            if flow.agree { "ok" } else { "DISAGREE" }.to_owned(),
            format!("{file}:{}", flow.line),
            flow.from.clone(),
            flow.to.clone(),
            flow.traffic.clone(),
            flow.expected.to_string(),
            flow.explained.to_string(),
            flow.packet.to_string(),
        ]);
    }
    table.to_string()
}
