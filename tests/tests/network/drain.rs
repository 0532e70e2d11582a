//! A drained backend gets nothing new, keeps what it has, and is drained when the last of it has gone.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Load, LongLived, Plan, PoolSizes, Stage, addresses::CLIENT};
use splitter_userspace::api::model::{Admin, Place};

use crate::support::{self, WEB};

/// Client ports whose places stand for the whole table.
const PORTS: Range<u16> = 20_000..20_200;

pub fn a_drained_backend_empties() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[WEB])?;
    let before = places(&stage)?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &[WEB.target()], 40)?;
    let held = long_lived.census().alive["blue1"];
    let blue1 = support::endpoint(&stage, &WEB, "blue1")?;

    support::change(&stage, &["drain", "web", &blue1])?;
    let wait = ["wait", "web", "--for", "drained", "--backend", &blue1, "--timeout"];
    support::refused(&stage, &[&wait[..], &["2s"]].concat(), 3).context("blue1 still has connections")?;
    nothing_new(&stage)?;
    exceptions_are(&stage, held)?;
    support::eventually("the slots to be TRACKED", || {
        Ok((support::service(&stage, "web")?.slots.dirty == 0).then_some(()))
    })?;
    exceptions_are(&stage, held)?;
    support::refused(&stage, &[&wait[..], &["1s"]].concat(), 3).context("blue1 still has connections")?;

    ensure!(long_lived.finish(usize::MAX, |server| server == "blue1") as u64 == held, "not all were open");
    let reply = stage.cli.run(&[&wait[..], &["30s"]].concat())?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);
    exceptions_are(&stage, 0)?;
    let census = long_lived.census();
    ensure!(census.cut() == 0 && census.finished == held && census.alive() == 40 - held, "{census:?}");
    let status = support::backend(&stage, &WEB, "blue1")?;
    ensure!(status.admin == Admin::Drain && status.slots == 0, "{status:?}");

    support::change(&stage, &["ready", "web", &blue1])?;
    ensure!(places(&stage)? == before, "the table is not what it was before");
    ensure!(long_lived.census().cut() == 0, "{:?}", long_lived.census());
    Ok(())
}

/// A rollback within the DIRTY phase leaves no slot DIRTY; the young pool's connections are exceptions at once.
pub fn an_early_rollback_hides_no_connection() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 1 }, &[WEB])?;
    support::change(&stage, &["weights", "web", "canary=100"])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &[WEB.target()], 20)?;
    support::change(&stage, &["rollback", "web"])?;
    let canary = support::backend(&stage, &WEB, "canary1")?;
    ensure!((canary.slots, canary.exceptions) == (0, 20), "{canary:?}");
    let address = support::endpoint(&stage, &WEB, "canary1")?;
    let wait = ["wait", "web", "--for", "drained", "--backend", &address, "--timeout"];
    support::refused(&stage, &[&wait[..], &["1s"]].concat(), 3).context("canary1 still has connections")?;
    ensure!(long_lived.finish(usize::MAX, |_| true) == 20, "not all were open");
    let reply = stage.cli.run(&[&wait[..], &["30s"]].concat())?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);
    ensure!(long_lived.census().cut() == 0, "{:?}", long_lived.census());
    Ok(())
}

pub fn the_last_backend_is_not_drained() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[WEB])?;
    support::change(&stage, &["weights", "web", "canary=5"])?;
    let [blue1, blue2] =
        [support::endpoint(&stage, &WEB, "blue1")?, support::endpoint(&stage, &WEB, "blue2")?];
    let [canary, green] =
        [support::endpoint(&stage, &WEB, "canary1")?, support::endpoint(&stage, &WEB, "green1")?];
    for verb in ["drain", "maint"] {
        let message = support::refused(&stage, &[verb, "web", &canary], 4)?;
        support::mentions(&message, &["web", &canary, "canary", "5%", "splitter weights web canary=0"])?;
    }
    support::change(&stage, &["drain", "web", &blue2])?;
    let generation = support::service(&stage, "web")?.generation;
    support::refused(&stage, &["drain", "web", &blue1], 4)?;
    let status = support::service(&stage, "web")?;
    ensure!(status.generation == generation, "the refused drain made generation {}", status.generation);
    ensure!(support::backend(&stage, &WEB, "blue1")?.admin == Admin::Ready, "blue1 is not ready");
    support::change(&stage, &["drain", "web", &green]).context("green has no weight")?;
    Ok(())
}

fn places(stage: &Stage) -> Result<BTreeMap<u16, Place>> {
    support::places(stage, &WEB, CLIENT.ipv4.into(), PORTS)
}

fn nothing_new(stage: &Stage) -> Result<()> {
    let plan = Plan { targets: vec![WEB.target()], workers: 8, rate: None };
    let load = Load::start(&stage.client, plan)?;
    let phase = load.mark();
    support::let_load_run(&load, phase, 500)?;
    let counts = load.stop(&stage.client)?;
    ensure!(counts.failed() == 0 && counts.answers.keys().eq(["blue2"]), "{counts:?}");
    Ok(())
}

/// Every connection is an exception once it has sent a packet and the tables have been looked at.
fn exceptions_are(stage: &Stage, wanted: u64) -> Result<()> {
    let mut seen = 0;
    let reached = support::eventually("the exceptions", || {
        seen = support::backend(stage, &WEB, "blue1")?.exceptions;
        ensure!(seen <= wanted.max(40), "{seen} exceptions of 40 connections");
        Ok((seen == wanted).then_some(()))
    });
    reached.with_context(|| format!("{seen} exceptions, not {wanted}"))
}
