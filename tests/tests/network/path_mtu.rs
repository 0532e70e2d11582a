//! Links narrower than both ends believe: TCP finds out, because ICMP's word reaches who must hear it.

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Connection, PoolSizes, Scratch, ServicePlan, Stage, Topology};

use crate::support::{self, WEB, WEB6};

const BOTH: [ServicePlan; 2] = [WEB, WEB6];
const ONE: PoolSizes = PoolSizes { blue: 1, green: 0, canary: 0 };
/// What the narrow link takes; both ends take 1500.
const NARROW: u32 = 1400;
/// Bytes of a transfer.
const BULK: usize = 5_000_000;

/// The router's complaint goes to the service's address, and on to the backend.
pub fn a_narrow_link_at_the_client() -> Result<()> {
    let (stage, _router) =
        Stage::prepared(ONE, &BOTH, |topology, _, _| topology.put_client_behind_router(NARROW))?;
    for plan in BOTH {
        download(&stage, &plan)?;
        counted(&stage, &plan, "icmp_error")?;
    }
    Ok(())
}

/// The router's complaint names the backend, and goes on in the service's name.
pub fn a_narrow_link_at_the_backend() -> Result<()> {
    let (stage, _router) =
        Stage::prepared(ONE, &BOTH, |topology, _, _| topology.put_backend_behind_router("blue1", NARROW))?;
    for plan in BOTH {
        support::upload(&stage, &plan, BULK)?;
        counted(&stage, &plan, "icmp_error")?;
    }
    Ok(())
}

/// The data plane itself answers what does not fit its own link to the backend.
pub fn a_narrow_way_out_to_the_backend() -> Result<()> {
    let stage = narrowed("eth1")?;
    for plan in BOTH {
        support::upload(&stage, &plan, BULK)?;
        counted(&stage, &plan, "too_big")?;
    }
    Ok(())
}

/// The kernel answers what does not fit its own link to the client.
pub fn a_narrow_way_out_to_the_client() -> Result<()> {
    let stage = narrowed("eth0")?;
    for plan in BOTH {
        download(&stage, &plan)?;
        counted(&stage, &plan, "too_big_to_kernel")?;
    }
    Ok(())
}

/// With one link of the load balancer that sends less than it receives.
fn narrowed(device: &str) -> Result<Stage> {
    let narrow = |topology: &Topology, scratch: &Scratch, _: &mut String| {
        topology.take_returns(&scratch.bpf())?;
        topology.lb.ip(&[format!("link set {device} mtu {NARROW}")])
    };
    Ok(Stage::prepared(ONE, &BOTH, narrow)?.0)
}

fn download(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    let target = plan.target();
    let path = format!("/bytes?n={BULK}");
    let got = stage.client.run(async move { Connection::open(target).await?.get(&path).await })?;
    let arrived = got.with_context(|| format!("{}: download", plan.name))?.len();
    ensure!(arrived == BULK, "{}: {arrived} bytes arrived", plan.name);
    Ok(())
}

fn counted(stage: &Stage, plan: &ServicePlan, reason: &str) -> Result<()> {
    let count = support::reason(stage, plan, reason)?;
    ensure!(count >= 1, "{}: the link was not narrow: no {reason} is counted", plan.name);
    // Once in ten minutes is enough; a burst that was under way may be answered packet by packet.
    ensure!(count <= 200, "{}: {reason} is counted {count} times: nobody listened", plan.name);
    Ok(())
}
