//! One flow is opened again and again, until whoever translates it has no port left; then some of
//! the connections end, and it begins anew.

use viaduct_model::{Packet, Segment, TCP, generate::Dice};
use viaduct_topology::model::PortRange;

use crate::{
    session::opening,
    tally::Tally,
    trial::{Disagreement, Exchange, Trial},
};

/// How often it begins anew: where there are thousands of ports, less often.
const ROUNDS: usize = 5;
const ROUNDS_OF_MANY: usize = 2;

/// Refusals after which no more is tried.
const ENOUGH: usize = 3;

impl Trial<'_> {
    /// Opens a flow as often as there are ports, and a few times more.
    pub(crate) fn burst(
        &mut self,
        ports: PortRange,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let translated = |it: &&Exchange| {
            it.request.source_port != 0 && it.request.source_port != it.reply.destination_port
        };
        let candidates: Vec<Exchange> = self.live.iter().filter(translated).copied().collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let flows = kinds(dice.one(&candidates), &candidates);
        let most = usize::from(ports.last - ports.first) + 1 + ENOUGH;
        let mut source_port = dice.between(1024, 20_000) as u16;
        let mut open: Vec<Exchange> = Vec::new();
        let rounds = if most > 1000 { ROUNDS_OF_MANY } else { ROUNDS };
        for round in 0..rounds {
            let flow = if round == 0 { flows[0] } else { dice.one(&flows) };
            let mut refused = 0;
            for _ in 0..most {
                source_port = source_port.checked_add(1).unwrap_or(1024);
                let segment = opening(flow.request.protocol);
                let request = Packet { source_port, segment, ..flow.request };
                match self.carry(flow.from, &request, tally)? {
                    Some(legs) => {
                        let last = legs.last().expect("one leg at least");
                        let reply = last.arrived.answer().expect("what was answered before");
                        open.push(Exchange { at: last.at, request, reply, ..flow });
                    }
                    None => refused += 1,
                }
                if refused == ENOUGH {
                    break;
                }
            }
            self.let_some_go(&mut open, dice, tally)?;
        }
        Ok(())
    }

    /// Some connections end, or many, or time passes.
    fn let_some_go(
        &mut self,
        open: &mut Vec<Exchange>,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        if open.is_empty() || dice.percent(25) {
            self.wait(dice);
            return Ok(());
        }
        // A run of them, one here and there, or all but one here and there.
        let first = dice.below(open.len());
        let length = dice.between(1, open.len());
        let share = dice.one(&[2, 30, 97]);
        let run = dice.percent(40);
        for (number, exchange) in std::mem::take(open).into_iter().enumerate() {
            let goes =
                if run { (first..first + length).contains(&number) } else { dice.percent(share) };
            if goes && exchange.request.protocol == TCP {
                let reset = Packet { segment: Segment::Reset, ..exchange.request };
                self.carry(exchange.from, &reset, tally)?;
            } else {
                open.push(exchange);
            }
        }
        Ok(())
    }
}

/// A flow, and others of the same sender that go elsewhere.
fn kinds(flow: Exchange, all: &[Exchange]) -> Vec<Exchange> {
    let mut flows = vec![flow];
    let destination = |it: &Exchange| (it.request.destination, it.request.destination_port);
    let elsewhere = |it: &&Exchange| {
        it.from == flow.from
            && it.request.protocol == flow.request.protocol
            && destination(it) != destination(&flow)
    };
    flows.extend(all.iter().filter(elsewhere).copied().take(1));
    if flow.request.destination_port != 0 {
        let destination_port = flow.request.destination_port ^ 1;
        flows.push(Exchange { request: Packet { destination_port, ..flow.request }, ..flow });
    }
    flows
}
