//! A backend that dies and comes back, with health checks on.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use anyhow::{Result, ensure};
use splitter_tests::lab::{
    Census, Load, LongLived, Plan, PoolSizes, Runner, ServicePlan, Stage, addresses::CLIENT,
};
use splitter_userspace::api::model::{Health, Place};

use crate::support::{self, WEB};

const CHECKED: ServicePlan = ServicePlan { health: Some(Duration::from_millis(200)), ..WEB };
type Places = BTreeMap<u16, Place>;

/// Client ports whose places stand for the whole table.
const PORTS: Range<u16> = 20_000..20_400;
/// Connections that are looked at after every change, at least.
const CONNECTIONS: u64 = 300;

pub fn a_backend_dies_and_comes_back() -> Result<()> {
    let mut stage = Stage::build(PoolSizes { blue: 3, green: 1, canary: 1 }, &[CHECKED])?;
    support::wait_for_health(&stage, &CHECKED, Health::Up)?;
    support::change(&stage, &["weights", "web", "canary=10"])?;
    let before = places(&stage)?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &[CHECKED.target()], 60)?;
    let begun = long_lived.census();
    let runner = Runner::start(&stage.topology.client)?;
    let plan = Plan { targets: vec![CHECKED.target()], workers: 16, rate: Some(300.0) };
    let load = Load::start(&runner, plan)?;

    stage.topology.plug("blue1", false)?;
    ensure!(stage.servers.stop("blue1"), "blue1 has no servers");
    support::wait_for_health(&stage, &CHECKED, Health::Down)?;
    let counts = count(&load)?;
    ensure!(counts.failed() == 0, "after the detection: {:?}", counts.failures);
    ensure!(!counts.answers.contains_key("blue1"), "the dead answer: {counts:?}");
    only_its_own_slots_moved(&stage, &before, &places(&stage)?)?;
    ensure!(support::backend(&stage, &CHECKED, "blue1")?.slots == 0, "the dead has slots");
    only_its_own_connections_are_cut(&begun, &long_lived)?;

    stage.servers.start_one(&stage.topology, "blue1")?;
    stage.topology.plug("blue1", true)?;
    support::wait_for_health(&stage, &CHECKED, Health::Up)?;
    let counts = count(&load)?;
    ensure!(counts.failed() == 0, "after the return: {:?}", counts.failures);
    ensure!(counts.answers.contains_key("blue1"), "nobody goes back to blue1: {counts:?}");
    ensure!(places(&stage)? == before, "the table is not what it was before");
    only_its_own_connections_are_cut(&begun, &long_lived)?;
    drop(load);
    Ok(())
}

fn count(load: &Load) -> Result<splitter_tests::lab::Counts> {
    let phase = load.mark();
    support::let_load_run(load, phase, CONNECTIONS)?;
    Ok(load.counts(phase))
}

fn places(stage: &Stage) -> Result<Places> {
    support::places(stage, &CHECKED, CLIENT.ipv4.into(), PORTS)
}

/// The dead backend's slots go to its pool's others. Those share them by quota, for which a few may change hands among
/// them as well; no other pool has anything to do with it.
fn only_its_own_slots_moved(stage: &Stage, before: &Places, after: &Places) -> Result<()> {
    let dead = CHECKED.endpoint(support::host_of(stage, "blue1")?);
    let (mut its_own, mut others) = (0, 0);
    for (port, was) in before {
        let is = &after[port];
        ensure!(is.pool == was.pool && is.backend != dead, "port {port}: from {was:?} to {is:?}");
        its_own += usize::from(was.backend == dead);
        others += usize::from(was.backend != dead && is != was);
    }
    ensure!(its_own > 60, "only {its_own} of {} places were blue1's", before.len());
    ensure!(others * 4 < its_own, "{others} places moved besides blue1's {its_own}");
    Ok(())
}

/// The dead backend's connections end; all others live.
fn only_its_own_connections_are_cut(begun: &Census, long_lived: &LongLived) -> Result<()> {
    let its_own = begun.alive["blue1"];
    let census = support::eventually("the dead backend's connections to end", || {
        let census = long_lived.census();
        Ok((census.cut() >= its_own).then_some(census))
    })?;
    let mut others = begun.alive.clone();
    others.remove("blue1");
    ensure!(census.cut() == its_own && census.alive == others, "of {begun:?} remained {census:?}");
    Ok(())
}
