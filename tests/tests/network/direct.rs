//! The modes in which replies do not come back through the load balancer.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Connection, Counters, HTTP_PORT, PoolSizes, ServicePlan, Stage, Unpacking};
use splitter_userspace::{api::model::Stats, config::ForwardMode};

use crate::support::{self, WEB, WEB6};

const LINK: ServicePlan = ServicePlan { mode: ForwardMode::DsrL2, port: HTTP_PORT, ..WEB };
const LINK6: ServicePlan = ServicePlan { address: WEB6.address, name: WEB6.name, ..LINK };
/// Like in like: IPv4 in IPv4, IPv6 in IPv6.
const TUNNEL: ServicePlan = ServicePlan { mode: ForwardMode::DsrIpip, ..LINK };
const TUNNEL6: ServicePlan = ServicePlan { mode: ForwardMode::DsrIpip, ..LINK6 };
/// IPv4 in IPv6, IPv6 in IPv4.
const CROSSED: ServicePlan = ServicePlan { crossed: true, ..TUNNEL };
const CROSSED6: ServicePlan = ServicePlan { crossed: true, ..TUNNEL6 };
/// Connections to each service.
const CONNECTIONS: u64 = 60;
/// Bytes of an upload.
const BULK: usize = 5_000_000;

pub fn on_the_link() -> Result<()> {
    let (stage, _) = stage(&[LINK, LINK6])?;
    [LINK, LINK6].iter().try_for_each(|plan| is_direct(&stage, plan))
}

pub fn in_a_tunnel() -> Result<()> {
    tunnels([TUNNEL, TUNNEL6])
}

pub fn in_a_tunnel_of_the_other_family() -> Result<()> {
    tunnels([CROSSED, CROSSED6])
}

/// What is one header too large is answered with ICMP, and sent again in smaller pieces.
fn tunnels(plans: [ServicePlan; 2]) -> Result<()> {
    let (stage, _unpacking) = stage(&plans)?;
    for plan in &plans {
        is_direct(&stage, plan)?;
        let count = support::reason(&stage, plan, "too_big")?;
        ensure!((1..=200).contains(&count), "{}: {count} packets were too big", plan.name);
    }
    Ok(())
}

/// Clients and backends on one link, where the backends have the services' addresses.
fn stage(plans: &[ServicePlan]) -> Result<(Stage, Unpacking)> {
    let sizes = PoolSizes { blue: 2, green: 0, canary: 0 };
    Stage::prepared(sizes, plans, |topology, scratch, text| {
        topology.make_one_armed(&scratch.bpf())?;
        let addresses: Vec<IpAddr> = plans.iter().map(|plan| plan.address).collect();
        topology.serve_directly(&addresses)?;
        *text = text.replace("\"eth0\", \"eth1\"", "\"eth1\"");
        topology.unpack()
    })
}

/// Both backends are reached, a large upload arrives, and nothing comes back through the load balancer.
fn is_direct(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    let target = plan.target();
    support::eventually("the next hops", || {
        let status = support::service(stage, plan.name)?;
        let mut backends = status.pools.iter().flat_map(|pool| &pool.backends);
        Ok(backends.all(|backend| !backend.next_hop.starts_with("unresolved")).then_some(()))
    })?;
    let forwarded = forwarded(stage)?;
    let servers = stage.client.run(async move {
        let mut servers = std::collections::BTreeSet::new();
        for _ in 0..CONNECTIONS {
            servers.insert(Connection::open(target).await?.server().await?);
        }
        anyhow::Ok(servers)
    })?;
    let servers = servers.with_context(|| plan.name)?;
    ensure!(servers.iter().eq(["blue1", "blue2"]), "{}: {servers:?} answered", plan.name);
    support::upload(stage, plan, BULK)?;
    let (stats, _) = stage.cli.json::<Stats>(&["stats", plan.name])?;
    for backend in stats.services.iter().flat_map(|service| &service.backends) {
        let counters = &backend.counters;
        ensure!(counters.packets_in > 0, "{}: nothing went to {}", plan.name, backend.address);
        ensure!(counters.packets_out == 0, "{}: {} replied through us", plan.name, backend.address);
    }
    ensure!(self::forwarded(stage)? == forwarded, "{}: the kernel has forwarded packets", plan.name);
    Ok(())
}

/// Packets that the load balancer's kernel has forwarded.
fn forwarded(stage: &Stage) -> Result<u64> {
    let counters = Counters::read(&stage.topology.lb)?;
    Ok(counters.get("IpForwDatagrams")? + counters.get("Ip6OutForwDatagrams")?)
}
