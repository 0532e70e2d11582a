//! Answers come from the right pool and under the service's address; bytes arrive as they were sent.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use splitter_tests::lab::{Connection, Counters, PoolSizes, ServicePlan, Stage};

use crate::support::{self, DNS, DNS6, WEB, WEB6};

/// Every case of an odd end, and up to what fits a frame with the server's name in front.
const SIZES: [usize; 10] = [0, 1, 2, 3, 4, 63, 64, 65, 999, 1400];
/// Bytes that go each way.
const BULK: usize = 50_000_000;

pub fn both_protocols_and_families() -> Result<()> {
    let plans = [WEB, WEB6, DNS, DNS6];
    let stage = Stage::build(PoolSizes::default(), &plans)?;
    answers_come_from("blue", &stage, &plans)?;
    for plan in plans {
        support::change(&stage, &["switch", plan.name, "green"])?;
    }
    // Until then datagrams of unknown flows may still go to blue.
    plans.iter().try_for_each(|plan| support::complete(&stage, plan))?;
    answers_come_from("green", &stage, &plans)?;
    no_checksum_errors(&stage)
}

fn answers_come_from(pool: &str, stage: &Stage, plans: &[ServicePlan]) -> Result<()> {
    let both = [format!("{pool}1"), format!("{pool}2")];
    for plan in plans {
        let servers = if plan.port == DNS.port { by_udp(stage, plan) } else { by_tcp(stage, plan) };
        let servers = servers.with_context(|| format!("{} on {pool}", plan.name))?;
        ensure!(servers.iter().eq(&both), "{} on {pool} was answered by {servers:?}", plan.name);
    }
    Ok(())
}

pub fn bulk_arrives_whole() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &[WEB, WEB6])?;
    // No two bytes at a distance of a segment, or of a whole number of words, are the same for long.
    let sent: Bytes =
        (0..BULK as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    for plan in [WEB, WEB6] {
        let content = sent.clone();
        let echo = async move { Connection::open(plan.target()).await?.echo(content).await };
        let back = stage.client.run(echo)?.with_context(|| format!("{} echoes", plan.name))?;
        ensure!(back.len() == sent.len(), "{}: {} bytes came back", plan.name, back.len());
        ensure!(back == sent, "{}: other bytes came back", plan.name);
    }
    no_checksum_errors(&stage)
}

/// In the DIRTY phase a flow that was there before the switch stays; what comes later follows the table.
pub fn a_chatty_udp_flow_stays() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 1, canary: 0 }, &[DNS, DNS6])?;
    for plan in [DNS, DNS6] {
        let chatty = stage.topology.client.run(|| socket(plan.target()))??;
        let ask = || ask(&chatty, plan.target(), b"still there?");
        ensure!(ask()? == "blue1", "{}: the flow does not begin with blue", plan.name);
        support::change(&stage, &["switch", plan.name, "green"])?;
        support::eventually("the slots to be TRACKED", || {
            let server = ask()?;
            ensure!(server == "blue1", "{}: the flow moved to {server}", plan.name);
            Ok((support::service(&stage, plan.name)?.slots.dirty == 0).then_some(()))
        })?;
        ensure!(ask()? == "blue1", "{}: the flow moved", plan.name);
        let fresh = stage.topology.client.run(|| socket(plan.target()))??;
        let server = self::ask(&fresh, plan.target(), b"who is new?")?;
        ensure!(server == "green1", "{}: a new flow went to {server}", plan.name);
        support::complete(&stage, &plan)?;
        ensure!(ask()? == "green1", "{}: silent for long, the flow still went to blue", plan.name);
    }
    Ok(())
}

/// Servers that answered 60 connections. That the kernel takes the answers shows that they bear the service's address.
fn by_tcp(stage: &Stage, plan: &ServicePlan) -> Result<BTreeSet<String>> {
    let target = plan.target();
    stage.client.run(async move {
        let mut servers = BTreeSet::new();
        for _ in 0..60 {
            servers.insert(Connection::open(target).await?.server().await?);
        }
        Ok(servers)
    })?
}

/// Servers that answered 60 sockets.
fn by_udp(stage: &Stage, plan: &ServicePlan) -> Result<BTreeSet<String>> {
    stage.topology.client.run(|| {
        (0..60)
            .map(|number| {
                let payload: Vec<u8> =
                    (0..SIZES[number % SIZES.len()]).map(|at| (at * 7 + number) as u8).collect();
                ask(&socket(plan.target())?, plan.target(), &payload)
            })
            .collect()
    })?
}

/// Unconnected: it takes datagrams from anywhere.
pub fn socket(target: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// Sends one datagram, and checks the answer; gives back the server's name.
pub fn ask(socket: &UdpSocket, target: SocketAddr, payload: &[u8]) -> Result<String> {
    socket.send_to(payload, target)?;
    let mut buffer = [0; 2000];
    let (size, sender) = socket.recv_from(&mut buffer).context("no answer")?;
    ensure!(sender == target, "the answer came from {sender}, not from {target}");
    let space = buffer[..size].iter().position(|byte| *byte == b' ').context("an answer without a name")?;
    let (name, echo) = (&buffer[..space], &buffer[space + 1..size]);
    ensure!(echo == payload, "{} bytes were sent, {} other ones came back", payload.len(), echo.len());
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn no_checksum_errors(stage: &Stage) -> Result<()> {
    let backends = stage.topology.backends().map(|(host, namespace)| (host.name.as_str(), namespace));
    for (name, namespace) in backends.chain([("client", &stage.topology.client)]) {
        let errors = Counters::read(namespace)?.checksum_errors();
        ensure!(errors == 0, "{name} threw {errors} packets away for a wrong checksum");
    }
    Ok(())
}
