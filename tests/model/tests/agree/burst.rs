//! One flow is opened again and again, until whoever translates it has no port left; then some of
//! the connections end, and it begins anew.

use viaduct_model::{Packet, Segment, TCP, generate::Dice, model::NOTICED};

use crate::{
    session::opening,
    tally::Tally,
    trial::{Disagreement, Exchange, Trial},
};

/// How often it begins anew.
const ROUNDS: usize = 5;

/// As many connections are too many to do the same to all of them again.
const MANY: usize = 1000;

/// Refusals after which no more is tried.
const ENOUGH: usize = 3;

impl Trial<'_> {
    /// Opens a flow as often as there are ports, and a few times more.
    pub(crate) fn burst(&mut self, dice: &mut Dice, tally: &mut Tally) -> Result<(), Disagreement> {
        let translated = |it: &&Exchange| {
            it.request.source_port != 0 && it.request.source_port != it.reply.destination_port
        };
        let mut candidates: Vec<Exchange> = self.live.iter().filter(translated).copied().collect();
        // Only a NAT gateway has a limit for each destination.
        let by_nat =
            |it: &&Exchange| self.network.crossed(it.from, &it.request).contains(&"NAT gateway");
        let limited: Vec<Exchange> = candidates.iter().filter(by_nat).copied().collect();
        if !limited.is_empty() && dice.percent(60) {
            candidates = limited;
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let left_open = tally.open;
        let flows = kinds(dice.one(&candidates), &candidates);
        let most = self.port_count() + ENOUGH;
        let mut source_port = dice.between(1024, 20_000) as u16;
        let mut open: Vec<Exchange> = Vec::new();
        for round in 0..ROUNDS {
            let same = round == 0 || dice.percent(50);
            let flow = if same { flows[0] } else { dice.one(&flows) };
            let tries = match round {
                0 => most,
                _ if most <= MANY && dice.percent(40) => most,
                _ => dice.between(1, most.min(MANY / 10)),
            };
            let mut refused = 0;
            for _ in 0..tries {
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
            tally.most = tally.most.max(self.engine.connection_count());
            self.let_some_go(&mut open, dice, tally)?;
        }
        // Each address of a NAT gateway will do, and here that is asked again and again.
        tally.open = left_open;
        Ok(())
    }

    /// Time passes, so that some connections end without a close; and some are closed.
    fn let_some_go(
        &mut self,
        open: &mut Vec<Exchange>,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        if dice.percent(40) {
            // Those that are established live longer.
            for exchange in chosen(open, dice) {
                let Exchange { from, request, at, reply } = exchange;
                let request = Packet { segment: Segment::Carry, ..request };
                for (from, packet) in [(at, reply), (from, request), (at, reply)] {
                    self.carry(from, &packet, tally)?;
                }
            }
        }
        if open.len() < MANY && dice.percent(50) {
            self.wait(dice);
            // Else there may be room or not for many a packet.
            if dice.percent(90) {
                self.now += NOTICED;
                self.network.at(self.now);
                self.sweep();
            }
        }
        if dice.percent(70) {
            let closed = chosen(open, dice);
            open.retain(|it| !closed.contains(it));
            for Exchange { from, request, .. } in closed {
                if request.protocol == TCP {
                    self.carry(from, &Packet { segment: Segment::Reset, ..request }, tally)?;
                }
            }
        }
        Ok(())
    }
}

/// A run of them, one here and there, or all but one here and there.
fn chosen(open: &[Exchange], dice: &mut Dice) -> Vec<Exchange> {
    if open.is_empty() {
        return Vec::new();
    }
    if dice.percent(40) {
        let first = dice.below(open.len());
        let last = dice.between(first, open.len() - 1).min(first + MANY / 10);
        return open[first..=last].to_vec();
    }
    let share = if open.len() < MANY { dice.one(&[2, 30, 97]) } else { 2 };
    open.iter().filter(|_| dice.percent(share)).copied().collect()
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
