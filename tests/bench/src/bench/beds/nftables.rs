//! `nftables`: what people have today. A router between two cables: kernel forwarding, connection
//! tracking, source NAT, and rules that decide what the topology's groups and ACLs decide.
//!
//! The ACLs are stateless, so every packet passes their chains; the groups are stateful, so only a
//! connection's first does. Verdict maps where a chain branches, as a careful author would write it.

use std::{net::Ipv4Addr, process::Command};

use viaduct_tun::{Namespace, link, link::Links};

use super::{Ground, bare_namespace, veth::LARGEST_MTU};
use crate::{error::Error, process};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const CLIENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
const SERVER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const SEEN: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 4);

/// The rules of `topology.yaml`, with the addresses of this bed. Filtering comes before source NAT,
/// so the ACLs see the client's own address here; replies are judged before their destination is
/// shown to be it, by the address that connection tracking has put back.
const RULES: &str = "
table ip bench {
  chain acl_in {
    tcp dport 7999 drop
    ip saddr 10.1.0.0/24 tcp dport 7000-7999 return
    ip saddr 10.1.0.0/24 udp dport 7000-7999 return
    drop
  }
  chain acl_out {
    ip daddr 10.1.0.0/24 tcp dport 1024-65535 return
    ip daddr 10.1.0.0/24 udp dport 1024-65535 return
    drop
  }
  chain group_client {
    ip daddr 10.0.2.10 tcp dport 7000-7999 return
    ip daddr 10.0.2.10 udp dport 7000-7999 return
    drop
  }
  chain group_server {
    ip saddr 10.1.0.2 tcp dport 7000-7999 return
    ip saddr 10.1.0.2 udp dport 7000-7999 return
    drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname vmap { \"client\" : jump from_client, \"server\" : jump from_server }
  }
  chain from_client {
    ip saddr != 10.1.0.2 drop
    jump acl_in
    ct state established,related accept
    ct state != new drop
    jump group_client
    jump group_server
    accept
  }
  chain from_server {
    jump acl_out
    ct state established,related accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"server\" snat to 10.0.1.4
  }
}
";

pub(super) fn make() -> Result<Ground, Error> {
    let (client, router, server) = (bare_namespace()?, bare_namespace()?, bare_namespace()?);
    router.run(|| {
        let links = Links::open()?;
        for (own, address, peer) in
            [("client", CLIENT_GATEWAY, &client), ("server", SERVER_GATEWAY, &server)]
        {
            links.add_veth(own, "eth0")?;
            links.move_to("eth0", peer)?;
            links.add_address(own, address.into(), 24)?;
            links.up(own)?;
        }
        link::forward()
    })??;
    let host = |namespace: &Namespace, address: Ipv4Addr, gateway: Ipv4Addr| {
        namespace.run(|| {
            let links = Links::open()?;
            links.add_address("eth0", address.into(), 24)?;
            links.up("eth0")?;
            links.add_default_route("eth0", Some(gateway.into()))
        })
    };
    host(&client, CLIENT, CLIENT_GATEWAY)??;
    host(&server, SERVER, SERVER_GATEWAY)??;
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]);
    process::run(nft, Some(&router), RULES)?;
    Ok(Ground {
        devices: vec![
            (client.try_clone()?, "eth0".to_owned()),
            (router.try_clone()?, "client".to_owned()),
            (router, "server".to_owned()),
            (server.try_clone()?, "eth0".to_owned()),
        ],
        client,
        server,
        target: SERVER,
        seen: SEEN,
        largest_mtu: LARGEST_MTU,
        held: Vec::new(),
    })
}
