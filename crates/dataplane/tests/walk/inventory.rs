//! Interfaces and attachments that come and go.

use std::net::Ipv4Addr;

use viaduct_dataplane::inventory::{Inventory, InventoryError, Owner};
use viaduct_topology::{
    Reason, ResourceId,
    inventory::{Attachment, AttachmentId, Eni, Host},
    model::Settings,
};

use crate::world::{FORWARD, Network, OPEN, World};

fn world() -> World {
    Network {
        groups: OPEN,
        instances: "
            x: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }
            y: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.1, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open], environments: 2 }",
        internet: "web: { ip: 198.51.100.7 }",
        ..Network::default()
    }
    .world()
}

fn planned(world: &World, owner: impl Fn(&Eni) -> bool) -> Eni {
    let plan = viaduct_control_plane::plan(&world.topology).unwrap();
    plan.enis.into_iter().find(owner).unwrap()
}

fn address(eni: &Eni) -> Ipv4Addr {
    eni.private_ip.to_string().parse().unwrap()
}

#[test]
fn an_instance_that_is_removed_is_nobody() {
    let world = world();
    assert_eq!(world.ask("function/api", "10.0.0.10", "tcp/80"), None);
    let eni = planned(&world, |eni| address(eni) == Ipv4Addr::new(10, 0, 0, 10));
    let attachment = world.attachment("instance/y");

    let in_use = world.inventory.remove_eni(&eni.id);
    assert_eq!(in_use, Err(InventoryError::EniInUse(eni.id.clone())));

    world.inventory.remove_attachment(attachment).unwrap();
    assert_eq!(
        world.ask("function/api", "10.0.0.10", "tcp/80"),
        Some((FORWARD, Reason::AttachmentDown)),
        "the interface is there, its host is not"
    );
    world.inventory.remove_eni(&eni.id).unwrap();
    assert_eq!(
        world.ask("function/api", "10.0.0.10", "tcp/80"),
        Some((FORWARD, Reason::NoPossibleDestination))
    );
    assert_eq!(
        world.inventory.remove_eni(&eni.id),
        Err(InventoryError::UnknownEni(eni.id.clone()))
    );
    assert_eq!(
        world.inventory.remove_attachment(attachment),
        Err(InventoryError::UnknownAttachment(attachment))
    );

    // And it comes back.
    world.inventory.add_eni(&eni, &Settings::default()).unwrap();
    let host = Host::Instance { eni: eni.id };
    let back = Attachment { id: AttachmentId(99), name: "instance/y".into(), host };
    world.inventory.add_attachment(&back).unwrap();
    assert_eq!(world.ask("function/api", "10.0.0.10", "tcp/80"), None);
}

#[test]
fn every_address_has_one_holder() {
    let world = world();
    let settings = Settings::default();
    let eni = planned(&world, |eni| address(eni) == Ipv4Addr::new(10, 0, 0, 10));
    let exists = world.inventory.add_eni(&eni, &settings);
    assert_eq!(exists, Err(InventoryError::EniExists(eni.id.clone())));

    let renamed = Eni { id: ResourceId::named("eni-other"), ..eni.clone() };
    let taken = world.inventory.add_eni(&renamed, &settings).unwrap_err();
    assert_eq!(
        taken.to_string(),
        format!(
            "address 10.0.0.10 of eni-other is taken by {}; each address has one holder",
            eni.id
        )
    );
    let moved = Eni { private_ip: [10, 0, 0, 11].into(), ..renamed };
    let taken = world.inventory.add_eni(&moved, &settings).unwrap_err();
    assert!(taken.to_string().starts_with("address 203.0.113.1 of eni-other is taken"), "{taken}");
    // The same private address in another VPC is another address.
    let elsewhere = Eni { vpc: ResourceId::named("vpc-other"), public_ip: None, ..moved };
    world.inventory.add_eni(&Eni { private_ip: eni.private_ip, ..elsewhere }, &settings).unwrap();

    let host = Host::Internet { ip: [203, 0, 113, 1].into() };
    let imposter = Attachment { id: AttachmentId(99), name: "internet/imposter".into(), host };
    assert!(matches!(
        world.inventory.add_attachment(&imposter),
        Err(InventoryError::AddressTaken { .. })
    ));
    assert!(world.inventory.attachment(AttachmentId(99)).is_none());
}

#[test]
fn an_attachment_needs_interfaces_of_its_kind() {
    let world = world();
    let instance = planned(&world, |eni| address(eni) == Ipv4Addr::new(10, 0, 0, 10)).id;
    let environments = world.inventory.enis();
    let hyperplane = environments
        .iter()
        .find(|eni| matches!(eni.owner, Owner::Functions(_)))
        .map(|eni| eni.id.clone())
        .unwrap();
    let add = |host| {
        let id = AttachmentId(99);
        world.inventory.add_attachment(&Attachment { id, name: "new".into(), host })
    };
    let environment = |enis| Host::Environment { function: "new".into(), enis };

    assert!(matches!(
        add(environment(vec![instance.clone()])),
        Err(InventoryError::WrongEni { .. })
    ));
    let host = Host::Instance { eni: hyperplane.clone() };
    assert!(matches!(add(host), Err(InventoryError::WrongEni { .. })));
    let host = Host::Instance { eni: instance };
    assert!(matches!(add(host), Err(InventoryError::WrongEni { .. })), "it serves another one");
    let host = Host::Instance { eni: ResourceId::named("eni-none") };
    assert!(matches!(add(host), Err(InventoryError::UnknownEni(_))));
    add(environment(vec![hyperplane])).unwrap();
}

#[test]
fn an_environments_last_eni_stays() {
    let world = world();
    let eni = planned(&world, |eni| {
        matches!(eni.owner, viaduct_topology::inventory::EniOwner::Functions(_))
    });
    let in_use = Err(InventoryError::EniInUse(eni.id.clone()));
    assert_eq!(world.inventory.remove_eni(&eni.id), in_use);
    world.inventory.remove_attachment(world.attachment("function/api/2")).unwrap();
    assert_eq!(world.inventory.remove_eni(&eni.id), in_use);
    world.inventory.remove_attachment(world.attachment("function/api/1")).unwrap();
    world.inventory.remove_eni(&eni.id).unwrap();
    assert!(world.inventory.eni(&eni.id).is_none());
}

#[test]
fn a_changed_interface_keeps_its_ports_and_attachment() {
    let world = world();
    let y = planned(&world, |eni| address(eni) == Ipv4Addr::new(10, 0, 0, 10));
    let none = Eni { security_groups: vec![], ..y.clone() };
    world.inventory.replace_eni(&none, &world.topology.settings).unwrap();
    assert_eq!(
        world.ask("function/api", "10.0.0.10", "tcp/80"),
        Some((FORWARD, Reason::SgHasNoRules))
    );
    assert_eq!(
        world.ask("instance/y", "instance/x", "tcp/80"),
        Some((FORWARD, Reason::SgHasNoRules))
    );

    let moved = Eni { public_ip: Some([203, 0, 113, 2].into()), ..y.clone() };
    world.inventory.replace_eni(&moved, &world.topology.settings).unwrap();
    assert_eq!(world.ask("internet/web", "203.0.113.2", "tcp/80"), None);
    assert!(world.inventory.eni_by_public_ip(Ipv4Addr::new(203, 0, 113, 1)).is_none());

    let hyperplane = planned(&world, |eni| {
        eni.private_ip != y.private_ip
            && eni.public_ip.is_none()
            && matches!(eni.owner, viaduct_topology::inventory::EniOwner::Functions(_))
    });
    let before = world.inventory.eni(&hyperplane.id).unwrap();
    world.inventory.replace_eni(&hyperplane, &world.topology.settings).unwrap();
    let after = world.inventory.eni(&hyperplane.id).unwrap();
    let (before, after) = (before.ports.clone().unwrap(), after.ports.clone().unwrap());
    assert!(std::sync::Arc::ptr_eq(&before, &after), "leases outlive the exchange");

    let stranger = Eni { private_ip: [10, 0, 0, 77].into(), ..y.clone() };
    let refused = world.inventory.replace_eni(&stranger, &world.topology.settings);
    assert_eq!(refused, Err(InventoryError::EniIdentity(y.id)));
}

#[test]
fn only_ipv4_is_forwarded() {
    let world = world();
    let y = planned(&world, |eni| address(eni) == Ipv4Addr::new(10, 0, 0, 10));
    let ip = "2001:db8::1".parse().unwrap();
    let six = Eni { id: ResourceId::named("eni-six"), private_ip: ip, ..y };
    let refused = world.inventory.add_eni(&six, &Settings::default());
    assert_eq!(refused, Err(InventoryError::NotIpv4(ip)));
    let empty = Inventory::new(std::sync::Arc::clone(&world.numbers));
    assert!(empty.enis().is_empty() && empty.attachments().is_empty());
}
