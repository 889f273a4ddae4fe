//! `viaduct lab list`.

use clap::Args;
use serde::Serialize;
use viaduct_lab::{Api, Layout, layout};

use crate::{
    exit::{Answer, Outcome},
    output,
    table::{Table, or_dash},
};

/// List the labs of this machine
#[derive(Debug, Args)]
pub(crate) struct LabList {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    /// None where no daemon answers: a lab that is coming up, or was left behind.
    attached: Option<usize>,
    declared: Option<usize>,
}

impl LabList {
    pub(crate) fn run(self) -> Outcome {
        let mut labs = Vec::new();
        for name in layout::names()? {
            let api = Api::new(&Layout::of(&name).control_socket())?;
            let count = api.ask(async |client| client.status().await).ok().map(|it| it.attachments);
            labs.push(Listed {
                name: name.to_string(),
                attached: count.map(|count| count.attached),
                declared: count.map(|count| count.declared),
            });
        }
        if self.json {
            output::json(&labs)?;
            return Ok(Answer::Yes);
        }
        let mut table = Table::new(&["lab", "attached", "hosts"]);
        for lab in labs {
            table.row([lab.name, or_dash(lab.attached), or_dash(lab.declared)]);
        }
        output::text(&table.to_string())?;
        Ok(Answer::Yes)
    }
}
