//! A device inside a namespace, set up by the daemon's plan.

use crate::{Device, Error, Links, Namespace, Plan, link};

/// Makes device `name` in `namespace` and sets it up: loopback, MTU, addresses, default route.
///
/// IPv6 goes off first, before the link is up and the kernel announces itself. Where the
/// namespace's settings cannot be written (a container's read-only /proc/sys) that is only
/// warned of, for the daemon drops IPv6 anyway.
pub fn set_up(namespace: &Namespace, name: &str, plan: &Plan) -> Result<Device, Error> {
    namespace.run(|| {
        if let Err(error) = link::disable_ipv6() {
            tracing::warn!(namespace = namespace.label(), %error, "IPv6 stays on");
        }
        if plan.forwards {
            link::forward()?;
        }
        let links = Links::open()?;
        links.up("lo")?;
        let device = Device::open(name, plan.device)?;
        let name = device.name();
        links.set_mtu(name, u32::from(plan.mtu))?;
        links.add_address(name, plan.address, plan.prefix_len)?;
        links.up(name)?;
        for block in &plan.further {
            links.add_own(*block)?;
        }
        links.add_default_route(name, plan.gateway)?;
        Ok(device)
    })?
}
