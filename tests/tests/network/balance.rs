//! Shares: what was wanted, what was programmed, what the servers saw and what `status` says agree.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use splitter_tests::lab::{
    Counters, Counts, Load, Plan, PoolSizes, ServicePlan, Stage, binomial::is_plausible,
};
use splitter_userspace::{api::model::PoolStatus, config::PoolName};

use crate::support::{self, WEB, WEB6};

/// Connections for every share, at least.
const CONNECTIONS: u64 = 4000;
/// Probability that a share which is right is taken for wrong.
const DOUBT: f64 = 1e-4;

type ByServer = BTreeMap<String, u64>;
type ByPool = BTreeMap<PoolName, u64>;

pub fn shares_over_thousands_of_connections() -> Result<()> {
    let stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    for percent in [5, 25] {
        for plan in [WEB, WEB6] {
            let change = support::change(&stage, &["weights", plan.name, &format!("canary={percent}")])?;
            let (programmed, wanted) = (change.programmed[&PoolName::Canary], f64::from(percent) / 100.0);
            ensure!((programmed - wanted).abs() < 1e-4, "{programmed} programmed for {percent} %");
        }
        let before = [support::connections(&stage, &WEB)?, support::connections(&stage, &WEB6)?];
        let retransmitted = retransmitted(&stage)?;
        let counts = load(&stage)?;
        let retransmitted = self::retransmitted(&stage)? - retransmitted;
        let begun = [begun(&stage, &WEB, &before[0])?, begun(&stage, &WEB6, &before[1])?];
        clients_and_data_plane_agree(&counts, &begun, retransmitted)?;
        shares_are_right(&stage, &WEB, &by_pool(&begun[0])?)?;
        shares_are_right(&stage, &WEB6, &by_pool(&begun[1])?)?;
    }
    Ok(())
}

fn load(stage: &Stage) -> Result<Counts> {
    let plan = Plan { targets: support::web_targets(), workers: 16, rate: None };
    let load = Load::start(&stage.client, plan)?;
    let all = load.mark();
    support::let_load_run(&load, all, CONNECTIONS)?;
    let counts = load.stop(&stage.client)?;
    ensure!(counts.failed() == 0, "{:?}", counts.failures);
    Ok(counts)
}

/// The client's retransmissions: a SYN that is sent again is counted again.
fn retransmitted(stage: &Stage) -> Result<u64> {
    Counters::read(&stage.topology.client)?.get("TcpRetransSegs")
}

fn begun(stage: &Stage, plan: &ServicePlan, before: &ByServer) -> Result<ByServer> {
    let now = support::connections(stage, plan)?;
    Ok(now.into_iter().map(|(server, count)| (server.clone(), count - before[&server])).collect())
}

/// Server by server, the data plane has counted what the clients saw.
fn clients_and_data_plane_agree(counts: &Counts, begun: &[ByServer; 2], retransmitted: u64) -> Result<()> {
    for server in begun[0].keys() {
        let seen = counts.answers.get(server).copied().unwrap_or(0);
        let counted = begun[0][server] + begun[1][server];
        ensure!(
            (seen..=seen + retransmitted).contains(&counted),
            "{server} answered {seen} connections and {counted} were counted ({retransmitted} retransmissions)"
        );
    }
    Ok(())
}

fn by_pool(begun: &ByServer) -> Result<ByPool> {
    let mut pools = ByPool::new();
    for (server, count) in begun {
        *pools.entry(support::pool_of(server)?).or_default() += count;
    }
    Ok(pools)
}

fn shares_are_right(stage: &Stage, plan: &ServicePlan, begun: &ByPool) -> Result<()> {
    let all: u64 = begun.values().sum();
    for pool in support::service(stage, plan.name)?.pools {
        let own = begun[&pool.name];
        let name = format!("{} {}: {own} of {all} connections", plan.name, pool.name);
        ensure!(is_plausible(own, all, pool.programmed, DOUBT), "{name} at {} programmed", pool.programmed);
        measured_is_right(&pool, own, all, &name)?;
    }
    Ok(())
}

/// The window of ten seconds may have left the first of the connections behind; otherwise the numbers are the same.
fn measured_is_right(pool: &PoolStatus, own: u64, all: u64, name: &str) -> Result<()> {
    let Some(measured) = pool.measured else { anyhow::bail!("{name}, none of which was measured") };
    let share = own as f64 / all as f64;
    let count = (measured.share * measured.connections as f64).round() as u64;
    let fits = if measured.connections == all {
        count == own
    } else {
        measured.connections < all && is_plausible(count, measured.connections, share, DOUBT)
    };
    ensure!(fits, "{name}, and {} of {} measured", measured.share, measured.connections);
    ensure!(measured.low <= measured.share && measured.share <= measured.high, "{name}: {measured:?}");
    Ok(())
}
