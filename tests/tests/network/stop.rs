//! The daemon ends, in order or not: no program stays behind, and the next one serves.

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{PoolSizes, Stage, config};

use crate::support::{self, WEB, WEB6};

pub fn a_stopped_daemon_leaves_nothing() -> Result<()> {
    let mut stage = stage()?;
    support::stop(&mut stage)?;
    ensure!(support::programs(&stage)? == [None, None], "still attached: {:?}", support::programs(&stage)?);
    let socket = config::socket(stage.scratch.folder());
    ensure!(!socket.exists(), "{} is still there", socket.display());
    let message = support::refused(&stage, &["status"], 5)?;
    support::mentions(&message, &["cannot reach splitterd", &socket.to_string_lossy(), "start it with"])?;
    serves_again(&mut stage)
}

pub fn a_killed_daemon_leaves_nothing() -> Result<()> {
    let mut stage = stage()?;
    stage.daemon.take().context("no daemon runs")?.kill()?;
    // The kernel takes links down in a work queue.
    support::eventually("the interfaces to be free", || {
        Ok((support::programs(&stage)? == [None, None]).then_some(()))
    })?;
    support::refused(&stage, &["status"], 5)?;
    serves_again(&mut stage)
}

fn stage() -> Result<Stage> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &[WEB, WEB6])?;
    let attached = support::programs(&stage)?;
    ensure!(attached[0].is_some() && attached[0] == attached[1], "attached: {attached:?}");
    support::is_served(&stage)?;
    Ok(stage)
}

fn serves_again(stage: &mut Stage) -> Result<()> {
    stage.start_daemon()?;
    support::is_served(stage)
}
