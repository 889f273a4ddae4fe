//! Explanations without a daemon: an engine that no packet ever enters.

use std::net::IpAddr;

use viaduct_config_plane::Loaded;
use viaduct_control_plane::Plan;
use viaduct_dataplane::{
    Engine, EngineConfig,
    explain::{Explanation, Probe, Query, Sender, Verdict, queries},
};
use viaduct_lab::trial;
use viaduct_topology::{
    Topology,
    inventory::AttachmentId,
    model::{Endpoint, Traffic},
};

use crate::exit::Failure;

/// Explains flows of a topology.
#[derive(Debug)]
pub(crate) struct Explainer {
    engine: Engine,
    plan: Plan,
}

/// An explanation, and the subnet whose environments it is about.
#[derive(Debug)]
pub(crate) struct Explained {
    /// None where the opener is no function, or one with a single subnet.
    pub(crate) subnet: Option<String>,
    pub(crate) explanation: Explanation,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) from: &'a Endpoint,
    pub(crate) to: &'a Endpoint,
    pub(crate) traffic: Traffic,
    pub(crate) source_port: Option<u16>,
    pub(crate) one_way: bool,
}

impl Explainer {
    pub(crate) fn new(topology: &Topology) -> Result<Self, Failure> {
        let plan = viaduct_control_plane::plan(topology)?;
        // No packet, so no connection, and no bucket of them to aim at.
        let engine = Engine::new(EngineConfig { connections: 1, seed: 0 });
        engine.load(topology);
        for eni in &plan.enis {
            engine.add_eni(eni)?;
        }
        for attachment in &plan.attachments {
            engine.add_attachment(attachment)?;
        }
        Ok(Self { engine, plan })
    }

    /// Explains a question: once, or for each subnet of the function that opens the flow.
    pub(crate) fn explain(
        &self,
        loaded: &Loaded,
        question: &Question<'_>,
    ) -> Result<Vec<Explained>, Failure> {
        let topology = &loaded.topology;
        let Question { from, to, traffic, source_port, one_way } = *question;
        let asked = queries(topology, self.engine.inventory(), from, to, traffic)?;
        let many = asked.len() > 1;
        let explain = |query: Query| {
            let query = Query { source_port, one_way, ..query };
            let subnet = if many { self.subnet(topology, &query.from) } else { None };
            Ok(Explained { subnet, explanation: self.engine.explain(&query)? })
        };
        asked.into_iter().map(explain).collect()
    }

    fn subnet(&self, topology: &Topology, sender: &Sender) -> Option<String> {
        let Sender::Eni { id, .. } = sender else { return None };
        let eni = self.plan.enis.iter().find(|eni| eni.id == *id)?;
        let (subnet, _) = topology.subnets.iter().find(|(_, subnet)| subnet.id == eni.subnet)?;
        Some(topology.path(subnet))
    }
}

impl trial::Explain for Explainer {
    fn explain(&self, from: AttachmentId, to: IpAddr, traffic: Traffic) -> trial::Answer {
        let (Ok(probe), IpAddr::V4(to)) = (Probe::of(traffic), to) else {
            return trial::Answer::Untried;
        };
        let from = Sender::Attachment(from);
        match self.engine.explain(&Query { from, to, probe, source_port: None, one_way: false }) {
            Ok(Explanation { verdict: Verdict::Allow, translated_source, .. }) => {
                trial::Answer::Allow { translated_source: translated_source.map(IpAddr::V4) }
            }
            Ok(Explanation { verdict: Verdict::Deny, reason, .. }) => {
                trial::Answer::Deny { reason }
            }
            Err(_) => trial::Answer::Untried,
        }
    }
}
