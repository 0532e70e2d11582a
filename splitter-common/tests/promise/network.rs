//! The simulated network: who has which address, and frames on the wire.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::LazyLock,
};

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader};
use splitter_common::{hash::HashKey, net::Port, slot::BackendId};

/// Backends, numbered from 1.
pub const BACKENDS: u16 = 3;
/// Slots that clients fall into: few, so that histories collide.
pub const SLOTS_IN_PLAY: usize = 3;
/// Clients that open connections, by slot.
pub const CLIENTS_PER_SLOT: usize = 2;
/// Clients that only flood, and as many that only stray, by slot.
pub const STRANGERS_PER_SLOT: usize = 24;

const SERVICE_PORT: u16 = 443;
const BACKEND_PORT: u16 = 8443;

/// The key of the service's connection hash.
pub const KEY: HashKey = HashKey {
    base: 0x9e37_79b9_7f4a_7c15,
    source: [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f],
    port: 0xe703_7ed1_a0b4_28db,
};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Where clients connect to.
    pub fn service(self) -> SocketAddr {
        SocketAddr::new(self.address(0), SERVICE_PORT)
    }

    /// Where a backend listens.
    pub fn backend(self, id: BackendId) -> SocketAddr {
        SocketAddr::new(self.address(u32::from(id.get())), BACKEND_PORT)
    }

    /// Who sends to the service.
    pub fn population(self) -> &'static Population {
        static V4: LazyLock<Population> = LazyLock::new(|| Population::of(Family::V4));
        static V6: LazyLock<Population> = LazyLock::new(|| Population::of(Family::V6));
        match self {
            Self::V4 => &V4,
            Self::V6 => &V6,
        }
    }

    fn address(self, host: u32) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(0x0a00_0000 + host).into(),
            Self::V6 => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(host)).into(),
        }
    }
}

/// Those who send to the service, by the slot they fall into.
pub struct Population {
    /// Numbers of the slots in play.
    pub slots: [usize; SLOTS_IN_PLAY],
    /// Who opens connections: `CLIENTS_PER_SLOT` for each slot in turn.
    pub clients: Vec<SocketAddr>,
    /// Who floods with SYNs, by position of the slot.
    pub flooders: [Vec<SocketAddr>; SLOTS_IN_PLAY],
    /// Who sends segments of no connection, by position of the slot.
    pub strays: [Vec<SocketAddr>; SLOTS_IN_PLAY],
}

impl Population {
    fn of(family: Family) -> Self {
        let slots = [0, 1, 2].map(|host| slot_of(client(family, host)));
        let mut found: [Vec<SocketAddr>; SLOTS_IN_PLAY] = Default::default();
        let wanted = CLIENTS_PER_SLOT + 2 * STRANGERS_PER_SLOT;
        for candidate in (0..).map(|number| client(family, number)) {
            if let Some(position) = slots.iter().position(|slot| *slot == slot_of(candidate)) {
                found[position].push(candidate);
            }
            if found.iter().all(|found| found.len() >= wanted) {
                break;
            }
        }
        let mut take = |count: usize| found.each_mut().map(|found| found.drain(..count).collect::<Vec<_>>());
        let clients = take(CLIENTS_PER_SLOT).concat();
        Self { slots, clients, flooders: take(STRANGERS_PER_SLOT), strays: take(STRANGERS_PER_SLOT) }
    }
}

/// A client by number: addresses and ports both vary.
fn client(family: Family, number: u32) -> SocketAddr {
    SocketAddr::new(family.address(0x0001_0000 + number / 50), 1024 + (number % 50) as u16)
}

fn slot_of(client: SocketAddr) -> usize {
    KEY.slot(client.ip().into(), port(client))
}

/// A port in network order.
pub fn port(endpoint: SocketAddr) -> Port {
    endpoint.port().to_be_bytes()
}

/// A TCP segment, by what splitter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Syn,
    SynAck,
    /// Data, or an acknowledgement alone.
    Ack,
    Fin,
    Reset,
}

/// A frame with a segment.
pub fn frame(source: SocketAddr, destination: SocketAddr, segment: Segment) -> Vec<u8> {
    let mut tcp = TcpHeader::new(source.port(), destination.port(), 1, 1024);
    tcp.syn = matches!(segment, Segment::Syn | Segment::SynAck);
    tcp.ack = segment != Segment::Syn;
    tcp.fin = segment == Segment::Fin;
    tcp.rst = segment == Segment::Reset;
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(ip(source.ip(), destination.ip()))
        .tcp_header(tcp)
        .write(&mut frame, &[])
        .expect("a vector takes every frame");
    frame
}

fn ip(source: IpAddr, destination: IpAddr) -> IpHeaders {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header::new(0, 64, IpNumber::TCP, source.octets(), destination.octets());
            IpHeaders::Ipv4(header.expect("no payload is too long"), Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => unreachable!("all addresses of a simulation are of one family"),
    }
}

/// Source and destination of a frame.
pub fn endpoints(frame: &[u8]) -> [SocketAddr; 2] {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).expect("a whole frame");
    let addresses: [IpAddr; 2] = match sliced.net.expect("an IP header") {
        etherparse::NetSlice::Ipv4(ip) => {
            [ip.header().source_addr().into(), ip.header().destination_addr().into()]
        }
        etherparse::NetSlice::Ipv6(ip) => {
            [ip.header().source_addr().into(), ip.header().destination_addr().into()]
        }
        _ => panic!("neither IPv4 nor IPv6"),
    };
    let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("not TCP") };
    [SocketAddr::new(addresses[0], tcp.source_port()), SocketAddr::new(addresses[1], tcp.destination_port())]
}
