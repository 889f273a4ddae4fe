//! `viaduct attach`: one host, in a namespace that exists.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use viaduct_lab::attach::TOKEN_VARIABLE;
use viaduct_tun::handover::Token;

use crate::{
    child,
    commands::run::DEFAULT_RUNTIME_DIR,
    exit::{Answer, Outcome},
    logging::Logging,
    output,
    signals::{self, Ending},
};

/// Attach one host: make its device in a network namespace and keep it
///
/// With a command, runs it there, without the right to change the network, and ends when it ends,
/// with its exit code. Without one, runs until it is asked to end.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The host as the topology names it, such as function/api/1 or instance/db
    #[arg(value_name = "HOST")]
    host: String,

    /// The network namespace: a name, a path or a process id; this one, if none is given
    #[arg(long, value_name = "NAMESPACE")]
    netns: Option<String>,

    /// What the device is called
    #[arg(long, default_value = viaduct_tun::holder::DEVICE_NAME, value_name = "NAME")]
    device: String,

    /// Proof of being allowed to, where the daemon asks for it (`viaduct run --attach-tokens`). Better in
    /// the environment, which others cannot read, than here
    #[arg(long, env = TOKEN_VARIABLE, hide_env_values = true, value_name = "TOKEN")]
    token: Option<Token>,

    /// Where the daemon has its sockets
    #[arg(long, env = "VIADUCT_RUNTIME_DIR", default_value = DEFAULT_RUNTIME_DIR, value_name = "DIR")]
    runtime_dir: PathBuf,

    #[command(flatten)]
    logging: Logging,

    /// What to run there
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Attach {
    pub(crate) fn run(self) -> Outcome {
        self.logging.start()?;
        let attach = viaduct_lab::attach::Attach {
            socket: self.runtime_dir.join("attach.sock"),
            host: self.host,
            token: self.token,
            device: self.device,
            namespace: self.netns,
        };
        signals::block_on(async move {
            let mut ending = Ending::catch()?;
            let held = tokio::task::spawn_blocking(move || attach.attach()).await??;
            let plan = &held.attached.plan;
            output::say(format_args!("{} is attached at {}", plan.name, plan.address));
            if self.command.is_empty() {
                ending.asked().await;
                return Ok(Answer::Yes);
            }
            let code = child::wait(held.spawn(&self.command)?, &mut ending).await?;
            Ok(Answer::Command(code))
        })
    }
}
