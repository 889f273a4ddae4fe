//! Whether a function may be invoked, and what asking does.

use super::{
    Lifecycle,
    command::Answer,
    names::VersionId,
    refusal::Refusal,
    state::{Reason, ReasonCode, State},
};

impl Lifecycle {
    /// Allows an invocation, or says why not. Asking an inactive function has it restored, and is
    /// refused all the same (LAM-51).
    pub(super) fn invoke(&mut self, id: &VersionId) -> Result<Answer, Refusal> {
        let Some(version) = self.version(id) else {
            let VersionId { function, version } = id.clone();
            return Err(Refusal::FunctionNotFound { function, version });
        };
        match version.state {
            // LAM-46 and LAM-62; of a failed function, LAM-47 only says that nothing helps it.
            State::Pending | State::Failed => Err(Refusal::State(version.state)),
            State::Active => {
                let subnets = version.configuration.vpc.subnets();
                // LAM-18: the other zones serve.
                if !subnets.is_empty() && subnets.iter().all(|subnet| self.has_failed(subnet)) {
                    return Err(Refusal::ZonesFailed(id.function.clone()));
                }
                self.use_keys(id);
                Ok(Answer::Done)
            }
            State::Inactive => {
                self.set_state(id, State::Pending, Some(Reason::restoring()));
                self.begin(id);
                let function = id.function.clone();
                let now = self.version(id);
                let failed = now.filter(|now| now.state == State::Inactive);
                match failed.and_then(|failed| failed.reason.clone()) {
                    Some(reason) if reason.code != ReasonCode::Idle => {
                        Err(Refusal::NotRestored { function, reason })
                    }
                    _ => Err(Refusal::Inactive(function)),
                }
            }
        }
    }
}
