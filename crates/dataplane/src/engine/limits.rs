//! What hosts may use: connections at once, new ones a second, bytes and packets a second.
//!
//! Where a limit holds is where AWS has it. An environment's bandwidth is that of its own link: what
//! it sends counts as it comes in, whatever becomes of it, and what it gets counts last. A NAT
//! gateway counts what it translates, in both directions together. New connections count once
//! nothing else is in their way. What is over a rate is dropped in silence, as there: whoever sent it
//! sees a loss, and at the first packet of a connection a time-out. With no rate in the settings,
//! an established packet costs two comparisons.

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::Frame;

use super::{Engine, Way};
use crate::{
    account::Claim,
    connection::{Connection, Direction},
    inventory::Owner,
    moment::Moment,
    policy::Policy,
    rate::{Meter, Rates},
    scratch::Scratch,
    walk::{NAT, Path},
};

impl Engine {
    /// Refuses what is more than an environment's link carries.
    #[inline]
    pub(super) fn may_send(
        &self,
        frame: &Frame<'_>,
        ingress: AttachmentId,
        now: Moment,
        scratch: &Scratch,
    ) -> Result<(), Reason> {
        let Some(Rates { environment_bytes: Some(rate), .. }) = scratch.policy.rates else {
            return Ok(());
        };
        match self.ports.account(ingress) {
            Some(account)
                if self.ports.port(ingress).is_environment
                    && !account.sent.take(rate, frame.bytes(), now) =>
            {
                Err(Reason::RateLimited)
            }
            _ => Ok(()),
        }
    }

    /// Whether a packet of a connection is within the rates on its way: a reply meets the gateway
    /// first, and then its receiver's link.
    pub(super) fn may_pass(
        &self,
        rates: &Rates,
        direction: Direction,
        connection: &Connection<Way>,
        frame: &Frame<'_>,
        now: Moment,
    ) -> bool {
        let gateway = connection.lender(NAT);
        if gateway.is_some_and(|lender| !translates(lender.meter(), rates, frame, now)) {
            return false;
        }
        let (Direction::Reply, Some(rate)) = (direction, rates.environment_bytes) else {
            return true;
        };
        // Only environments' own connections lead to them.
        let opener = connection.reply.target;
        match self.ports.account(opener) {
            Some(account) if self.ports.port(opener).is_environment => {
                account.received.take(rate, frame.bytes(), now)
            }
            _ => true,
        }
    }

    /// Counts a connection that is to be opened against its opener's quota.
    pub(super) fn claim(&self, opener: AttachmentId, policy: &Policy) -> Result<Claim<'_>, Reason> {
        let account = self.ports.account(opener).ok_or(Reason::AttachmentDown)?;
        account.claim(self.quota(opener, policy)).ok_or(Reason::QuotaExceeded)
    }

    /// How many connections an attachment may have opened at once; none if as many as it likes.
    pub(super) fn quota(&self, opener: AttachmentId, policy: &Policy) -> Option<u32> {
        let quota = policy.settings.environment_connections;
        quota.filter(|_| self.ports.port(opener).is_environment)
    }

    /// Refuses a connection that is more than its opener, the ENI or the NAT gateway on its way
    /// take in this time.
    pub(super) fn may_open(
        &self,
        path: &Path,
        frame: &Frame<'_>,
        opener: AttachmentId,
        now: Moment,
        policy: &Policy,
    ) -> Result<(), Reason> {
        let Some(rates) = &policy.rates else { return Ok(()) };
        if let Some(eni) = path.v2n() {
            let account = self.ports.account(opener);
            // The service VPC's NAT is none that a customer's rate is about.
            let is_eni = matches!(eni.owner, Owner::Functions(_));
            let meter = eni.ports.as_ref().filter(|_| is_eni).map(|ports| ports.meter());
            let openings = [
                (account.map(|account| &account.openings), rates.environment_connections),
                (meter.map(|meter| &meter.connections), rates.eni_connections),
            ];
            for opening in openings {
                if let (Some(bucket), Some(rate)) = opening
                    && !bucket.take(rate, 1, now)
                {
                    return Err(Reason::RateLimited);
                }
            }
        }
        let gateway = path.nat.as_ref().and_then(|nat| nat.ports.as_ref());
        if gateway.is_some_and(|ports| !translates(ports.meter(), rates, frame, now)) {
            return Err(Reason::RateLimited);
        }
        Ok(())
    }
}

/// Whether a NAT gateway has room for a packet. One that is refused for its bytes has cost it a
/// packet all the same.
fn translates(meter: &Meter, rates: &Rates, frame: &Frame<'_>, now: Moment) -> bool {
    let Rates { gateway_packets, gateway_bytes, .. } = *rates;
    gateway_packets.is_none_or(|rate| meter.packets.take(rate, frame.packets(), now))
        && gateway_bytes.is_none_or(|rate| meter.bytes.take(rate, frame.bytes(), now))
}
