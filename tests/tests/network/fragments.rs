//! Datagrams in several fragments.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use splitter_tests::lab::{PoolSizes, Stage, Wire, addresses::CLIENT};

use crate::{
    frames,
    support::{self, DNS, DNS6},
};

/// Bytes of a datagram, and of a fragment of it.
const SIZE: usize = 4000;
const PIECE: usize = 1400;
/// The client's port of the fragments that are made by hand.
const PORT: u16 = 40_000;

/// Both ways: the answer is as long as the question.
pub fn large_datagrams_are_answered() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 2, green: 0, canary: 0 }, &[DNS, DNS6])?;
    for plan in [DNS, DNS6] {
        stage.topology.client.run(|| {
            (0..40_u8).try_for_each(|number| {
                let socket = socket(plan.target(), 0)?;
                let payload = payload(number);
                socket.send_to(&payload, plan.target())?;
                is_answer(&socket, plan.target(), &payload)
            })
        })??;
        ensure!(support::reason(&stage, &plan, "fragment_without_first")? == 0, "{}", plan.name);
    }
    Ok(())
}

/// Only the first one says where all go: the others may come in any order behind it, and not before.
pub fn the_first_fragment_leads() -> Result<()> {
    let stage = Stage::build(PoolSizes { blue: 1, green: 0, canary: 0 }, &[DNS, DNS6])?;
    let wire = Wire::open(&stage.topology.client, "eth0")?;
    for plan in [DNS, DNS6] {
        let socket = stage.topology.client.run(|| socket(plan.target(), PORT))??;
        let send = |id: u16, order: [usize; 3]| {
            let payload = payload(id as u8);
            let pieces = frames::fragments(&frames::datagram(&plan, PORT, &payload)?, PIECE, id);
            ensure!(pieces.len() == order.len(), "{} pieces", pieces.len());
            order.iter().try_for_each(|at| wire.send(&pieces[*at]))?;
            Ok(payload)
        };
        for (id, order) in [(1, [0, 1, 2]), (2, [0, 2, 1])] {
            let payload = send(id, order)?;
            is_answer(&socket, plan.target(), &payload)
                .with_context(|| format!("{}: {order:?}", plan.name))?;
        }
        let dropped = || support::reason(&stage, &plan, "fragment_without_first");
        ensure!(dropped()? == 0, "{}: fragments were dropped", plan.name);
        send(3, [1, 0, 2])?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        match socket.recv(&mut [0; 2 * SIZE]) {
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
            other => bail!("{}: an answer without the fragment that was dropped: {other:?}", plan.name),
        }
        ensure!(dropped()? == 1, "{}: {} were dropped", plan.name, dropped()?);
    }
    Ok(())
}

fn payload(number: u8) -> Vec<u8> {
    (0..SIZE).map(|at| (at / 8) as u8 ^ number).collect()
}

fn socket(target: SocketAddr, port: u16) -> Result<UdpSocket> {
    let own: IpAddr = if target.is_ipv4() { CLIENT.ipv4.into() } else { CLIENT.ipv6.into() };
    let socket = UdpSocket::bind((own, port))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

fn is_answer(socket: &UdpSocket, target: SocketAddr, payload: &[u8]) -> Result<()> {
    let mut buffer = [0; 2 * SIZE];
    let (size, sender) = socket.recv_from(&mut buffer).with_context(|| format!("{target}: no answer"))?;
    ensure!(sender == target, "the answer came from {sender}, not from {target}");
    ensure!(buffer[..size].ends_with(payload), "{target}: other bytes came back, {size} of them");
    Ok(())
}
