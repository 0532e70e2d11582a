//! Backends that clients' packets reach without a rewrite: the services' addresses are their own too, and what comes in a
//! tunnel is taken out of it.
//!
//! Not every kernel has `ipip`, `sit` and `ip6tnl` devices: a program on the backend's `eth0` does what they do.

use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use splitter_userspace::dataplane::UNPACK_OBJECT;

use super::{Topology, addresses::CLIENT};

/// The programs on the backends. Dropping it takes them off.
pub struct Unpacking(#[expect(dead_code, reason = "owns what is attached")] Vec<Ebpf>);

impl Topology {
    /// Gives every backend the services' addresses, of which it tells nobody, and a way to clients on its own link.
    pub fn serve_directly(&self, services: &[IpAddr]) -> Result<()> {
        let addresses = services.iter().map(|address| format!("address add {address} dev lo"));
        let [a, b, c, _] = CLIENT.ipv4.octets();
        let ways =
            [format!("route add {a}.{b}.{c}.0/24 dev eth0"), "route add 2001:db8:c::/64 dev eth0".to_owned()];
        let lines: Vec<_> = addresses.chain(ways).collect();
        for (_, backend) in self.backends() {
            backend.set_sysctls(&[
                ("ipv4/conf/all/arp_ignore", "1"),
                ("ipv4/conf/all/arp_announce", "2"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/eth0/rp_filter", "0"),
            ])?;
            backend.ip(&lines)?;
        }
        Ok(())
    }

    /// Has every backend take packets out of their tunnels.
    pub fn unpack(&self) -> Result<Unpacking> {
        let programs = self.backends().map(|(host, backend)| {
            backend.run(attach)?.with_context(|| format!("cannot unpack on {}", host.name))
        });
        Ok(Unpacking(programs.collect::<Result<_>>()?))
    }
}

fn attach() -> Result<Ebpf> {
    let mut object = EbpfLoader::new().load(UNPACK_OBJECT)?;
    let program: &mut Xdp = object.program_mut("unpack").context("no program unpack")?.try_into()?;
    program.load()?;
    program.attach("eth0", XdpMode::Driver)?;
    Ok(object)
}
