//! What hosts ask of an address: whether it is there, and whether anybody listens.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::FromRawFd,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use splitter_tests::lab::{PoolSizes, ServicePlan, Stage};
use splitter_userspace::{api::model::Health, config::Protocol};

use crate::support::{self, WEB, WEB6};

const EITHER: ServicePlan =
    ServicePlan { protocol: Protocol::Both, health: Some(Duration::from_millis(100)), ..WEB };
const EITHER6: ServicePlan = ServicePlan { address: WEB6.address, name: WEB6.name, ..EITHER };
/// Datagrams longer than this are nobody's habit.
const SIZES: [usize; 4] = [0, 1, 56, 1400];
const LIMIT: Duration = Duration::from_secs(5);

/// The client's kernel checks checksum and identifier before it gives an answer to the socket.
pub fn the_address_answers_ping() -> Result<()> {
    let stage = stage()?;
    stage.topology.client.set_sysctls(&[("ipv4/ping_group_range", "0 0")])?;
    for plan in [EITHER, EITHER6] {
        stage.topology.client.run(|| SIZES.iter().try_for_each(|size| ping(plan.address, *size)))??;
        let count = support::reason(&stage, &plan, "icmp_echo")?;
        ensure!(count == SIZES.len() as u64, "{}: {count} are counted", plan.name);
    }
    Ok(())
}

/// The very first datagram is answered: the error comes with the next call.
pub fn datagrams_without_a_backend_are_refused() -> Result<()> {
    let mut stage = stage()?;
    ensure!(stage.servers.stop("blue1"), "blue1 has no servers");
    for plan in [EITHER, EITHER6] {
        support::wait_for_health(&stage, &plan, Health::Down)?;
        stage.topology.client.run(|| SIZES.iter().try_for_each(|size| refused(plan.target(), *size)))??;
        let count = support::reason(&stage, &plan, "no_backend_rejected")?;
        ensure!(count == SIZES.len() as u64, "{}: {count} are counted", plan.name);
    }
    Ok(())
}

fn stage() -> Result<Stage> {
    let sizes = PoolSizes { blue: 1, green: 0, canary: 0 };
    let (stage, ()) = Stage::prepared(sizes, &[EITHER, EITHER6], |topology, scratch, _| {
        topology.take_returns(&scratch.bpf())
    })?;
    Ok(stage)
}

/// One echo request with so many bytes, and its answer.
fn ping(address: IpAddr, size: usize) -> Result<()> {
    let (kind, answer_kind) = if address.is_ipv4() { (8, 0) } else { (128, 129) };
    let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let socket = ping_socket(address)?;
    let sequence = 7;
    let request = [&[kind, 0, 0, 0, 0, 0, 0, sequence], &payload[..]].concat();
    socket.send_to(&request, SocketAddr::new(address, 0))?;
    let mut buffer = [0; 2000];
    let (length, sender) =
        socket.recv_from(&mut buffer).with_context(|| format!("{address}: no answer to {size} bytes"))?;
    ensure!(sender.ip() == address, "{sender} answered instead of {address}");
    let answer = &buffer[..length];
    ensure!(answer[0] == answer_kind && answer[7] == sequence, "{address}: {:?}", &answer[..8]);
    ensure!(answer[8..] == payload, "{address}: other bytes came back");
    Ok(())
}

/// Of the kind that the kernel keeps for `ping`.
fn ping_socket(address: IpAddr) -> Result<UdpSocket> {
    let (family, protocol) = if address.is_ipv4() {
        (libc::AF_INET, libc::IPPROTO_ICMP)
    } else {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6)
    };
    // SAFETY: no pointer is involved.
    let socket = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
    ensure!(socket >= 0, "no ping socket: {}", io::Error::last_os_error());
    // SAFETY: the socket is new and nobody else's; it takes the calls that a UDP socket takes.
    let socket = unsafe { UdpSocket::from_raw_fd(socket) };
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

fn refused(target: SocketAddr, size: usize) -> Result<()> {
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send(&vec![1; size])?;
    match socket.recv(&mut [0; 2000]) {
        Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => bail!("{target}: {size} bytes were not refused: {other:?}"),
    }
}
