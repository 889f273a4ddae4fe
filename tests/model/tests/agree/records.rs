//! What the engine shows of its connections for people is what the model knows of them.

use viaduct_dataplane::{ConnectionInfo, tcp::Phase};
use viaduct_model::{
    Packet,
    model::{self, Record},
};
use viaduct_wire::Flow;

use crate::trial::{Disagreement, Trial};

impl Trial<'_> {
    /// Every connection that the model knows of is shown, as it knows it.
    pub(crate) fn records(&self) -> Result<(), Disagreement> {
        let mut shown = self.engine.connections(self.moment(), usize::MAX, |_| true);
        for record in self.network.records() {
            let it = |info: &ConnectionInfo| self.agrees(info, &record);
            let Some(place) = shown.iter().position(it) else {
                let flow = flow(&record.sent);
                let alike: Vec<_> = shown.iter().filter(|info| info.request == flow).collect();
                return Err(Disagreement {
                    kind: "a connection that is not shown as it is".to_owned(),
                    text: format!("model: {record:?}\nengine: {alike:?}"),
                });
            };
            shown.swap_remove(place);
        }
        Ok(())
    }

    fn agrees(&self, info: &ConnectionInfo, record: &Record) -> bool {
        let phase = match info.phase {
            Phase::Opening => model::Phase::Opening,
            Phase::Established => model::Phase::Established,
            Phase::Closing => model::Phase::Closing,
            Phase::Closed => model::Phase::Closed,
        };
        info.request == flow(&record.sent)
            && info.translated == flow(&record.received)
            && phase == record.phase
            && info.sent == record.forward
            && info.received == record.back
            && info.idle.as_millis() == u128::from(self.now - record.last)
    }
}

fn flow(packet: &Packet) -> Flow {
    let Packet { protocol, source, destination, source_port, destination_port, .. } = *packet;
    Flow { protocol, source, destination, source_port, destination_port }
}
