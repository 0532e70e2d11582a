//! Mode `snat`: backends that have no route to clients, ports that come back, and none left.

use std::io::ErrorKind;

use anyhow::{Context, Result, bail, ensure};
use splitter_tests::lab::{
    Connection, Load, Plan, PoolSizes, ServicePlan, Stage, Topology, addresses::LB_BACK,
};
use splitter_userspace::config::ForwardMode;
use tokio::net::TcpStream;

use crate::support::{self, WEB, WEB6};

const TRANSLATED: ServicePlan = ServicePlan { mode: ForwardMode::Snat, ..WEB };
const TRANSLATED6: ServicePlan = ServicePlan { mode: ForwardMode::Snat, ..WEB6 };
const BOTH: [ServicePlan; 2] = [TRANSLATED, TRANSLATED6];
/// Short connections, with far fewer ports.
const REQUESTS: u64 = 4000;

pub fn backends_know_only_the_balancer() -> Result<()> {
    let stage = stage("snat_ports = \"20000-20999\"")?;
    for (plan, own) in BOTH.iter().zip([LB_BACK.ipv4.to_string(), LB_BACK.ipv6.to_string()]) {
        let target = plan.target();
        let seen = stage.client.run(async move {
            let mut connection = Connection::open(target).await?;
            connection.get("/peer").await
        })?;
        let seen = seen.with_context(|| plan.name)?;
        ensure!(seen == own, "{}: the server sees {seen:?}, not {own}", plan.name);
    }
    Ok(())
}

/// A port is taken again one second after its connection has closed.
pub fn ports_are_used_again() -> Result<()> {
    let stage = stage("snat_ports = \"20000-20999\"")?;
    let plan = Plan { targets: support::targets(&BOTH), workers: 4, rate: Some(300.0) };
    let load = Load::start(&stage.client, plan)?;
    let phase = load.mark();
    support::let_load_run(&load, phase, REQUESTS)?;
    let counts = load.stop(&stage.client)?;
    ensure!(counts.failed() == 0, "{:?}", counts.failures);
    for plan in BOTH {
        ensure!(support::reason(&stage, &plan, "snat_no_port")? == 0, "{}: ports were lacking", plan.name);
    }
    Ok(())
}

/// One port after the other is held, until a connection is refused; when all are closed, there are ports again.
pub fn without_a_port_it_is_refused() -> Result<()> {
    let stage = stage("snat_ports = \"20000-20015\"")?;
    for plan in BOTH {
        support::eventually("a port", || again(&stage, &plan, 1))?;
        let target = plan.target();
        let (held, refusal) = stage.client.run(async move {
            let mut held = Vec::new();
            loop {
                match TcpStream::connect(target).await {
                    Ok(stream) => held.push(stream),
                    Err(cause) => return (held, cause),
                }
                if held.len() > 16 {
                    return (held, ErrorKind::Other.into());
                }
            }
        })?;
        ensure!(
            refusal.kind() == ErrorKind::ConnectionRefused,
            "{}: {refusal} after {}",
            plan.name,
            held.len()
        );
        ensure!(!held.is_empty(), "{}: no port at all", plan.name);
        ensure!(support::reason(&stage, &plan, "snat_no_port")? >= 1, "{}: not counted", plan.name);
        // CPUs have ports of their own: there may be fewer where the next ones come in.
        let count = held.len().div_ceil(2);
        stage.client.run(async move { drop(held) })?;
        support::eventually("the ports to come back", || again(&stage, &plan, count))?;
    }
    Ok(())
}

/// Whether that many connections can be had.
fn again(stage: &Stage, plan: &ServicePlan, count: usize) -> Result<Option<()>> {
    let target = plan.target();
    stage.client.run(async move {
        let mut held = Vec::new();
        for _ in 0..count {
            match TcpStream::connect(target).await {
                Ok(stream) => held.push(stream),
                Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => return Ok(None),
                Err(cause) => bail!("{cause}"),
            }
        }
        Ok(Some(()))
    })?
}

/// With backends that have no way but to their own link.
fn stage(daemon: &str) -> Result<Stage> {
    let sizes = PoolSizes { blue: 2, green: 0, canary: 0 };
    let (stage, ()) = Stage::prepared(sizes, &BOTH, |topology, scratch, text| {
        forget_gateways(topology)?;
        topology.take_returns(&scratch.bpf())?;
        *text = text.replacen("[daemon]\n", &format!("[daemon]\n{daemon}\n"), 1);
        Ok(())
    })?;
    Ok(stage)
}

fn forget_gateways(topology: &Topology) -> Result<()> {
    let lines = ["route delete default".to_owned(), format!("route delete default via {}", LB_BACK.ipv6)];
    topology.backends().try_for_each(|(_, backend)| backend.ip(&lines))
}
