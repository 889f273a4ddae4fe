//! Network interfaces as EC2 shows them (LAM-30..34).

use std::net::IpAddr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use viaduct_control_plane::lifecycle::{Eni, EniSet, Lifecycle, Phase};
use viaduct_topology::{ResourceId, inventory::EniOwner};

use super::listing::{Item, Listing};
use crate::{
    api::{caller::Caller, query::xml::Element},
    network::Network,
};

pub(super) const INTERFACES: Listing = Listing {
    action: "DescribeNetworkInterfaces",
    set: "networkInterfaceSet",
    id: "NetworkInterfaceId",
    not_found: "InvalidNetworkInterfaceID.NotFound",
    filters: &[
        "attachment.instance-owner-id",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "interface-type",
        "network-interface-id",
        "operator.managed",
        "owner-id",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "status",
        "subnet-id",
        "vpc-id",
    ],
    items,
};

/// Whoever owns the VPC sees the interfaces of others in it too (SHR-05).
fn items(network: &Network, machine: &Lifecycle, caller: &Caller) -> Vec<Item> {
    let topology = &network.topology;
    let account = |vpc: &ResourceId| {
        topology.vpcs.values().find(|it| it.id == *vpc).map(|vpc| vpc.account.as_str())
    };
    let me = &**caller.account();
    let others = network.plan.enis.iter().filter_map(|eni| {
        let (kind, description) = match &eni.owner {
            EniOwner::Instance { .. } => ("interface", String::new()),
            EniOwner::NatGateway { id } => {
                ("nat_gateway", format!("Interface for NAT Gateway {id}"))
            }
            EniOwner::VpcEndpoint { id, .. } => {
                ("vpc_endpoint", format!("VPC Endpoint Interface {id}"))
            }
            // The machine has those of functions, and services are nobody's.
            _ => return None,
        };
        let owner = account(&eni.vpc).filter(|owner| *owner == me)?;
        let addresses = [&[eni.private_ip][..], &eni.secondary_private_ips].concat();
        let managed = kind != "interface";
        let place = Place { vpc: &eni.vpc, subnet: &eni.subnet, owner, description, kind };
        let item = common(network, &eni.id, place, &addresses, &eni.security_groups)
            .with(Element::text("sourceDestCheck", eni.source_dest_check.to_string()))
            .told("requesterManaged", "requester-managed", managed)
            .told("status", "status", "in-use");
        let instance = match &eni.owner {
            EniOwner::Instance { id, .. } => Some(id),
            _ => None,
        };
        let attached = attachment(item, &eni.id, "eni-attach", instance, me);
        let public = eni.public_ip.map(|address| {
            Element::parent("association").with(Element::text("publicIp", address.to_string()))
        });
        Some(public.into_iter().fold(attached, Item::with))
    });
    let sets = machine.sets().filter(|set| {
        set.key.account() == me || account(&set.vpc).is_some_and(|owner| owner == me)
    });
    let of_functions =
        sets.flat_map(|set| set.enis.values().map(|eni| of_function(network, set, eni)));
    others.chain(of_functions).collect()
}

/// LAM-30: nobody's request manages it, its check is on, and what it is attached to is no instance.
fn of_function(network: &Network, set: &EniSet, eni: &Eni) -> Item {
    let status = match (&set.phase, eni.is_there()) {
        // LAM-55: only what is not in use can be deleted by hand.
        (Phase::Stranded { .. }, _) => "available",
        (_, false) => "attaching",
        (_, true) => "in-use",
    };
    let account = set.key.account();
    let place = Place {
        vpc: &set.vpc,
        subnet: set.key.subnet(),
        owner: account,
        description: eni.description(),
        kind: "lambda",
    };
    let groups = set.key.security_groups();
    let item = common(network, &eni.id, place, &[eni.private_ip], groups)
        .with(Element::text("sourceDestCheck", "true"))
        .told("requesterId", "requester-id", requester(account))
        .told("requesterManaged", "requester-managed", false)
        .told("status", "status", status);
    match status {
        "in-use" => attachment(item, &eni.id, "ela-attach", None, "amazon-aws"),
        _ => item,
    }
}

/// Who had an account's interfaces made (LAM-31): a role of Lambda's in it, by its unique id, which is
/// derived as nobody else has one.
fn requester(account: &str) -> String {
    let digest = Sha256::digest(format!("Lambda {account}"));
    let digits = BASE32_NOPAD.encode(&digest);
    format!("AROA{}:{account}", &digits[..17])
}

/// Where an interface is, and what for.
struct Place<'p> {
    vpc: &'p ResourceId,
    subnet: &'p ResourceId,
    owner: &'p str,
    description: String,
    kind: &'static str,
}

fn common(
    network: &Network,
    id: &ResourceId,
    place: Place<'_>,
    addresses: &[IpAddr],
    groups: &[ResourceId],
) -> Item {
    let topology = &network.topology;
    let subnet = topology.subnets.values().find(|subnet| subnet.id == *place.subnet);
    let zone = subnet.map_or("", |subnet| subnet.availability_zone.as_str());
    let list = addresses.iter().enumerate().map(|(number, address)| {
        Element::parent("item")
            .with(Element::text("privateIpAddress", address.to_string()))
            .with(Element::text("primary", (number == 0).to_string()))
    });
    let mut item = Item::new(id)
        .told("networkInterfaceId", "network-interface-id", id)
        .told("interfaceType", "interface-type", place.kind)
        .told("description", "description", place.description)
        .told("ownerId", "owner-id", place.owner)
        .told("vpcId", "vpc-id", place.vpc)
        .told("subnetId", "subnet-id", place.subnet)
        .told("availabilityZone", "availability-zone", zone)
        // LAM-34: none is an operator's.
        .with(Element::parent("operator").with(Element::text("managed", "false")))
        .filtered("operator.managed", false)
        .with(list.fold(Element::parent("privateIpAddressesSet"), Element::with));
    if let Some(first) = addresses.first() {
        item = item.told("privateIpAddress", "private-ip-address", first);
    }
    let mut set = Element::parent("groupSet");
    for id in groups {
        let group = topology.security_groups.values().find(|group| group.id == *id);
        let name = group.map_or("", |group| group.name.as_str());
        let group = Element::parent("item").with(Element::text("groupId", id.as_str()));
        set = set.with(group.with(Element::text("groupName", name)));
        item = item.filtered("group-id", id);
    }
    item.with(set)
}

fn attachment(
    item: Item,
    id: &ResourceId,
    prefix: &str,
    instance: Option<&ResourceId>,
    owner: &str,
) -> Item {
    let digits = id.as_str().trim_start_matches("eni-");
    let attachment = Element::parent("attachment")
        .with(Element::text("attachmentId", format!("{prefix}-{digits}")))
        .with(Element::text("instanceOwnerId", owner))
        .with(Element::text("deviceIndex", if instance.is_some() { "0" } else { "1" }))
        .with(Element::text("status", "attached"))
        .with(Element::text("deleteOnTermination", "false"));
    let instance = instance.map(|id| Element::text("instanceId", id.as_str()));
    item.with(instance.into_iter().fold(attachment, Element::with))
        .filtered("attachment.status", "attached")
        .filtered("attachment.instance-owner-id", owner)
}
