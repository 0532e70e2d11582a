//! Mode `snat` gives every port back, whatever becomes of its connection.

use std::{
    net::Ipv4Addr,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use splitter_common::abi::Translation;
use splitter_tests::{
    golden::{Scenario, Setting, folder},
    test_run::{cpus, stay_on, test_run},
};
use splitter_userspace::dataplane::{DataPlane, Sizes};

/// Connections in all.
const CONNECTIONS: u32 = 1_000_000;
/// Between two looks for silent ones.
const ROUND: u32 = 100_000;
/// Ports of all CPUs: far fewer than connections, and each rests a second after its use.
const PORTS: std::ops::RangeInclusive<u16> = 2000..=65_000;
/// Connections that are open at once on a CPU.
const BATCH: u32 = 5000;

/// Where an Ethernet frame with a bare IPv4 header has source and destination address, and both ports.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const SOURCE_PORT: usize = 34;
const FLAGS: usize = 47;
const SYN: u8 = 0x02;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

/// A connection: the client's last frame in, and what it came out as.
struct Open {
    number: u32,
    client: Vec<u8>,
    forwarded: Vec<u8>,
}

/// A million connections that begin on one CPU and end on another: by FIN in both orders, by a reset, or not at all. Then
/// all ports are free.
pub fn a_million_connections_leave_no_port_taken() -> Result<()> {
    let scenario = Scenario::load(&folder().join("snat-syn.toml"))?;
    let setting = Setting::of(&scenario)?;
    let mut data_plane = DataPlane::load(&Sizes { ports: 65_536, ..Sizes::SMALL })?;
    data_plane.commit(setting.image.clone(), 1)?;
    let ports: Vec<u16> = PORTS.collect();
    data_plane.share_ports(&ports)?;
    let first = scenario.packets().next().context("no packet")?.frame_in()?;
    let cpus: Vec<_> = cpus()?.take(4).collect();
    for round in 0..CONNECTIONS / ROUND {
        let numbers = round * ROUND..(round + 1) * ROUND;
        run_round(&data_plane, &first, &cpus, numbers)?;
        let silent: Vec<_> = data_plane.translations()?.into_iter().filter(is_open).collect();
        // Every fiftieth connection was left to this.
        ensure!(silent.len() as u32 == ROUND / 50, "{} connections are open", silent.len());
        for (port, _) in &silent {
            ensure!(data_plane.release(*port, Duration::ZERO)?, "port {port} is not released");
        }
        let free = data_plane.free_ports()?;
        ensure!(free == ports.len() as u64, "after round {round}, {free} of {} ports are free", ports.len());
    }
    let open = data_plane.translations()?.into_iter().find(is_open);
    ensure!(open.is_none(), "{open:?} is free and open");
    Ok(())
}

fn is_open((_, translation): &(u16, Translation)) -> bool {
    Translation::open(translation.state)
}

/// Each CPU opens its part of the connections, and closes its neighbour's.
fn run_round(
    data_plane: &DataPlane,
    first: &[u8],
    cpus: &[usize],
    numbers: std::ops::Range<u32>,
) -> Result<()> {
    let parts = cpus.len();
    let (senders, receivers): (Vec<_>, Vec<_>) = cpus.iter().map(|_| mpsc::channel()).unzip();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (at, receiver) in receivers.into_iter().enumerate() {
            let (cpu, next) = (cpus[at], senders[(at + 1) % parts].clone());
            let own = numbers.clone().skip(at).step_by(parts);
            workers.push(scope.spawn(move || work(data_plane, first, cpu, own, &next, &receiver)));
        }
        // Else nobody would see that a worker has ended.
        drop(senders);
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}

fn work(
    data_plane: &DataPlane,
    first: &[u8],
    cpu: usize,
    numbers: impl Iterator<Item = u32>,
    next: &Sender<Vec<Open>>,
    receiver: &Receiver<Vec<Open>>,
) -> Result<()> {
    stay_on(cpu)?;
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let batch = numbers.by_ref().take(BATCH as usize);
        let opened = batch.map(|number| open(data_plane, first, number)).collect::<Result<Vec<_>>>()?;
        next.send(opened).ok().context("the other CPU has failed")?;
        let others = receiver.recv().context("the other CPU has failed")?;
        others.iter().try_for_each(|connection| end(data_plane, connection))?;
    }
    Ok(())
}

/// A client's SYN, again and again until a port has rested.
fn open(data_plane: &DataPlane, first: &[u8], number: u32) -> Result<Open> {
    let mut client = first.to_vec();
    let address = Ipv4Addr::from_bits(0xc613_0000 | (number / 50_000));
    client[SOURCE..SOURCE + 4].copy_from_slice(&address.octets());
    client[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&(10_000 + (number % 50_000) as u16).to_be_bytes());
    client[FLAGS] = SYN;
    for _ in 0..20_000 {
        let forwarded = send(data_plane, &client)?;
        // Without a port it is refused.
        if forwarded[DESTINATION..DESTINATION + 4] != address.octets() {
            return Ok(Open { number, client, forwarded });
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("connection {number} gets no port")
}

/// Ninety-seven of a hundred by FIN both ways, one more after a reset of the backend's, two not at all.
fn end(data_plane: &DataPlane, connection: &Open) -> Result<()> {
    let (client, backend) = (&connection.client, turned(&connection.forwarded));
    let [fin, other_fin] = [client, &backend].map(|frame| with(frame, FIN_ACK));
    match connection.number % 100 {
        0 | 50 => return Ok(()),
        1 => drop(send(data_plane, &with(&backend, RST))?),
        _ => {}
    }
    let frames = if connection.number.is_multiple_of(2) { [fin, other_fin] } else { [other_fin, fin] };
    for frame in frames {
        let out = send(data_plane, &frame)?;
        ensure!(out[FLAGS] == FIN_ACK, "connection {}: a FIN is answered", connection.number);
    }
    Ok(())
}

fn with(frame: &[u8], flags: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[FLAGS] = flags;
    frame
}

/// The other way: what the backend sends.
fn turned(frame: &[u8]) -> Vec<u8> {
    let mut turned = frame.to_vec();
    turned[SOURCE..DESTINATION].copy_from_slice(&frame[DESTINATION..SOURCE_PORT]);
    turned[DESTINATION..SOURCE_PORT].copy_from_slice(&frame[SOURCE..DESTINATION]);
    turned[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&frame[SOURCE_PORT + 2..SOURCE_PORT + 4]);
    turned[SOURCE_PORT + 2..SOURCE_PORT + 4].copy_from_slice(&frame[SOURCE_PORT..SOURCE_PORT + 2]);
    turned
}

fn send(data_plane: &DataPlane, frame: &[u8]) -> Result<Vec<u8>> {
    Ok(test_run(data_plane.program()?, frame, 128)?.1)
}
