//! The identifiers of ICMP echoes: who asks several hosts under one identifier is seen by all of them
//! under one (RFC 5508, REQ-1 a).

use std::net::Ipv4Addr;

use super::{
    Connection, Network,
    ports::{Desk, Translator},
};
use crate::packet::{ICMP, Packet};

/// What an identifier of somebody became.
#[derive(Clone, Debug)]
pub(super) struct Named {
    desk: Desk,
    inside: (Ipv4Addr, u16),
    outside: u16,
    /// Whether it is beyond doubt.
    certain: bool,
}

impl<'t> Network<'t> {
    /// The identifiers that a translator may have for whoever opens a connection, of use to this
    /// connection; and whether it has the first of them beyond doubt.
    pub(super) fn named(
        &self,
        translator: Translator,
        desk: &Desk,
        connection: &Connection<'t>,
    ) -> (Vec<u16>, bool) {
        let Some(inside) = inside(translator, connection) else { return (Vec::new(), false) };
        let destination = translator.destination(connection);
        let is_of_use = |outside: u16| {
            let there = |other| translator.destination(other) == destination;
            // Nor is it if replies to it would belong to another connection.
            let reply = Packet { source_port: outside, ..connection.received }.backwards();
            !self.holders(translator, desk, outside).any(there)
                && self.connection_of(connection.receiver, &reply).is_none()
        };
        let of_it = self.named.iter().filter(|it| it.desk == *desk && it.inside == inside);
        let named: Vec<&Named> = of_it.filter(|it| is_of_use(it.outside)).collect();
        let surely = named.iter().all(|it| it.certain && self.is_alive(translator, it));
        (named.iter().map(|it| it.outside).collect(), surely && !named.is_empty())
    }

    /// Notes what became of an identifier, unless there is something to note of either side already.
    pub(super) fn name(
        &mut self,
        translator: Translator,
        desk: &Desk,
        connection: &Connection<'t>,
        outside: u16,
    ) {
        let Some(inside) = inside(translator, connection) else { return };
        let touched =
            |it: &Named| it.desk == *desk && (it.inside == inside || it.outside == outside);
        let mut known = self.named.iter().filter(|it| touched(it));
        if known.any(|it| it.certain && self.is_alive(translator, it)) {
            return;
        }
        // Nobody can tell whether one was forgotten whose users' time is over.
        let certain = !self.named.iter().any(touched);
        self.named.iter_mut().filter(|it| touched(it)).for_each(|it| it.certain = false);
        self.named.push(Named { desk: desk.clone(), inside, outside, certain });
    }

    /// Nobody uses an identifier any more.
    pub(super) fn unname(&mut self, desk: &Desk, outside: u16) {
        self.named.retain(|it| it.desk != *desk || it.outside != outside);
    }

    fn is_alive(&self, translator: Translator, named: &Named) -> bool {
        self.holders(translator, &named.desk, named.outside).any(|it| !self.is_over(it))
    }

    fn holders(
        &self,
        translator: Translator,
        desk: &Desk,
        port: u16,
    ) -> impl Iterator<Item = &Connection<'t>> {
        self.connections
            .iter()
            .filter(move |it| desk.serves(it, translator) && translator.port(it) == Some(port))
    }
}

/// Whose identifier it is that a translator translates, if one can see it: nobody translates before.
fn inside(translator: Translator, connection: &Connection<'_>) -> Option<(Ipv4Addr, u16)> {
    let first = translator.is_first(&connection.way);
    (connection.sent.protocol == ICMP && first)
        .then_some((connection.sent.source, connection.sent.source_port))
}
