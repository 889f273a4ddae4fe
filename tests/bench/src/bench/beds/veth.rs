//! `veth`: a cable. What the two kernels at its ends cost by themselves.

use std::net::Ipv4Addr;

use viaduct_tun::link::Links;

use super::{Ground, bare_namespace};
use crate::error::Error;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

/// As slirp4netns and pasta have it.
pub(super) const LARGEST_MTU: u32 = 65520;

pub(super) fn make() -> Result<Ground, Error> {
    let (client, server) = (bare_namespace()?, bare_namespace()?);
    client.run(|| {
        let links = Links::open()?;
        links.add_veth("eth0", "peer")?;
        links.move_to("peer", &server)?;
        links.add_address("eth0", CLIENT.into(), 24)?;
        links.up("eth0")
    })??;
    server.run(|| {
        let links = Links::open()?;
        links.add_address("peer", SERVER.into(), 24)?;
        links.up("peer")
    })??;
    Ok(Ground {
        devices: vec![
            (client.try_clone()?, "eth0".to_owned()),
            (server.try_clone()?, "peer".to_owned()),
        ],
        client,
        server,
        target: SERVER,
        seen: CLIENT,
        largest_mtu: LARGEST_MTU,
        held: Vec::new(),
    })
}
