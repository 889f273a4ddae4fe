//! `viaduct apply`: another topology for a running daemon.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use viaduct_client::{Action, Applied, Client};
use viaduct_config_plane::{LoadError, Problems, load_file};

use crate::{
    commands::check::Report,
    daemon::Which,
    exit::{Answer, Outcome},
    output, signals,
};

/// Put a topology in the place of the one that a daemon runs, and show what changes
///
/// A file with an error changes nothing: every problem is shown, and the exit code is 1. What is the
/// same in both topologies goes on: connections, addresses, attached hosts. Hosts that are new can
/// be attached from then on.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The topology
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only show what would change
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    daemon: Which,

    /// Print what changes as JSON
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(crate) fn run(self) -> Outcome {
        // Checked here as well, so that problems look as they do elsewhere.
        let loaded = match load_file(&self.file) {
            Ok(loaded) => loaded,
            Err(LoadError::Refused(problems)) => return self.refused(&problems),
            Err(error) => return Err(error.into()),
        };
        if !loaded.warnings.is_empty() {
            output::say(loaded.warnings.render(true).trim_end());
        }
        let name = std::path::absolute(&self.file)?.display().to_string();
        let text = loaded.warnings.source().text().to_owned();
        let applied = signals::block_on(async {
            let client = Client::connect(self.daemon.socket()?).await?;
            Ok(client.apply(&name, text, self.dry_run).await?)
        })?;
        if self.json {
            output::json(&applied)?;
        } else {
            output::text(&changes(&applied))?;
            output::say(self.summary(&applied));
        }
        Ok(Answer::Yes)
    }

    fn refused(&self, problems: &Problems) -> Outcome {
        if self.json {
            output::json(&Report::of(problems))?;
        } else {
            output::say(problems.render(true).trim_end());
        }
        let file = self.file.display();
        output::say(format_args!("{file}: {}; nothing has changed", problems.summary()));
        Ok(Answer::No)
    }

    fn summary(&self, applied: &Applied) -> String {
        let file = self.file.display();
        let Applied { dry_run, generation, changes, detached, .. } = applied;
        let count = |wanted| changes.iter().filter(|change| change.action == wanted).count();
        let [added, changed, removed] =
            [Action::Added, Action::Changed, Action::Removed].map(count);
        let what = if changes.is_empty() {
            "no difference".to_owned()
        } else {
            format!("{added} added, {changed} changed, {removed} removed")
        };
        let let_go = match (detached.len(), dry_run) {
            (0, _) => String::new(),
            (_, true) => format!("; would detach {}", detached.join(", ")),
            (_, false) => format!("; detached {}", detached.join(", ")),
        };
        if *dry_run {
            format!("{file}: {what}{let_go}; not applied")
        } else {
            format!("{file}: {what}{let_go}; applied, generation {generation}")
        }
    }
}

/// A line for each object, and below it one for each thing that is different in it.
fn changes(applied: &Applied) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        let (mark, colour) = match change.action {
            Action::Added => ('+', AnsiColor::Green),
            Action::Changed => ('~', AnsiColor::Yellow),
            Action::Removed => ('-', AnsiColor::Red),
        };
        let style: Style = colour.on_default();
        text.push_str(&format!("{style}{mark} {}{style:#}\n", change.path));
        for detail in &change.details {
            text.push_str(&format!("    {detail}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use viaduct_client::ObjectChange;

    use super::*;

    fn apply(dry_run: bool) -> Apply {
        let daemon = Which { lab: None, runtime_dir: None };
        Apply { file: "net.yaml".into(), dry_run, daemon, json: false }
    }

    fn applied(dry_run: bool) -> Applied {
        let change = |action, path: &str, details: &[&str]| ObjectChange {
            action,
            path: path.to_owned(),
            details: details.iter().map(ToString::to_string).collect(),
        };
        Applied {
            dry_run,
            generation: 7,
            changes: vec![
                change(
                    Action::Changed,
                    "main/security_group/db",
                    &["ingress: + all from 10.0.0.0/8"],
                ),
                change(Action::Removed, "main/instance/old", &[]),
                change(Action::Added, "main/instance/new", &[]),
            ],
            detached: vec!["instance/old".to_owned()],
            warnings: String::new(),
        }
    }

    #[test]
    fn each_change_has_a_line_and_the_summary_counts_them() {
        let plain = anstream::adapter::strip_str(&changes(&applied(false))).to_string();
        assert_eq!(
            plain,
            "~ main/security_group/db\n    ingress: + all from 10.0.0.0/8\n- main/instance/old\n\
             + main/instance/new\n"
        );
        assert_eq!(
            apply(false).summary(&applied(false)),
            "net.yaml: 1 added, 1 changed, 1 removed; detached instance/old; applied, generation 7"
        );
        assert_eq!(
            apply(true).summary(&applied(true)),
            "net.yaml: 1 added, 1 changed, 1 removed; would detach instance/old; not applied"
        );
        let same = Applied { changes: Vec::new(), detached: Vec::new(), ..applied(false) };
        assert_eq!(apply(false).summary(&same), "net.yaml: no difference; applied, generation 7");
    }
}
