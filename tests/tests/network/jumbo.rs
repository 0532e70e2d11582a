//! Jumbo frames: a driver hands them over in several buffers (`xdp.frags`).

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use splitter_tests::lab::{Connection, PoolSizes, ServicePlan, Stage, Topology};
use splitter_userspace::api::model::Stats;

use crate::support::{WEB, WEB6};

const MTU: u32 = 9000;
/// Bytes that go each way.
const BULK: usize = 20_000_000;
/// A packet in one buffer of a veth is shorter than a page.
const PAGE: u64 = 4096;

pub fn jumbo_frames_arrive_whole() -> Result<()> {
    let sizes = PoolSizes { blue: 1, green: 0, canary: 0 };
    let (stage, ()) = Stage::prepared(sizes, &[WEB, WEB6], |topology, _, _| widen(topology))?;
    for plan in [WEB, WEB6] {
        let sent: Bytes = (0..BULK).map(|at| (at % 251) as u8).collect();
        let content = sent.clone();
        let echo = async move { Connection::open(plan.target()).await?.echo(content).await };
        let back = stage.client.run(echo)?.with_context(|| format!("{} echoes", plan.name))?;
        ensure!(back == sent, "{}: other bytes came back, {} of them", plan.name, back.len());
        are_large(&stage, &plan)?;
    }
    Ok(())
}

/// Every link of the laboratory has room for them.
fn widen(topology: &Topology) -> Result<()> {
    let line = |device: &str| format!("link set {device} mtu {MTU}");
    topology.lb.ip(&["eth0", "eth1"].map(line))?;
    topology.client.ip(&[line("eth0")])?;
    topology.widen_switch(MTU)?;
    topology.backends().try_for_each(|(_, backend)| backend.ip(&[line("eth0")]))
}

/// Packets with data are of several pages; acknowledgements are not.
fn are_large(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    let (stats, _) = stage.cli.json::<Stats>(&["stats", plan.name])?;
    let backends = stats.services.iter().flat_map(|service| &service.backends);
    for counters in backends.map(|backend| &backend.counters) {
        let (packets, bytes) =
            (counters.packets_in + counters.packets_out, counters.bytes_in + counters.bytes_out);
        ensure!(bytes / packets > PAGE, "{}: {bytes} bytes in {packets} packets", plan.name);
    }
    Ok(())
}
