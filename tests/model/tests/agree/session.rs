//! What goes on between the ends of exchanges that worked: segments of every kind from either end in
//! any order, more connections of the same kind, and time that passes.

use viaduct_model::{Packet, Segment, TCP, generate::Dice, model::NOTICED};

use crate::{
    tally::Tally,
    trial::{Disagreement, Exchange, Trial},
};

/// Exchanges that a session is about at most.
const FOCUS: usize = 4;

/// Days, in milliseconds: longer than anything is remembered.
const AGES: u64 = 6 * 24 * 3_600_000;

impl Trial<'_> {
    /// So many things happen to a few of the exchanges.
    pub(crate) fn session(
        &mut self,
        dice: &mut Dice,
        rounds: usize,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let mut focus = self.focus(dice);
        for _ in 0..rounds {
            if focus.is_empty() {
                return Ok(());
            }
            let which = dice.below(focus.len());
            match dice.below(100) {
                0..22 => self.wait(dice),
                22..40 if focus[which].request.source_port != 0 => {
                    let mut more = focus[which];
                    more.request.source_port = dice.between(32_768, 60_999) as u16;
                    if self.begin(&mut more, dice, tally)? {
                        focus.push(more);
                    }
                }
                40..46 => {
                    self.begin(&mut focus[which], dice, tally)?;
                }
                46..50 => {
                    // The same end, port or identifier included, asks somebody else.
                    let mut more = focus[which];
                    let other = dice.one(&focus).request;
                    if other.protocol == more.request.protocol && other.icmp == more.request.icmp {
                        more.request.destination = other.destination;
                        more.request.destination_port = other.destination_port;
                        if self.begin(&mut more, dice, tally)? {
                            focus.push(more);
                        }
                    }
                }
                50..58 => self.close(focus[which], dice, tally)?,
                _ => self.say(focus[which], dice, tally)?,
            }
        }
        Ok(())
    }

    /// Some exchanges of one sender, if possible such as get another source port on the way.
    fn focus(&self, dice: &mut Dice) -> Vec<Exchange> {
        if self.live.is_empty() {
            return Vec::new();
        }
        let translated = |it: &&Exchange| it.request.source_port != it.reply.destination_port;
        let mut candidates: Vec<Exchange> = self.live.iter().filter(translated).copied().collect();
        if candidates.is_empty() || dice.percent(25) {
            candidates.clone_from(&self.live);
        }
        let first = dice.one(&candidates);
        let mut focus = vec![first];
        focus.extend(candidates.into_iter().filter(|it| it.from == first.from).take(FOCUS));
        focus
    }

    /// Time passes: often until something happens, or nearly so.
    pub(crate) fn wait(&mut self, dice: &mut Dice) {
        let borders = self.network.borders();
        let soon = self.now + dice.below(20_000) as u64;
        let then = match dice.below(100) {
            0..60 if !borders.is_empty() => {
                // The first ones more often than those that are far away.
                let most = 1 + dice.below(borders.len());
                let border = borders[dice.below(most)];
                border + dice.one(&[0, 1, 2, 2 + NOTICED, 1000, 1002]) - 1
            }
            60..62 => self.now + AGES,
            _ => soon,
        };
        self.now = then.max(self.now);
        self.network.at(self.now);
        if dice.percent(70) {
            self.sweep();
        }
        if dice.percent(20) {
            self.engine.trim(self.moment());
            self.network.trim();
        }
    }

    /// Everybody looks for connections whose time is over.
    pub(crate) fn sweep(&mut self) {
        self.engine.expire(self.moment(), usize::MAX, &mut self.scratch);
        self.network.sweep();
    }

    /// A first packet, and in most cases what follows it; whether it arrived.
    fn begin(
        &mut self,
        exchange: &mut Exchange,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<bool, Disagreement> {
        let Exchange { from, request, .. } = *exchange;
        let request = Packet { segment: opening(request.protocol), ..request };
        let Some(legs) = self.carry(from, &request, tally)? else { return Ok(false) };
        let last = legs.last().expect("one leg at least");
        let Some(reply) = last.arrived.answer() else { return Ok(false) };
        (exchange.at, exchange.reply) = (last.at, reply);
        for _ in 0..dice.below(3) {
            self.carry(exchange.at, &reply, tally)?;
            let request = Packet { segment: Segment::Carry, ..request };
            self.carry(from, &request, tally)?;
        }
        Ok(true)
    }

    /// One packet from either end.
    fn say(
        &mut self,
        exchange: Exchange,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let Exchange { from, request, at, reply } = exchange;
        let (from, packet) = if dice.percent(50) { (from, request) } else { (at, reply) };
        let segment = match packet.protocol {
            TCP => dice.one(&SEGMENTS),
            _ => Segment::Carry,
        };
        self.carry(from, &Packet { segment, ..packet }, tally)?;
        Ok(())
    }

    /// Both ends say that they are done, and that they have heard it, unless something is lost. Or
    /// one of them has had enough.
    fn close(
        &mut self,
        exchange: Exchange,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let Exchange { from, request, at, reply } = exchange;
        if request.protocol != TCP {
            return Ok(());
        }
        let mut segments = vec![
            (from, Packet { segment: Segment::Finish, ..request }),
            (at, Packet { segment: Segment::Finish, ..reply }),
            (at, Packet { segment: Segment::Heard, ..reply }),
            (from, Packet { segment: Segment::Heard, ..request }),
        ];
        match dice.below(8) {
            0 => drop(segments.remove(dice.below(4))),
            1 => segments.rotate_left(1),
            2 | 3 => segments = vec![(from, Packet { segment: Segment::Reset, ..request })],
            4 => segments = vec![(at, Packet { segment: Segment::Reset, ..reply })],
            _ => {}
        }
        for (from, packet) in segments {
            self.carry(from, &packet, tally)?;
        }
        Ok(())
    }
}

/// What an end may say; mostly what does not end the connection.
const SEGMENTS: [Segment; 12] = [
    Segment::Carry,
    Segment::Carry,
    Segment::Carry,
    Segment::Carry,
    Segment::Carry,
    Segment::Accept,
    Segment::Open,
    Segment::Finish,
    Segment::Heard,
    Segment::Guess,
    Segment::Guess,
    Segment::Reset,
];

/// What a first packet is, if it is TCP.
pub(crate) fn opening(protocol: u8) -> Segment {
    if protocol == TCP { Segment::Open } else { Segment::Carry }
}
