//! Blocks and addresses: which are canonical, reserved, or of no use on the internet.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::Report;
use crate::spec::Spanned;

/// Stands in for a block that was refused.
pub(super) const NOWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32));

/// Every IPv4 address.
pub(super) const ANYWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// Packets to these are never forwarded (RT-11).
pub(super) const LINK_SERVICES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 168, 0), 22);

/// Ranges that VPCs use and the internet does not, and what they are.
const PRIVATE: [(Ipv4Net, &str); 4] = [
    (net([10, 0, 0, 0], 8), "is private (RFC 1918)"),
    (net([172, 16, 0, 0], 12), "is private (RFC 1918)"),
    (net([192, 168, 0, 0], 16), "is private (RFC 1918)"),
    (net([100, 64, 0, 0], 10), "is shared address space (RFC 6598)"),
];

/// Ranges that hold no hosts anywhere, and what they are.
const UNUSABLE: [(Ipv4Net, &str); 5] = [
    (net([0, 0, 0, 0], 8), "stands for no host"),
    (net([127, 0, 0, 0], 8), "is a loopback address"),
    (net([169, 254, 0, 0], 16), "is link-local"),
    (net([224, 0, 0, 0], 4), "is a multicast address"),
    (net([240, 0, 0, 0], 4), "is reserved"),
];

const fn net(address: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The block without host bits, as AWS stores it (ADR-03, ACL-14).
pub(super) fn canonical(report: &mut Report, block: &Spanned<IpNet>) -> IpNet {
    let canonical = block.value.trunc();
    if canonical != block.value {
        report
            .warning(block.span, format!("`{}` has host bits set", block.value))
            .help(format!("it is taken as `{canonical}`, as AWS does"));
    }
    canonical
}

/// Whether both are IPv4, or both IPv6.
pub(super) const fn same_family(one: &IpNet, other: &IpNet) -> bool {
    matches!((one, other), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

/// Why the block cannot be a VPC's: it holds addresses that no host can have.
pub(super) fn unusable_in_vpc(block: Ipv4Net) -> Option<&'static str> {
    UNUSABLE
        .iter()
        .find(|(range, _)| range.contains(&block) || block.contains(range))
        .map(|(_, what)| *what)
}

/// What an address is instead of a public one.
pub(super) fn not_public(ip: Ipv4Addr) -> Option<&'static str> {
    let ranges = PRIVATE.iter().chain(&UNUSABLE);
    ranges.into_iter().find(|(range, _)| range.contains(&ip)).map(|(_, what)| *what)
}

/// What some of a block's addresses are instead of public ones.
pub(super) fn not_public_block(block: Ipv4Net) -> Option<&'static str> {
    let mut ranges = PRIVATE.iter().chain(&UNUSABLE);
    ranges.find(|(range, _)| range.contains(&block) || block.contains(range)).map(|(_, what)| *what)
}

/// What an address of a subnet is reserved for (ADR-01).
pub(super) fn reserved(subnet: IpNet, ip: IpAddr) -> Option<&'static str> {
    let (IpNet::V4(subnet), IpAddr::V4(ip)) = (subnet, ip) else { return None };
    if ip == subnet.broadcast() {
        return Some("the broadcast address");
    }
    match u32::from(ip).wrapping_sub(u32::from(subnet.network())) {
        0 => Some("the network's own address"),
        1 => Some("the VPC's router"),
        2 => Some("the DNS resolver"),
        3 => Some("future use"),
        _ => None,
    }
}

/// How many addresses of a subnet hosts can have: all but five (ADR-01).
pub(super) fn usable(subnet: IpNet) -> u32 {
    let bits = u32::from(subnet.max_prefix_len() - subnet.prefix_len());
    let all = 2_u32.checked_pow(bits).unwrap_or(u32::MAX);
    // A planted bug: see docs/fuzzing.md.
    if cfg!(viaduct_planted = "cidr-edge") { all - 5 } else { all.saturating_sub(5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adr_01_five_addresses_of_a_subnet_are_reserved() {
        let subnet: IpNet = "10.0.1.16/28".parse().unwrap();
        let reserved: Vec<u8> = (16..32)
            .filter(|last| reserved(subnet, IpAddr::from([10, 0, 1, *last])).is_some())
            .collect();
        assert_eq!(reserved, [16, 17, 18, 19, 31]);
        assert_eq!(usable(subnet), 11);
        assert_eq!(usable("10.0.0.0/24".parse().unwrap()), 251);
    }

    #[test]
    fn documentation_ranges_serve_as_public_addresses() {
        for public in ["192.0.2.1", "198.51.100.7", "203.0.113.10", "198.18.0.1", "8.8.8.8"] {
            assert_eq!(not_public(public.parse().unwrap()), None, "{public}");
        }
        for other in ["10.1.2.3", "100.64.0.1", "172.31.0.1", "192.168.1.1", "224.0.0.1"] {
            assert!(not_public(other.parse().unwrap()).is_some(), "{other}");
        }
    }
}
