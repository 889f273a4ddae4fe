//! Source ports of translated connections: who has room, and which port is right.

use viaduct_topology::{Reason, inventory::Eni, model::PortRange};

use super::{Connection, Network};
use crate::packet::Packet;

impl Network<'_> {
    /// Whether a Hyperplane ENI can carry one more connection, to this destination.
    pub(super) fn v2n_room(&self, eni: &Eni, packet: &Packet) -> Result<(), Reason> {
        let settings = self.topology.settings;
        let carried = self.connections.iter().filter(|other| is(other.way.v2n, eni));
        // LAM-07: TCP and UDP together.
        if carried.count() >= settings.eni_connections as usize {
            return Err(Reason::QuotaExceeded);
        }
        // Past the last free port, ports are shared between destinations: a destination is full
        // when it has a connection on every port.
        let to_it = self
            .connections
            .iter()
            .filter(|other| is(other.way.v2n, eni) && same_destination(other, packet));
        if to_it.count() >= count(settings.source_ports) {
            return Err(Reason::PortsExhausted);
        }
        Ok(())
    }

    /// Whether a port is one that the ENI may give to a connection.
    pub(super) fn v2n_port_is_free(
        &self,
        eni: &Eni,
        connection: &Connection<'_>,
        port: u16,
    ) -> Result<(), String> {
        let packet = &connection.sent;
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let carried: Vec<&Connection<'_>> = self
            .connections
            .iter()
            .filter(|other| is(other.way.v2n, eni) && other.sent.protocol == packet.protocol)
            .collect();
        let holders = carried.iter().filter(|other| other.v2n_port == Some(port));
        if holders.clone().any(|other| same_destination(other, packet)) {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        // While there are free ports, each belongs to one connection. Connections whose port could
        // not be seen may have any. A port is of no use if replies to it belong to a connection of
        // another interface, which had the address before.
        let unseen = carried.iter().any(|other| other.v2n_port.is_none());
        let mut ports = range.first..=range.last;
        let free = ports.any(|port| {
            let reply = Packet { source_port: port, ..connection.received }.backwards();
            carried.iter().all(|other| other.v2n_port != Some(port))
                && self.connection_of(connection.receiver, &reply).is_none()
        });
        if holders.count() > 0 && !unseen && free {
            return Err(format!("port {port} has a connection already, and others have none"));
        }
        Ok(())
    }

    /// Whether an address of a NAT gateway can carry one more connection to this destination.
    pub(super) fn nat_room(&self, eni: &Eni, packet: &Packet) -> Result<(), Reason> {
        let settings = self.topology.settings;
        let limit = settings.nat_gateway_connections_per_destination as usize;
        let to_it = self
            .connections
            .iter()
            .filter(|other| is(other.way.nat, eni) && same_destination(other, packet));
        // NAT-05, NAT-09.
        if to_it.count() >= limit.min(count(settings.source_ports)) {
            return Err(Reason::PortsExhausted);
        }
        Ok(())
    }

    /// Whether an endpoint's address at the service has a port left for this destination there.
    pub(super) fn endpoint_room(&self, side: &Eni, arrival: &Packet) -> Result<(), Reason> {
        let to_it = self
            .connections
            .iter()
            .filter(|other| is(other.way.endpoint, side) && same_arrival(other, arrival));
        if to_it.count() >= count(self.topology.settings.source_ports) {
            return Err(Reason::PortsExhausted);
        }
        Ok(())
    }

    /// Whether a port is one that the endpoint may give to a connection.
    pub(super) fn endpoint_port_is_free(
        &self,
        side: &Eni,
        connection: &Connection<'_>,
        port: u16,
    ) -> Result<(), String> {
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let taken = self.connections.iter().any(|other| {
            is(other.way.endpoint, side)
                && other.received.source_port == port
                && same_arrival(other, &connection.received)
        });
        if taken {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        Ok(())
    }

    /// Whether a port is one that the NAT gateway may give to a connection.
    pub(super) fn nat_port_is_free(
        &self,
        eni: &Eni,
        packet: &Packet,
        port: u16,
    ) -> Result<(), String> {
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let taken = self.connections.iter().any(|other| {
            is(other.way.nat, eni)
                && other.nat_port == Some(port)
                && same_destination(other, packet)
        });
        if taken {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        Ok(())
    }
}

/// Whether that interface is this one; under another address it had other ports.
pub(super) fn is(one: Option<&Eni>, other: &Eni) -> bool {
    one.is_some_and(|one| one.id == other.id && one.private_ip == other.private_ip)
}

/// Whether a connection goes where this packet goes: address, port and protocol (NAT-05), as the
/// one who translates sees them.
fn same_destination(connection: &Connection<'_>, packet: &Packet) -> bool {
    let sent = &connection.sent;
    sent.protocol == packet.protocol
        && sent.destination == packet.destination
        && sent.destination_port == packet.destination_port
}

/// The same as its receiver sees it.
fn same_arrival(connection: &Connection<'_>, packet: &Packet) -> bool {
    let received = &connection.received;
    received.protocol == packet.protocol
        && received.destination == packet.destination
        && received.destination_port == packet.destination_port
}

const fn count(range: PortRange) -> usize {
    (range.last - range.first) as usize + 1
}
