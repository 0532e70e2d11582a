//! `splitter explain` gives the kernel's own answer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use splitter_tests::test_run::test_run;
use splitter_userspace::{
    api::control::Control as _,
    config::{self, Config},
    dataplane::{DataPlane, Sizes},
    engine::{Engine, Handle, compile, service::Service, services},
    image::Image,
    net::Snapshot,
    table::Order,
};
use tokio::sync::watch;

const CONFIG: &str = include_str!("explained.toml");

/// Connections that are asked about.
const CONNECTIONS: u64 = 100_000;

/// The daemon and the kernel are asked about the same random connections: services with several pools and backends, rules,
/// and both affinities. The kernel's answer is where the packet that comes out is addressed to.
pub fn the_daemon_and_the_kernel_agree() -> Result<()> {
    let config = config::parse(Path::new("explained.toml"), CONFIG)?;
    let order = Order::new(&config.daemon.hash_seed);
    let services = services(&config, &order)?;
    let kernel = kernel(&config, &services)?;
    let handle = daemon(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut random = Random(1);
    let mut by_rule = 0;
    for number in 0..CONNECTIONS {
        let service = &services[(number % services.len() as u64) as usize];
        let client = random.client(service.spec.address.is_ipv4());
        let name = service.spec.name.clone();
        let explained = runtime
            .block_on(handle.explain(name, client))
            .map_err(|error| anyhow::anyhow!("explain {} {client}: {}", service.spec.name, error.message))?;
        by_rule += u64::from(service.table_for(client.ip()) != service.number);
        let place = explained.new_connection.context("no backend")?;
        let sent = sent_to(&kernel, service, client)?;
        ensure!(place.backend == sent, "{client} of {}: {place:?}, kernel {sent}", service.spec.name);
    }
    ensure!(by_rule > CONNECTIONS / 20, "only {by_rule} clients had a rule");
    handle.stop();
    Ok(())
}

fn kernel(config: &Config, services: &[Service]) -> Result<DataPlane> {
    let snapshot = Snapshot::default();
    let mut image = Image::empty();
    image.endpoints = Arc::new(compile::endpoints(services, &[])?);
    image.backends = Arc::new(compile::backends(services, &snapshot));
    image.rules = Arc::new(compile::rules(services));
    compile::network(&mut image, &snapshot, &[], services, 16)?;
    let tables = services.iter().flat_map(Service::tables);
    image.services = tables.map(|(number, table)| (number, Arc::clone(table))).collect();
    let mut data_plane = DataPlane::load(&Sizes::from(config))?;
    data_plane.commit(image, 1)?;
    Ok(data_plane)
}

fn daemon(config: Config) -> Result<Handle> {
    let data_plane = DataPlane::load(&Sizes::from(&config))?;
    let engine = Engine::new(config, data_plane, Arc::default(), watch::channel(Vec::new()).0)?;
    Ok(Handle::start(engine)?.0)
}

/// Where the kernel addresses the client's first packet to. Its next hop is not known, so the rewritten packet is what
/// the kernel's own forwarding would get.
fn sent_to(kernel: &DataPlane, service: &Service, client: SocketAddr) -> Result<SocketAddr> {
    let frame = first_packet(service, client)?;
    let (_, out) = test_run(kernel.program()?, &frame, 256)?;
    let sliced = SlicedPacket::from_ethernet(&out)?;
    let address: IpAddr = match sliced.net.as_ref().context("no IP")? {
        NetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        _ => anyhow::bail!("no IP"),
    };
    let port = match sliced.transport.context("no transport")? {
        TransportSlice::Tcp(tcp) => tcp.destination_port(),
        TransportSlice::Udp(udp) => udp.destination_port(),
        _ => anyhow::bail!("neither TCP nor UDP"),
    };
    Ok((address, port).into())
}

fn first_packet(service: &Service, client: SocketAddr) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = match (client.ip(), service.spec.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => anyhow::bail!("client and service are of different families"),
    };
    if service.spec.protocol.has_tcp() {
        ip.tcp(client.port(), service.spec.port, 1, 1024).syn().write(&mut frame, &[])?;
    } else {
        ip.udp(client.port(), service.spec.port).write(&mut frame, b"question")?;
    }
    Ok(frame)
}

/// Knuth's MMIX generator; its high bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    /// One in three has an address that rules are about.
    fn client(&mut self, ipv4: bool) -> SocketAddr {
        let (ruled, bits, port) = (self.next().is_multiple_of(3), self.next(), self.next() as u16 | 1);
        if ipv4 {
            let address =
                if ruled { 0x0a14_0000 | bits as u32 & 0xffff } else { 0xc000_0000 | bits as u32 >> 3 };
            return (Ipv4Addr::from_bits(address), port).into();
        }
        let prefix = if ruled { 0x2001_0db8_00aa_0000_u128 } else { 0x2001_0db8_0000_0000 };
        (Ipv6Addr::from_bits(prefix << 64 | u128::from(bits)), port).into()
    }
}
