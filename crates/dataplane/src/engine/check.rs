//! Holding the engine's tables against each other.

use std::collections::HashSet;

use super::Engine;
use crate::consistency::Inconsistency;

impl Engine {
    /// Whether the tables agree: the index leads to every connection that lives and to nothing
    /// else, every one has a timer, each port is held by one connection towards one destination, and
    /// what connections hold is what the interfaces count.
    ///
    /// Looks at everything, for soaks and for people in doubt. Nobody may forward meanwhile: what is
    /// half done looks wrong.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn check(&self) -> Result<(), Inconsistency> {
        self.connections.check()?;
        let connections = self.connections.len();
        let counters = self.counters();
        let (opened, ended) = (counters.connections_opened, counters.connections_ended);
        if opened - ended != connections as u64 {
            return Err(Inconsistency::Counters { opened, ended, connections });
        }

        let mut held = HashSet::new();
        let mut twice = None;
        self.connections.for_each(|_, connection| {
            for lease in connection.uses() {
                if !held.insert(lease) {
                    twice = Some(format!("{lease:?}"));
                }
            }
        });
        if let Some(lease) = twice {
            return Err(Inconsistency::HeldTwice { lease });
        }
        for eni in self.inventory.enis() {
            if let Some(ports) = &eni.ports {
                ports.check(&eni.id, &held)?;
            }
        }
        Ok(())
    }
}
