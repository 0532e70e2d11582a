//! A transfer over TCP through the attached program, on a connection that lives through every kind of shift.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use splitter_userspace::{
    api::model::{Change, Status},
    config::{ForwardMode, Protocol},
};
use tokio::time::timeout;

use super::finding::Transfer;
use crate::lab::{
    Connection, PoolSizes, ServicePlan, Stage,
    addresses::{VIP4, VIP6},
};

/// Bytes that are sent and come back at a time: more than a window.
const PIECE: usize = 256 << 10;

/// Pieces between two shifts.
const PIECES: u64 = 4;

/// The longest that a piece may take: an emulated machine is slow, a retransmission slower.
const LIMIT: Duration = Duration::from_secs(20);

/// One backend each, so that a connection that is moved meets another server.
const POOLS: PoolSizes = PoolSizes { blue: 1, green: 1, canary: 1 };

const WEB: ServicePlan = ServicePlan {
    name: "web",
    address: IpAddr::V4(VIP4),
    port: 80,
    protocol: Protocol::Tcp,
    idle_timeout: Duration::from_millis(1500),
    health: None,
    mode: ForwardMode::Dnat,
    crossed: false,
};
const WEB6: ServicePlan = ServicePlan { name: "web6", address: IpAddr::V6(VIP6), ..WEB };

/// What an operator does, and who serves all new connections then, if it is one pool.
const SHIFTS: [(&[&str], Option<&str>); 6] = [
    (&["weights", "canary=10"], None),
    (&["weights", "canary=60.5"], None),
    (&["switch", "green"], Some("green1")),
    (&["weights", "blue=50", "canary=25"], None),
    (&["weights", "blue=0", "canary=100"], Some("canary1")),
    (&["rollback"], None),
];

/// Both families, one after the other.
pub fn run() -> Result<Transfer> {
    let stage = Stage::build(POOLS, &[WEB, WEB6])?;
    is_native(&stage)?;
    let begun = Instant::now();
    let mut transfer = Transfer { bytes: 0, shifts: 0, slots_moved: 0, took_ms: 0 };
    for service in [WEB, WEB6] {
        through(&stage, service, &mut transfer).with_context(|| {
            let log = stage.daemon.as_ref().map(crate::lab::DaemonProcess::log).unwrap_or_default();
            format!("{}; splitterd said:\n{log}", service.name)
        })?;
    }
    transfer.took_ms = begun.elapsed().as_millis() as u64;
    Ok(transfer)
}

/// Else the packets would go another way than the one that is to be shown.
fn is_native(stage: &Stage) -> Result<()> {
    let (status, _) = stage.cli.json::<Status>(&["status"])?;
    let other = status.interfaces.iter().find(|interface| interface.mode != "native");
    other.map_or(Ok(()), |it| bail!("{} is attached in {} mode: {}", it.name, it.mode, it.why))
}

/// One service: pieces go to and fro while its split changes.
fn through(stage: &Stage, service: ServicePlan, transfer: &mut Transfer) -> Result<()> {
    let pump = Pump::default();
    thread::scope(|scope| {
        let (target, mut running) = (service.target(), pump.clone());
        let pumping = scope.spawn(move || stage.client.run(async move { running.pump(target).await })?);
        let shifted = SHIFTS.iter().try_for_each(|(words, server)| {
            pump.wait_for_pieces(PIECES)?;
            shift(stage, service, words, transfer)?;
            server.map_or(Ok(()), |server| is_served_by(stage, service, server))
        });
        let shifted = shifted.and_then(|()| pump.wait_for_pieces(PIECES));
        pump.stop.store(true, Ordering::Relaxed);
        // What broke the connection says more than that no piece came.
        pumping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        shifted
    })?;
    transfer.bytes += pump.pieces.load(Ordering::Relaxed) * PIECE as u64;
    Ok(())
}

/// Puts the service's name behind the verb.
fn shift(stage: &Stage, service: ServicePlan, words: &[&str], transfer: &mut Transfer) -> Result<()> {
    let words = [&words[..1], &[service.name], &words[1..]].concat();
    let (change, _) = stage.cli.json::<Change>(&words)?;
    ensure!(change.connections_moved == 0, "{}", change.line);
    transfer.shifts += 1;
    transfer.slots_moved += u64::from(change.slots_moved);
    Ok(())
}

fn is_served_by(stage: &Stage, service: ServicePlan, expected: &str) -> Result<()> {
    let target = service.target();
    let server = stage.client.run(async move {
        timeout(LIMIT, async { Connection::open(target).await?.server().await }).await.context("no answer")?
    })??;
    ensure!(server == expected, "a new connection is served by {server}, not {expected}");
    Ok(())
}

/// A connection that never rests.
#[derive(Clone, Default)]
struct Pump {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    pieces: Arc<AtomicU64>,
}

impl Pump {
    /// Sends piece after piece, each must come back as it was, and from the server that took the connection.
    async fn pump(&mut self, target: SocketAddr) -> Result<()> {
        let outcome = self.pieces(target).await;
        self.ended.store(true, Ordering::Relaxed);
        outcome.with_context(|| format!("after {} pieces", self.pieces.load(Ordering::Relaxed)))
    }

    async fn pieces(&self, target: SocketAddr) -> Result<()> {
        let mut connection = timeout(LIMIT, Connection::open(target)).await.context("no connection")??;
        let server = timeout(LIMIT, connection.server()).await.context("no answer")??;
        for seed in (0..=u8::MAX).cycle() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let sent: Bytes =
                (0..PIECE).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect();
            let back = timeout(LIMIT, connection.echo(sent.clone())).await.context("no answer")??;
            ensure!(back == sent, "a piece came back changed");
            let now = timeout(LIMIT, connection.server()).await.context("no answer")??;
            ensure!(now == server, "moved from {server} to {now}");
            self.pieces.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Until as many more have come back.
    fn wait_for_pieces(&self, more: u64) -> Result<()> {
        let wanted = self.pieces.load(Ordering::Relaxed) + more;
        let begun = Instant::now();
        while self.pieces.load(Ordering::Relaxed) < wanted {
            ensure!(!self.ended.load(Ordering::Relaxed), "the connection is gone");
            ensure!(begun.elapsed() < LIMIT, "no {more} pieces in {LIMIT:?}");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}
