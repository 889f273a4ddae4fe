//! Orders: commands about functions, each with the right that it takes to give it.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_control_plane::{
    iam::Context,
    lifecycle::{
        Answer, Command, Configuration, ConfigurationChange, FunctionName, Lifecycle, Owner,
        Qualifier, VersionId,
    },
};

use super::{failure::Failure, rights, target::Target};
use crate::api::Running;

/// A command about a function. What is made here goes with the command: there is no other way to one.
#[derive(Debug)]
pub(super) struct Order {
    command: Command,
    /// The right that it takes.
    action: &'static str,
    /// Whether a reload would undo it, if the topology file declares the function.
    undone_by_reload: bool,
}

impl Order {
    pub(super) fn create(
        function: FunctionName,
        configuration: Configuration,
        tags: BTreeMap<String, String>,
        publish: bool,
    ) -> Self {
        let command = Command::CreateFunction { function, configuration, tags, publish };
        Self::lasting("lambda:CreateFunction", command)
    }

    pub(super) fn update_configuration(
        function: FunctionName,
        change: ConfigurationChange,
        revision: Option<u64>,
    ) -> Self {
        let command = Command::UpdateFunctionConfiguration { function, change, revision };
        Self {
            undone_by_reload: true,
            ..Self::lasting("lambda:UpdateFunctionConfiguration", command)
        }
    }

    pub(super) fn update_code(
        function: FunctionName,
        code: BTreeMap<String, String>,
        revision: Option<u64>,
        publish: bool,
    ) -> Self {
        let command = Command::UpdateFunctionCode { function, code, revision, publish };
        Self { undone_by_reload: true, ..Self::lasting("lambda:UpdateFunctionCode", command) }
    }

    /// `carried` is what the version has in the place of `$LATEST`'s.
    pub(super) fn publish(
        function: FunctionName,
        revision: Option<u64>,
        carried: BTreeMap<String, String>,
    ) -> Self {
        let command = Command::PublishVersion { function, revision, carried };
        Self::lasting("lambda:PublishVersion", command)
    }

    pub(super) fn tag(function: FunctionName, tags: BTreeMap<String, String>) -> Self {
        Self::lasting("lambda:TagResource", Command::TagResource { function, tags })
    }

    pub(super) fn untag(function: FunctionName, keys: BTreeSet<String>) -> Self {
        Self::lasting("lambda:UntagResource", Command::UntagResource { function, keys })
    }

    /// Of all of a function, or of one version.
    pub(super) fn delete(function: FunctionName, version: Option<Qualifier>) -> Self {
        let undone_by_reload = version.is_none();
        let command = Command::DeleteFunction { function, version };
        Self { undone_by_reload, ..Self::lasting("lambda:DeleteFunction", command) }
    }

    pub(super) fn invoke(version: VersionId) -> Self {
        Self::lasting("lambda:InvokeFunction", Command::Invoke(version))
    }

    /// One that no reload undoes.
    const fn lasting(action: &'static str, command: Command) -> Self {
        Self { command, action, undone_by_reload: false }
    }

    /// Has it carried out, if its caller may give it; `target` is the function that it is about, and
    /// who names it.
    pub(super) async fn carry_out(
        self,
        running: &Running,
        target: &Target,
    ) -> Result<Answer, Failure> {
        let answer = running.functions.decide(|machine| self.permitted(machine, target)).await?;
        answer.map_err(|refusal| Failure::refused(&refusal, &target.region))
    }

    /// The command, if it may be given.
    fn permitted(self, machine: &Lifecycle, target: &Target) -> Result<Command, Failure> {
        // LAM-72: nothing else has condition keys.
        let context = match &self.command {
            Command::CreateFunction { configuration, .. } => {
                machine.context_of_creation(&configuration.vpc)
            }
            Command::UpdateFunctionConfiguration { function, change, .. } => {
                machine.context_of_update(function, change.vpc.as_ref())
            }
            _ => Context::default(),
        };
        target.may(self.action, &context)?;
        rights::check(&target.caller, &self.command)?;
        let owner = machine.function(&target.function).map(|function| function.owner);
        if owner == Some(Owner::File) && self.undone_by_reload {
            return Err(Failure::conflict(format!(
                "the function {} is declared by the topology file: change it there",
                target.function
            )));
        }
        Ok(self.command)
    }
}
