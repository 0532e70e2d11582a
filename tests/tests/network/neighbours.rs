//! The kernel forgets its neighbours: packets go through the kernel until it has found them again.

use anyhow::{Result, ensure};
use splitter_tests::lab::{Load, LongLived, Plan, PoolSizes, Runner, Stage};

use crate::support::{self, WEB, WEB6};

pub fn lost_under_load() -> Result<()> {
    let stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &support::web_targets(), 20)?;
    let runner = Runner::start(&stage.topology.client)?;
    let plan = Plan { targets: support::web_targets(), workers: 16, rate: Some(1000.0) };
    let load = Load::start(&runner, plan)?;
    let through_kernel = |plan| support::reason(&stage, plan, "no_next_hop");
    let before = [through_kernel(&WEB)?, through_kernel(&WEB6)?];
    support::eventually("packets without a next hop", || {
        for device in ["eth0", "eth1"] {
            stage.topology.lb.tool("ip", &["neigh", "flush", "dev", device])?;
        }
        let now = [through_kernel(&WEB)?, through_kernel(&WEB6)?];
        Ok((now[0] > before[0] && now[1] > before[1]).then_some(()))
    })?;
    next_hops_return(&stage)?;
    let last = [through_kernel(&WEB)?, through_kernel(&WEB6)?];
    let phase = load.mark();
    support::let_load_run(&load, phase, 300)?;
    ensure!([through_kernel(&WEB)?, through_kernel(&WEB6)?] == last, "packets still go through the kernel");
    let counts = load.stop(&runner)?;
    ensure!(counts.failed() == 0, "of {} requests: {:?}", counts.requests(), counts.failures);
    let census = long_lived.census();
    ensure!(census.cut() == 0 && census.alive() == 20, "{census:?}");
    Ok(())
}

/// Until the ways to all backends are known, and that to the client.
fn next_hops_return(stage: &Stage) -> Result<()> {
    support::eventually("the next hops", || {
        for plan in [WEB, WEB6] {
            let pools = support::service(stage, plan.name)?.pools;
            let mut hops = pools.iter().flat_map(|pool| &pool.backends).map(|backend| &backend.next_hop);
            if hops.any(|hop| hop.contains("unresolved")) {
                return Ok(None);
            }
        }
        let before = support::reason(stage, &WEB6, "no_next_hop")?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        Ok((support::reason(stage, &WEB6, "no_next_hop")? == before).then_some(()))
    })
}
