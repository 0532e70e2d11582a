//! A switch and a rollback hold for every connection that begins when the call has returned.

use anyhow::{Result, ensure};
use splitter_tests::lab::{Counts, Load, LongLived, Plan, PoolSizes, Runner, Stage};

use crate::support::{self, WEB, WEB6};

/// There and back this often.
const ROUNDS: usize = 6;
/// Connections that are looked at after every change, at least.
const CONNECTIONS: u64 = 300;

pub fn complete_when_they_return() -> Result<()> {
    let stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &support::web_targets(), 20)?;
    let runner = Runner::start(&stage.topology.client)?;
    let plan = Plan { targets: support::web_targets(), workers: 16, rate: None };
    let load = Load::start(&runner, plan)?;
    for _ in 0..ROUNDS {
        change_both(&stage, &["switch"], &["green"])?;
        let counts = count(&load)?;
        ensure!(is_all_of("green", &counts), "after the switch: {counts:?}");
        change_both(&stage, &["rollback"], &[])?;
        let counts = count(&load)?;
        ensure!(is_all_of("blue", &counts), "after the rollback: {counts:?}");
    }
    let counts = load.stop(&runner)?;
    ensure!(counts.failed() == 0, "{:?}", counts.failures);
    let census = long_lived.census();
    ensure!(census.cut() == 0 && census.alive() == 20, "{census:?}");
    ensure!(census.alive.keys().all(|server| server.starts_with("blue")), "{:?}", census.alive);
    Ok(())
}

fn change_both(stage: &Stage, verb: &[&str], rest: &[&str]) -> Result<()> {
    [WEB, WEB6].iter().try_for_each(|plan| {
        let change = support::change(stage, &[verb, &[plan.name], rest].concat())?;
        ensure!(change.slots_moved > 0, "{}", change.line);
        Ok(())
    })
}

/// What came of connections that begin from now on.
fn count(load: &Load) -> Result<Counts> {
    let phase = load.mark();
    support::let_load_run(load, phase, CONNECTIONS)?;
    Ok(load.counts(phase))
}

fn is_all_of(pool: &str, counts: &Counts) -> bool {
    counts.failed() == 0 && counts.answers.keys().all(|server| server.starts_with(pool))
}
