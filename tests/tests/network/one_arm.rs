//! Clients and backends behind one interface: packets leave by the one they came in on.

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Connection, PoolSizes, ServicePlan, Stage};
use splitter_userspace::api::model::Status;

use crate::support::{self, WEB, WEB6};

/// Connections to each service.
const CONNECTIONS: u64 = 50;

pub fn one_interface_for_all() -> Result<()> {
    let mut stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    support::stop(&mut stage)?;
    stage.topology.make_one_armed(&stage.scratch.bpf())?;
    support::edit_config(&stage, |text| text.replace("\"eth0\", \"eth1\"", "\"eth1\""))?;
    stage.start_daemon()?;
    let (status, _) = stage.cli.json::<Status>(&["status"])?;
    let attached: Vec<_> =
        status.interfaces.iter().map(|one| (one.name.as_str(), one.mode.as_str())).collect();
    ensure!(attached == [("eth1", "native")], "attached: {:?}", status.interfaces);
    for plan in [WEB, WEB6] {
        let through_kernel = || support::reason(&stage, &plan, "no_next_hop");
        support::eventually("the way back to the client", || {
            let before = through_kernel()?;
            connect(&stage, &plan, 1)?;
            Ok((through_kernel()? == before).then_some(()))
        })?;
        let before = settled(&stage, &plan)?;
        connect(&stage, &plan, CONNECTIONS)?;
        let after = settled(&stage, &plan)?;
        let (sent, forwarded) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            forwarded >= 8 * CONNECTIONS,
            "{}: {forwarded} packets for {CONNECTIONS} connections",
            plan.name
        );
        ensure!(sent == forwarded, "{}: of {forwarded} packets {sent} were sent back", plan.name);
    }
    Ok(())
}

fn connect(stage: &Stage, plan: &ServicePlan, times: u64) -> Result<()> {
    let target = plan.target();
    let answered = stage.client.run(async move {
        for _ in 0..times {
            let server = Connection::open(target).await?.server().await?;
            ensure!(server.starts_with("blue"), "{server} answered");
        }
        Ok(())
    })?;
    answered.with_context(|| plan.name)
}

/// Packets sent back and packets forwarded, once the ends of closed connections have gone by: the two cannot be read at
/// one time.
fn settled(stage: &Stage, plan: &ServicePlan) -> Result<(u64, u64)> {
    let mut last = None;
    support::eventually("the last packets", || {
        let now = (sent_back(stage)?, support::packets(stage, plan)?);
        Ok((last.replace(now) == Some(now)).then_some(now))
    })
}

/// Packets that the program has sent back through `eth1`.
fn sent_back(stage: &Stage) -> Result<u64> {
    let text = stage.topology.lb.tool("ethtool", &["-S", "eth1"])?;
    let counts = text.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        name.ends_with("_xdp_tx").then(|| value.parse::<u64>())
    });
    Ok(counts.sum::<Result<_, _>>()?)
}
