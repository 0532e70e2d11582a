//! What a drain or a switch leaves: counts that are right, and deadlines that hold.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{LongLived, PoolSizes, ServicePlan, Stage, config, held::Held};
use splitter_userspace::api::{
    client::Client,
    model::{Action, Admin, BackendStatus, ChangeRequest, Deadline, End, Live},
};

use crate::support::{self, WEB};

/// Connections on the drained backend.
const MANY: u64 = 5000;

/// With time enough for thousands to speak in turn.
const PATIENT: ServicePlan = ServicePlan { idle_timeout: Duration::from_secs(10), ..WEB };

/// Seconds from the drain to its deadline: more than it takes to have counted everyone.
const DEADLINE: &str = "20s";

pub fn five_thousand_connections_are_counted() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[PATIENT])?;
    let held = Held::open(&stage.client, PATIENT.target(), "blue1", MANY as usize)?;
    let blue1 = support::endpoint(&stage, &PATIENT, "blue1")?;
    ensure!(support::backend(&stage, &PATIENT, "blue1")?.live.is_none(), "it gets new connections");

    let drained = support::change(&stage, &["drain", "web", &blue1, "--deadline", DEADLINE])?;
    let left = drained.left.context("a drain leaves something")?;
    ensure!(left.what == blue1 && !left.live.complete && left.deadline.is_some(), "{left:?}");
    ensure!(held.speak(&stage.client, "blue1")? == 0, "connections were cut");
    counted(&stage, MANY)?;

    held.close(held.len() / 2)?;
    let half = counted(&stage, MANY / 2)?;
    ensure!(half.decline_per_s > 0.0 && half.oldest_s > 0.0, "{half:?}");

    let complete = support::eventually("all to be counted", || {
        ensure!(held.speak(&stage.client, "blue1")? == 0, "connections were cut");
        Ok(Some(blue1_of(&stage)?).filter(|backend| backend.live.is_some_and(|live| live.complete)))
    })?;
    let slots = support::service(&stage, "web")?.slots;
    ensure!(slots.dirty == 0, "{slots:?} and yet {complete:?}");
    counted(&stage, MANY / 2)?;
    support::eventually("the deadline", || {
        ensure!(held.speak(&stage.client, "blue1")? == 0, "connections were cut");
        Ok(blue1_of(&stage)?.deadline.filter(|deadline| deadline.applied))
    })?;
    event(&stage, &format!("deadline drain web {blue1}: in 20s, then leave"))?;
    let line = event(&stage, &format!("deadline drain web {blue1}: 2"))?;
    let told = line.split(' ').nth(4).and_then(|count| count.parse().ok()).with_context(|| line.clone())?;
    within_a_hundredth(told, MANY / 2)?;
    ensure!(line.ends_with("live connections left alone"), "{line}");
    ensure!(
        held.speak(&stage.client, "blue1")? == 0 && held.len() as u64 == MANY / 2,
        "they were left alone"
    );
    Ok(())
}

pub fn a_switch_leaves_a_pool_and_waits_for_its_deadline() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[WEB])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &[WEB.target()], 40)?;
    let reply = stage.cli.run(&["switch", "web", "green", "--deadline", "4s", "--wait"])?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);
    support::mentions(
        &reply.stdout,
        &[
            "left on blue: 0 live connections seen since the switch; silent ones are counted within ",
            "; left alone in 4s\n",
            "left on blue: 40 live connections, the oldest for ",
            "blue: the deadline has passed, 40 live connections left alone (waited ",
        ],
    )?;
    event(&stage, "deadline switch web green: in 4s, then leave")?;
    event(&stage, "deadline switch web green: 40 live connections left alone")?;
    let pool = support::service(&stage, "web")?.pools.remove(0);
    ensure!(pool.live.is_some_and(|live| live.connections == 40 && live.complete), "{:?}", pool.live);
    let table = stage.cli.run(&["status", "web"])?.stdout;
    support::mentions(&table, &["BEING LEFT", "left alone since the deadline"])?;

    ensure!(long_lived.finish(usize::MAX, |_| true) == 40, "not all were open");
    let reply = stage.cli.run(&["switch", "web", "green", "--wait", "--timeout", "30s"])?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);
    support::mentions(&reply.stdout, &["nothing to change", "blue is drained (waited "])?;
    Ok(())
}

pub fn deadlines_are_replaced_and_dropped() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[WEB])?;
    let blue1 = support::endpoint(&stage, &WEB, "blue1")?;
    let cause = format!("drain web {blue1}");
    support::change(&stage, &["drain", "web", &blue1, "--deadline", "1h", "--then", "reset"])?;
    let pending = blue1_of(&stage)?.deadline.context("a deadline was set")?;
    ensure!(!pending.applied && pending.then == End::Reset && pending.in_s > 3500.0, "{pending:?}");

    support::change(&stage, &["drain", "web", &blue1])?;
    ensure!(blue1_of(&stage)?.deadline.is_none(), "a drain without a deadline replaces one with");
    event(&stage, &format!("deadline {cause} is dropped: {cause}"))?;

    support::change(&stage, &["drain", "web", &blue1, "--deadline", "1h"])?;
    support::change(&stage, &["ready", "web", &blue1])?;
    ensure!(blue1_of(&stage)?.deadline.is_none(), "it gets new connections");
    event(&stage, &format!("deadline {cause} is dropped: new connections come again"))?;

    support::change(&stage, &["switch", "web", "green", "--deadline", "1h"])?;
    ensure!(blue1_of(&stage)?.deadline.is_some(), "blue is left");
    support::change(&stage, &["rollback", "web"])?;
    ensure!(blue1_of(&stage)?.deadline.is_none(), "blue has its connections back");
    event(&stage, "deadline switch web green is dropped: new connections come again")?;

    for (state, after_ms, words) in
        [(Admin::Ready, 60_000, "ready takes no deadline"), (Admin::Drain, 0, "0s")]
    {
        let message = refused(&stage, &blue1, state, after_ms)?;
        support::mentions(&message, &["web", words])?;
    }
    ensure!(blue1_of(&stage)?.admin == Admin::Ready, "what is refused changes nothing");
    Ok(())
}

/// Which of both ends speaks first does not matter: both hear of it.
pub fn a_deadline_resets_what_is_left() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 1, canary: 1 }, &[WEB])?;
    let mut long_lived = LongLived::new();
    long_lived.open(&stage.client, &[WEB.target()], 40)?;
    let left = long_lived.census().alive["blue1"];
    let blue1 = support::endpoint(&stage, &WEB, "blue1")?;
    let reply = stage.cli.run(&["drain", "web", &blue1, "--deadline", "4s", "--then", "reset", "--wait"])?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);
    support::mentions(&reply.stdout, &["; reset in 4s\n", "the deadline has passed, what is left is reset"])?;
    event(&stage, &format!("deadline drain web {blue1}: {left} live connections are reset (gen "))?;
    let status = blue1_of(&stage)?;
    ensure!(status.resetting && status.live == Some(Live::NOTHING), "{status:?}");
    support::eventually("the connections to be reset", || {
        Ok((long_lived.census().cut() == left).then_some(()))
    })
    .with_context(|| format!("{:?} of {left}", long_lived.census().cut))?;
    ensure!(!long_lived.census().alive.contains_key("blue1"), "{:?}", long_lived.census());
    let reply = stage.cli.run(&["wait", "web", "--for", "drained", "--backend", &blue1])?;
    ensure!(reply.code == Some(0), "{}", reply.stderr);

    support::change(&stage, &["ready", "web", &blue1])?;
    let status = blue1_of(&stage)?;
    ensure!(!status.resetting && status.slots > 0 && status.deadline.is_none(), "{status:?}");
    long_lived.open(&stage.client, &[WEB.target()], 40)?;
    let census = long_lived.census();
    ensure!(census.alive.contains_key("blue1") && census.cut() == left, "{census:?}");
    Ok(())
}

/// What the daemon says to a deadline that the command line would not send.
fn refused(stage: &Stage, backend: &str, state: Admin, after_ms: u64) -> Result<String> {
    let api = Client::new(config::socket(stage.scratch.folder()));
    let deadline = Some(Deadline { after_ms, then: End::Leave });
    let action = Action::Admin { backend: backend.parse()?, state, deadline };
    let request = ChangeRequest { service: "web".into(), action, reason: String::new() };
    stage.client.run(async move {
        match api.change(&request).await {
            Ok(change) => Err(anyhow::anyhow!("it was taken: {}", change.line)),
            Err(error) => Ok(error.to_string()),
        }
    })?
}

fn blue1_of(stage: &Stage) -> Result<BackendStatus> {
    support::backend(stage, &WEB, "blue1")
}

/// Waits until blue1's live connections are `wanted`, but for one in a hundred.
fn counted(stage: &Stage, wanted: u64) -> Result<Live> {
    let mut seen = Live::default();
    let reached = support::eventually("the count", || {
        seen = blue1_of(stage)?.live.context("it gets no new connections")?;
        Ok(within_a_hundredth(seen.connections, wanted).is_ok().then_some(seen))
    });
    reached.with_context(|| format!("{seen:?}, and {wanted} are open"))
}

fn within_a_hundredth(count: u64, wanted: u64) -> Result<()> {
    ensure!(count.abs_diff(wanted) * 100 <= wanted, "{count} are counted, and {wanted} are open");
    Ok(())
}

/// Waits for an event whose line begins so; gives back the line.
fn event(stage: &Stage, begin: &str) -> Result<String> {
    let found = support::eventually("the event", || {
        let events = stage.cli.run(&["events", "-o", "json"])?.stdout;
        let lines = events.lines().map(|event| Ok(serde_json::from_str::<serde_json::Value>(event)?));
        let lines: Vec<_> = lines.collect::<Result<_>>()?;
        let lines = lines.iter().filter_map(|event| event["line"].as_str());
        Ok(lines.map(ToOwned::to_owned).find(|line| line.starts_with(begin)))
    });
    found.with_context(|| format!("no event `{begin}`"))
}
