//! Shift upon shift, of every kind, under load and with connections that live through all of them.

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Load, LongLived, Plan, PoolSizes, Runner, ServicePlan, Stage};

use crate::support::{self, WEB, WEB6};

/// Shifts in a row, after which the slots are let go from DIRTY to TRACKED and CLEAN.
const ROUND: usize = 40;
/// Rounds: 200 shifts.
const ROUNDS: usize = 5;
/// Connections that live through all shifts.
const LONG_LIVED: usize = 100;

pub fn two_hundred_shifts_under_load() -> Result<()> {
    let stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &support::web_targets(), LONG_LIVED)?;
    // A thread of its own, so that the long-lived connections' requests do not wait in its queue.
    let runner = Runner::start(&stage.topology.client)?;
    let plan = Plan { targets: support::web_targets(), workers: 16, rate: Some(400.0) };
    let load = Load::start(&runner, plan)?;
    let mut operators = [Operator::new(WEB, 1), Operator::new(WEB6, 2)];
    let mut moved = 0;
    for round in 0..ROUNDS {
        for number in 0..ROUND {
            // New weights end the round, or it might end where it began.
            let last = number + operators.len() >= ROUND;
            moved += u64::from(operators[number % 2].shift(&stage, last)?);
        }
        operators.iter().try_for_each(|operator| operator.has_dirty_slots(&stage))?;
        operators.iter().try_for_each(|operator| operator.let_slots_settle(&stage))?;
        let census = long_lived.census();
        ensure!(census.cut() == 0, "round {round}: {:?}", census.cut);
    }
    let counts = load.stop(&runner)?;
    let census = long_lived.census();
    ensure!(counts.failed() == 0, "of {} requests: {:?}", counts.requests(), counts.failures);
    ensure!(census.cut() == 0 && census.alive() == LONG_LIVED as u64, "{census:?}");
    ensure!(moved > 1_000_000, "all these shifts moved only {moved} slots");
    ensure!(counts.requests() > 1000, "only {} requests", counts.requests());
    drop(long_lived);
    operators.iter().try_for_each(|operator| support::complete(&stage, &operator.plan))
}

/// Somebody who changes one service at random, but only in ways that are allowed.
struct Operator {
    plan: ServicePlan,
    random: u64,
    drained: Option<&'static str>,
}

impl Operator {
    fn new(plan: ServicePlan, seed: u64) -> Self {
        Self { plan, random: seed, drained: None }
    }

    /// A number below `limit` (SplitMix64).
    fn draw(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Makes one change, of any kind or of weights; gives back how many slots it moved.
    fn shift(&mut self, stage: &Stage, weights: bool) -> Result<u32> {
        let words = if weights { self.weights(stage)? } else { self.any(stage)? };
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let change = support::change(stage, &words)?;
        ensure!(change.connections_moved == 0, "{}", change.line);
        Ok(change.slots_moved)
    }

    fn any(&mut self, stage: &Stage) -> Result<Vec<String>> {
        let service = self.plan.name.to_owned();
        Ok(match self.draw(8) {
            0 => vec!["switch".into(), service, "blue".into()],
            1 => vec!["switch".into(), service, "green".into()],
            2 => vec!["rollback".into(), service],
            3 | 4 => {
                let (verb, host) = self.drain_or_ready();
                vec![verb.into(), service, support::endpoint(stage, &self.plan, host)?]
            }
            _ => self.weights(stage)?,
        })
    }

    /// Both candidates get something; what is stable takes the rest.
    fn weights(&mut self, stage: &Stage) -> Result<Vec<String>> {
        let stable = support::service(stage, self.plan.name)?.stable;
        let other = if stable.as_str() == "blue" { "green" } else { "blue" };
        let [canary, other_share] = [self.draw(50), self.draw(50)];
        let cents = [self.draw(100), self.draw(100)];
        Ok(vec![
            "weights".into(),
            self.plan.name.into(),
            format!("canary={canary}.{:02}", cents[0]),
            format!("{other}={other_share}.{:02}", cents[1]),
        ])
    }

    /// At most one backend is drained at a time, so that no pool is ever empty.
    fn drain_or_ready(&mut self) -> (&'static str, &'static str) {
        if let Some(host) = self.drained.take() {
            return ("ready", host);
        }
        let host = ["blue1", "blue2", "green1", "green2"][self.draw(4) as usize];
        self.drained = Some(host);
        ("drain", host)
    }

    fn has_dirty_slots(&self, stage: &Stage) -> Result<()> {
        let slots = support::service(stage, self.plan.name)?.slots;
        ensure!(slots.dirty > 0, "{}: a round left no slot DIRTY: {slots:?}", self.plan.name);
        Ok(())
    }

    /// Until no slot is DIRTY any more. The long-lived connections' own slots stay TRACKED, the others become CLEAN.
    fn let_slots_settle(&self, stage: &Stage) -> Result<()> {
        let settled = support::eventually("the slots to settle", || {
            let slots = support::service(stage, self.plan.name)?.slots;
            Ok((slots.dirty == 0 && slots.tracked <= LONG_LIVED as u32).then_some(()))
        });
        settled.with_context(|| self.plan.name)
    }
}
