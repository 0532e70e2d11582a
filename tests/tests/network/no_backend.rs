//! A service whose pool has no healthy backend: `reject` says so at once, `drop` stays silent.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Result, bail, ensure};
use splitter_tests::lab::{Connection, Counters, PoolSizes, ServicePlan, Stage};
use splitter_userspace::api::model::Health;
use tokio::{net::TcpStream, time::timeout};

use crate::support::{self, WEB, WEB6};

const HEALTH: Option<Duration> = Some(Duration::from_millis(100));
const CHECKED: ServicePlan = ServicePlan { health: HEALTH, ..WEB };
const CHECKED6: ServicePlan = ServicePlan { health: HEALTH, ..WEB6 };
/// How long silence is listened to: time enough for a second SYN.
const SILENCE: Duration = Duration::from_millis(1500);

pub fn rejects_or_drops() -> Result<()> {
    let mut stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &[CHECKED, CHECKED6])?;
    stage.topology.take_returns(&stage.scratch.bpf())?;
    support::reconfigure(&mut stage, |text| text.replacen("stable =", "no_backend = \"drop\"\nstable =", 1))?;
    for plan in [CHECKED, CHECKED6] {
        support::wait_for_health(&stage, &plan, Health::Up)?;
        is_served(&stage, &plan)?;
    }
    ensure!(stage.servers.stop("blue1"), "blue1 has no servers");
    is_dropped(&stage, &CHECKED)?;
    is_rejected(&stage, &CHECKED6)?;
    let swap = |text: &str| {
        let both = text.replace("stable =", "no_backend = \"drop\"\nstable =");
        both.replacen("no_backend = \"drop\"\nno_backend = \"drop\"", "no_backend = \"reject\"", 1)
    };
    support::reconfigure(&mut stage, swap)?;
    is_rejected(&stage, &CHECKED)?;
    is_dropped(&stage, &CHECKED6)?;
    stage.servers.start_one(&stage.topology, "blue1")?;
    for plan in [CHECKED, CHECKED6] {
        support::wait_for_health(&stage, &plan, Health::Up)?;
        is_served(&stage, &plan)?;
    }
    Ok(())
}

fn is_served(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    let target = plan.target();
    let server = stage.client.run(async move { Connection::open(target).await?.server().await })??;
    ensure!(server == "blue1", "{}: {server} answers", plan.name);
    Ok(())
}

/// The reset answers the very first SYN: nothing is sent again.
fn is_rejected(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    support::wait_for_health(stage, plan, Health::Down)?;
    let sent_again = || Counters::read(&stage.topology.client)?.get("TcpRetransSegs");
    let (before, rejected) = (sent_again()?, support::reason(stage, plan, "no_backend_rejected")?);
    match connect(stage, plan)? {
        Some(Err(cause)) if cause.kind() == ErrorKind::ConnectionRefused => {}
        other => bail!("{}: not refused: {other:?}", plan.name),
    }
    ensure!(sent_again()? == before, "{}: the first SYN had no answer", plan.name);
    ensure!(
        support::reason(stage, plan, "no_backend_rejected")? == rejected + 1,
        "{}: not counted",
        plan.name
    );
    Ok(())
}

fn is_dropped(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    support::wait_for_health(stage, plan, Health::Down)?;
    if let Some(outcome) = connect(stage, plan)? {
        bail!("{}: answered: {outcome:?}", plan.name);
    }
    let dropped = support::reason(stage, plan, "no_backend_dropped")?;
    ensure!(dropped >= 1, "{}: not counted", plan.name);
    Ok(())
}

/// `None`: nothing came back.
fn connect(stage: &Stage, plan: &ServicePlan) -> Result<Option<std::io::Result<TcpStream>>> {
    let target = plan.target();
    stage.client.run(async move { timeout(SILENCE, TcpStream::connect(target)).await.ok() })
}
