//! `viaduct fault`: what fails in AWS by itself fails here when it is told to.

use clap::{Args, Subcommand};
use viaduct_client::{Client, Faults};

use crate::{
    daemon::Which,
    exit::{Answer, Outcome},
    output, signals,
};

/// Let something fail in a running daemon, and have it back
#[derive(Debug, Subcommand)]
pub(crate) enum Fault {
    Zone(Zone),
    Eni(Eni),
}

/// Let a zone fail: no network interface is made in it, and functions all of whose subnets are in it
/// cannot be invoked
///
/// It stays so until it is ended, also when a file is applied. `viaduct get status` shows the zones
/// that have failed.
#[derive(Debug, Args)]
pub(crate) struct Zone {
    /// The zone, as the topology's subnets name it
    #[arg(value_name = "NAME")]
    name: String,

    /// Have it back
    #[arg(long)]
    end: bool,

    #[command(flatten)]
    daemon: Which,

    /// Print what has failed as JSON
    #[arg(long)]
    json: bool,
}

/// Let a Hyperplane ENI fail its health check: another is made in its place, with another id and address
///
/// New connections go to the new one as soon as it is there; the old one goes when those that it
/// carries have ended, or had time to. `viaduct get events` tells of it.
#[derive(Debug, Args)]
pub(crate) struct Eni {
    /// The ENI, as `viaduct get enis` names it
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    daemon: Which,

    /// Print what has failed as JSON
    #[arg(long)]
    json: bool,
}

impl Fault {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Zone(zone) => zone.run(),
            Self::Eni(eni) => eni.run(),
        }
    }
}

impl Zone {
    fn run(self) -> Outcome {
        let faults = signals::block_on(async {
            let client = Client::connect(self.daemon.socket()?).await?;
            Ok(client.fail_zone(&self.name, !self.end).await?)
        })?;
        if self.json {
            output::json(&faults)?;
        } else {
            output::say(summary(&faults));
        }
        Ok(Answer::Yes)
    }
}

impl Eni {
    fn run(self) -> Outcome {
        let faults = signals::block_on(async {
            let client = Client::connect(self.daemon.socket()?).await?;
            Ok(client.fail_eni(&self.id).await?)
        })?;
        if self.json {
            output::json(&faults)?;
        } else {
            output::say(format!("another is made in the place of {}", self.id));
        }
        Ok(Answer::Yes)
    }
}

fn summary(faults: &Faults) -> String {
    match faults.zones.as_slice() {
        [] => "no zone has failed".to_owned(),
        zones => format!("failed zones: {}", zones.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_is_said() {
        let summary = |zones: &[&str]| {
            summary(&Faults { zones: zones.iter().map(ToString::to_string).collect() })
        };
        assert_eq!(summary(&[]), "no zone has failed");
        assert_eq!(summary(&["a", "b"]), "failed zones: a, b");
    }
}
