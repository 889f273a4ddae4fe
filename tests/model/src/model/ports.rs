//! Source ports of translated connections: who has room, and which port is right.

use viaduct_topology::{Reason, model::PortRange};

use super::{Connection, Network};
use crate::packet::Packet;

impl Network<'_> {
    /// Whether a Hyperplane ENI can carry one more connection, to this destination.
    pub(super) fn v2n_room(&self, eni: usize, packet: &Packet) -> Result<(), Reason> {
        let settings = self.topology.settings;
        let carried = self.connections.iter().filter(|other| other.way.v2n == Some(eni));
        // LAM-07: TCP and UDP together.
        if carried.count() >= settings.eni_connections as usize {
            return Err(Reason::QuotaExceeded);
        }
        // Past the last free port, ports are shared between destinations: a destination is full
        // when it has a connection on every port.
        let to_it = self
            .connections
            .iter()
            .filter(|other| other.way.v2n == Some(eni) && same_destination(other, packet));
        if to_it.count() >= count(settings.source_ports) {
            return Err(Reason::PortsExhausted);
        }
        Ok(())
    }

    /// Whether a port is one that the ENI may give to a connection.
    pub(super) fn v2n_port_is_free(
        &self,
        eni: usize,
        packet: &Packet,
        port: u16,
    ) -> Result<(), String> {
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let carried: Vec<&Connection> = self
            .connections
            .iter()
            .filter(|other| other.way.v2n == Some(eni) && other.sent.protocol == packet.protocol)
            .collect();
        let holders = carried.iter().filter(|other| other.v2n_port == Some(port));
        if holders.clone().any(|other| same_destination(other, packet)) {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        // While there are free ports, each belongs to one connection. Connections whose port could
        // not be seen may have any.
        let unseen = carried.iter().any(|other| other.v2n_port.is_none());
        if holders.count() > 0 && !unseen && carried.len() < count(range) {
            return Err(format!("port {port} has a connection already, and others have none"));
        }
        Ok(())
    }

    /// Whether an address of a NAT gateway can carry one more connection to this destination.
    pub(super) fn nat_room(&self, eni: usize, packet: &Packet) -> Result<(), Reason> {
        let settings = self.topology.settings;
        let limit = settings.nat_gateway_connections_per_destination as usize;
        let to_it = self
            .connections
            .iter()
            .filter(|other| other.way.nat == Some(eni) && same_destination(other, packet));
        // NAT-05, NAT-09.
        if to_it.count() >= limit.min(count(settings.source_ports)) {
            return Err(Reason::PortsExhausted);
        }
        Ok(())
    }

    /// Whether a port is one that the NAT gateway may give to a connection.
    pub(super) fn nat_port_is_free(
        &self,
        eni: usize,
        packet: &Packet,
        port: u16,
    ) -> Result<(), String> {
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let taken = self.connections.iter().any(|other| {
            other.way.nat == Some(eni)
                && other.nat_port == Some(port)
                && same_destination(other, packet)
        });
        if taken {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        Ok(())
    }
}

/// Whether a connection goes where this packet goes: address, port and protocol (NAT-05), as the
/// one who translates sees them.
fn same_destination(connection: &Connection, packet: &Packet) -> bool {
    let sent = &connection.sent;
    sent.protocol == packet.protocol
        && sent.destination == packet.destination
        && sent.destination_port == packet.destination_port
}

const fn count(range: PortRange) -> usize {
    (range.last - range.first) as usize + 1
}
