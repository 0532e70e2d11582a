//! Every key and value that the two halves exchange through kernel maps.
//!
//! All are `repr(C)` without implicit padding: bytes in network order where they come from a packet, host order
//! where both sides compute with them. A map that is read under a generation has two sides; the daemon writes
//! the idle one and flips (see [`Word`]). Index of an element with sides: [`sided`].

#[cfg(feature = "user")]
mod pod;

use crate::{
    checksum::Delta,
    hash::{HashKey, SLOTS},
    net::{Addr, Mac, Port, Transport},
    reason::REASONS,
    slot::{BackendId, Slot},
};

/// Version of all that stands in this module; part of the pin path.
pub const ABI_VERSION: u32 = 1;

/// Names of the maps, as the object file has them.
pub mod names {
    /// `Array<Control>`, one element: the generation, and both sides' seeds and sizes.
    pub const CONTROL: &str = "CONTROL";
    /// `Array<Displacements>`, pages with sides: buckets of the endpoint directory.
    pub const ENDPOINT_BUCKETS: &str = "ENDPOINT_BUCKETS";
    /// `Array<Endpoints>`, pages with sides: positions of the endpoint directory.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// `Array<Displacements>`, pages with sides: buckets of the neighbour directory.
    pub const NEIGHBOUR_BUCKETS: &str = "NEIGHBOUR_BUCKETS";
    /// `Array<Neighbours>`, pages with sides: positions of the neighbour directory.
    pub const NEIGHBOURS: &str = "NEIGHBOURS";
    /// `Array<ServiceTable>`, services with sides.
    pub const SERVICES: &str = "SERVICES";
    /// `Array<Backend>`, backends with sides.
    pub const BACKENDS: &str = "BACKENDS";
    /// `Array<RouteTable>`, IPv4 then IPv6, with sides.
    pub const ROUTES: &str = "ROUTES";
    /// `LruHashMap<FlowKey, Flow>`: recorded exceptions.
    pub const FLOWS: &str = "FLOWS";
    /// `LruHashMap<FlowKey, Flow>`: connections whose SYN came while their slot was DIRTY.
    pub const EMBRYONIC: &str = "EMBRYONIC";
    /// `PerCpuArray<BackendCounters>`, by backend.
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
    /// `PerCpuArray<ReasonCounters>`, by service.
    pub const REASON_COUNTERS: &str = "REASON_COUNTERS";
    /// `PerCpuArray<TableCounters>`, one element.
    pub const TABLE_COUNTERS: &str = "TABLE_COUNTERS";
    /// `DevMapHash`, by interface index: where packets may leave.
    pub const DEVICES: &str = "DEVICES";
    /// The XDP program.
    pub const PROGRAM: &str = "splitter";
}

/// Index of element `index` on `side` (0 or 1).
#[inline(always)]
pub const fn sided(index: u32, side: u32) -> u32 {
    index << 1 | side
}

/// The one word that a packet reads first: the generation's number, and in its lowest bit the live side.
///
/// The program uses the lowest bit alone. It lies in one byte, so even a copy that is not atomic over the word
/// (`memcpy` in `array_map_update_elem`, kernel/bpf/arraymap.c) cannot tear what a packet decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Word(u64);

impl Word {
    /// Generation and side.
    pub const fn new(generation: u64, side: u32) -> Self {
        Self(generation << 1 | (side & 1) as u64)
    }

    /// From the map.
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// For the map.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Number of the live configuration.
    pub const fn generation(self) -> u64 {
        self.0 >> 1
    }

    /// The live side, 0 or 1.
    #[inline(always)]
    pub const fn side(self) -> u32 {
        (self.0 & 1) as u32
    }
}

/// Seeds and sizes of one side's directories.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Side {
    /// Seed of the endpoint directory.
    pub endpoint_seed: u64,
    /// Seed of the neighbour directory.
    pub neighbour_seed: u64,
    /// Buckets of the endpoint directory, less one.
    pub endpoint_bucket_mask: u32,
    /// Positions of the endpoint directory, less one.
    pub endpoint_position_mask: u32,
    /// Buckets of the neighbour directory, less one.
    pub neighbour_bucket_mask: u32,
    /// Positions of the neighbour directory, less one.
    pub neighbour_position_mask: u32,
}

/// What a packet reads first. Only the word decides; the idle side's half is written before it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    /// The generation and the live side.
    pub word: Word,
    /// Both sides.
    pub sides: [Side; 2],
}

/// Displacements in a page of a directory.
pub const DISPLACEMENTS_PER_PAGE: usize = 1024;
/// Entries in a page of a directory.
pub const ENTRIES_PER_PAGE: usize = 128;

/// A page of a directory's buckets.
pub type Displacements = [u32; DISPLACEMENTS_PER_PAGE];
/// A page of the endpoint directory.
pub type Endpoints = [Endpoint; ENTRIES_PER_PAGE];
/// A page of the neighbour directory.
pub type Neighbours = [Neighbour; ENTRIES_PER_PAGE];

/// An address that the data plane knows, and what it is: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Endpoint {
    address: Addr,
    port: Port,
    protocol: u8,
    kind: u8,
    target: u32,
    _padding: [u8; 8],
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Address and port of a service, by its number.
    Service(u32),
    /// Address and port of a backend: the source of replies.
    Backend(BackendId),
    /// The address of one or more services, for all traffic that no service takes; the first one's number.
    Address(u32),
}

impl Endpoint {
    const SERVICE: u8 = 1;
    const BACKEND: u8 = 2;
    const ADDRESS: u8 = 3;

    /// A service's address and port.
    pub const fn service(address: Addr, port: Port, protocol: Transport, number: u32) -> Self {
        Self {
            address,
            port,
            protocol: protocol as u8,
            kind: Self::SERVICE,
            target: number,
            _padding: [0; 8],
        }
    }

    /// A backend's address and port.
    pub const fn backend(address: Addr, port: Port, protocol: Transport, id: BackendId) -> Self {
        let target = id.get() as u32;
        Self { address, port, protocol: protocol as u8, kind: Self::BACKEND, target, _padding: [0; 8] }
    }

    /// A service's address, for traffic that no service takes.
    pub const fn address(address: Addr, first_service: u32) -> Self {
        let kind = Self::ADDRESS;
        Self { address, port: [0; 2], protocol: 0, kind, target: first_service, _padding: [0; 8] }
    }

    /// The 32 bits that are hashed with the address.
    #[inline(always)]
    pub const fn rest(port: Port, protocol: u8) -> u32 {
        (u16::from_be_bytes(port) as u32) << 8 | protocol as u32
    }

    /// Address, and the bits hashed with it: what the directory's builder hashes.
    pub const fn key(&self) -> (Addr, u32) {
        (self.address, Self::rest(self.port, self.protocol))
    }

    /// What this is, if its key is the one asked for.
    #[inline(always)]
    pub fn target(&self, address: &Addr, port: Port, protocol: u8) -> Option<Target> {
        if !self.address.is(address) || self.port != port || self.protocol != protocol {
            return None;
        }
        match self.kind {
            Self::SERVICE => Some(Target::Service(self.target)),
            Self::BACKEND => Some(Target::Backend(BackendId::new(self.target as u16))),
            Self::ADDRESS => Some(Target::Address(self.target)),
            _ => None,
        }
    }
}

/// Where a frame goes on the link: 16 bytes. Interface 0 is none: the kernel must find the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Hop {
    ifindex: u32,
    /// The frame's first 12 bytes.
    ethernet: [[u8; 4]; 3],
}

impl Hop {
    /// Not known: the kernel must find the way.
    pub const UNRESOLVED: Self = Self { ifindex: 0, ethernet: [[0; 4]; 3] };

    /// Out of interface `ifindex`, from our Ethernet address `source` to the neighbour's, `destination`.
    pub const fn new(ifindex: u32, source: Mac, destination: Mac) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination, source);
        Self { ifindex, ethernet: [[a, b, c, d], [e, f, g, h], [i, j, k, l]] }
    }

    /// Interface index; 0: unresolved.
    #[inline(always)]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Destination and source as they lie at the start of a frame.
    #[inline(always)]
    pub const fn ethernet(&self) -> [[u8; 4]; 3] {
        self.ethernet
    }
}

/// A host on one of our links: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Neighbour {
    /// Its address.
    pub address: Addr,
    /// The way to it; unresolved marks an empty position.
    pub hop: Hop,
}

/// Routes in a [`RouteTable`]. A host with more leaves replies to the kernel.
pub const ROUTES_PER_FAMILY: usize = 32;

/// One family's routes, longest prefix first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RouteTable {
    /// Routes in use.
    pub count: u32,
    _padding: u32,
    /// The routes.
    pub routes: [Route; ROUTES_PER_FAMILY],
}

impl RouteTable {
    /// Without a route: every reply goes to the kernel.
    pub const EMPTY: Self = Self { count: 0, _padding: 0, routes: [Route::EMPTY; ROUTES_PER_FAMILY] };
}

/// One route: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Route {
    /// Network, host bits zero; IPv4 in the last four bytes.
    pub network: Addr,
    /// Mask; IPv4 in the last four bytes.
    pub mask: Addr,
    /// The gateway, for [`Route::VIA`].
    pub hop: Hop,
    /// One of the constants below.
    pub action: u32,
    _padding: [u32; 3],
}

impl Route {
    /// Leave it to the kernel.
    pub const KERNEL: u32 = 0;
    /// Through the gateway in `hop`.
    pub const VIA: u32 = 1;
    /// On the link: look the address up among the neighbours.
    pub const ON_LINK: u32 = 2;
    /// Not a client: an address of this host, or a prefix that talks to backends without the service.
    pub const DIRECT: u32 = 3;

    const EMPTY: Self = Self::new(Addr::UNSPECIFIED, Addr::UNSPECIFIED, Self::KERNEL, Hop::UNRESOLVED);

    /// A route.
    pub const fn new(network: Addr, mask: Addr, action: u32, hop: Hop) -> Self {
        Self { network, mask, hop, action, _padding: [0; 3] }
    }
}

/// A service and its slot table: what a shift writes aside and flips to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct ServiceTable {
    /// Key of the connection hash.
    pub key: HashKey,
    /// A connection not seen for longer is no longer live, nanoseconds.
    pub idle_timeout_ns: u64,
    /// [`ServiceTable::UNSETTLED`] and [`ServiceTable::REJECT`].
    pub flags: u32,
    _padding: u32,
    /// Slot -> backend, and the slot's state.
    pub slots: [Slot; SLOTS],
}

impl ServiceTable {
    /// Some slot is not CLEAN: replies must be looked at too.
    pub const UNSETTLED: u32 = 1;
    /// `no_backend = "reject"`.
    pub const REJECT: u32 = 2;

    /// A table.
    pub const fn new(key: HashKey, idle_timeout_ns: u64, flags: u32, slots: [Slot; SLOTS]) -> Self {
        Self { key, idle_timeout_ns, flags, _padding: 0, slots }
    }
}

/// A backend as packets see it: 128 bytes, the first 64 for the way there, the rest for the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Backend {
    address: Addr,
    /// Next hop of packets to it.
    pub hop: Hop,
    port: Port,
    network_delta: u16,
    transport_delta: u16,
    flags: u16,
    service: u32,
    _padding: [u8; 20],
    virtual_address: Addr,
    virtual_port: Port,
    _padding_back: [u8; 46],
}

impl Backend {
    const ALIVE: u16 = 1;

    /// The backend at `address:port` of service number `service`, whose endpoint is `virtual_address:virtual_port`.
    pub fn new(
        service: u32,
        virtual_endpoint: (Addr, Port),
        endpoint: (Addr, Port),
        hop: Hop,
        alive: bool,
    ) -> Self {
        let ((virtual_address, virtual_port), (address, port)) = (virtual_endpoint, endpoint);
        let network = Delta::between(&virtual_address.bytes(), &address.bytes());
        let transport = network.and(Delta::between(&virtual_port, &port));
        Self {
            address,
            hop,
            port,
            network_delta: network.raw(),
            transport_delta: transport.raw(),
            flags: if alive { Self::ALIVE } else { 0 },
            service,
            _padding: [0; 20],
            virtual_address,
            virtual_port,
            _padding_back: [0; 46],
        }
    }

    /// Its address.
    #[inline(always)]
    pub const fn address(&self) -> &Addr {
        &self.address
    }

    /// Its port.
    #[inline(always)]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The service's address.
    #[inline(always)]
    pub const fn virtual_address(&self) -> &Addr {
        &self.virtual_address
    }

    /// The service's port.
    #[inline(always)]
    pub const fn virtual_port(&self) -> Port {
        self.virtual_port
    }

    /// Number of its service.
    #[inline(always)]
    pub const fn service(&self) -> u32 {
        self.service
    }

    /// Whether its connections can be kept.
    #[inline(always)]
    pub const fn alive(&self) -> bool {
        self.flags & Self::ALIVE != 0
    }

    /// What the rewrite from service to backend adds to the IPv4 header's checksum.
    #[inline(always)]
    pub const fn network_delta(&self) -> Delta {
        Delta::from_raw(self.network_delta)
    }

    /// What it adds to the transport header's checksum (pseudo-header included).
    #[inline(always)]
    pub const fn transport_delta(&self) -> Delta {
        Delta::from_raw(self.transport_delta)
    }
}

/// A connection: service and client. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C, align(4))]
pub struct FlowKey {
    client: Addr,
    client_port: Port,
    service: u16,
}

impl FlowKey {
    /// A client's connection to service number `service`.
    #[inline(always)]
    pub const fn new(service: u32, client: Addr, client_port: Port) -> Self {
        Self { client, client_port, service: service as u16 }
    }

    /// The client's address.
    pub const fn client(&self) -> Addr {
        self.client
    }

    /// The client's port.
    pub const fn client_port(&self) -> Port {
        self.client_port
    }

    /// Number of the service.
    pub const fn service(&self) -> u32 {
        self.service as u32
    }
}

/// What is recorded of a connection: 16 bytes. Client and backend mark their FIN in bytes of their own, so that
/// two CPUs never write the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Flow {
    /// When its last packet was seen, nanoseconds of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
    /// Where it belongs.
    pub backend: BackendId,
    /// 1: the client has sent FIN.
    pub client_fin: u8,
    /// 1: the backend has sent FIN.
    pub backend_fin: u8,
    /// 1: either has sent RST.
    pub reset: u8,
    _padding: [u8; 3],
}

impl Flow {
    /// A connection seen now.
    #[inline(always)]
    pub const fn new(backend: BackendId, seen_ns: u64) -> Self {
        Self { seen_ns, backend, client_fin: 0, backend_fin: 0, reset: 0, _padding: [0; 3] }
    }

    /// FIN both ways, or RST.
    #[inline(always)]
    pub const fn closed(&self) -> bool {
        self.reset != 0 || (self.client_fin != 0 && self.backend_fin != 0)
    }

    /// Not closed, and seen within `idle_timeout_ns`.
    #[inline(always)]
    pub const fn fresh(&self, now_ns: u64, idle_timeout_ns: u64) -> bool {
        !self.closed() && now_ns.saturating_sub(self.seen_ns) <= idle_timeout_ns
    }
}

/// Counters of a backend, of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Their bytes, whole frames.
    pub bytes_in: u64,
    /// Packets from the backend.
    pub packets_out: u64,
    /// Their bytes, whole frames.
    pub bytes_out: u64,
    /// Connections begun: SYNs without ACK.
    pub connections: u64,
}

/// Packets of a service by [`crate::reason::Reason`], of one CPU.
pub type ReasonCounters = [u64; REASONS];

/// What happened to the tables of exceptions, of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct TableCounters {
    /// Connections recorded because their backend answered.
    pub recorded: u64,
    /// SYNs recorded as embryonic.
    pub embryonic: u64,
    /// Embryonic entries promoted.
    pub promoted: u64,
    /// Entries of the flow table removed by a SYN or a reset.
    pub forgotten_flows: u64,
    /// Entries of the embryonic table removed by a SYN or a reset.
    pub forgotten_embryonic: u64,
    /// Packets of unrecorded connections in DIRTY slots.
    pub missed: u64,
    /// Records that the kernel refused (table full, or busy).
    pub failed: u64,
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Side>() == 32 && size_of::<Control>() == 72);
    assert!(size_of::<Endpoint>() == 32 && align_of::<Endpoint>() == 8);
    assert!(size_of::<Hop>() == 16);
    assert!(size_of::<Neighbour>() == 32 && align_of::<Neighbour>() == 8);
    assert!(size_of::<Route>() == 64);
    assert!(size_of::<RouteTable>() == 8 + 64 * ROUTES_PER_FAMILY);
    assert!(size_of::<ServiceTable>() == 64 + 4 * SLOTS && offset_of!(ServiceTable, slots) == 64);
    assert!(size_of::<Backend>() == 128 && offset_of!(Backend, virtual_address) == 64);
    assert!(size_of::<FlowKey>() == 20);
    assert!(size_of::<Flow>() == 16);
    assert!(size_of::<BackendCounters>() == 40);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_carries_generation_and_side() {
        let word = Word::new(41, 1);
        assert_eq!((word.generation(), word.side(), word.raw()), (41, 1, 83));
    }

    #[test]
    fn an_endpoint_answers_to_its_own_key_only() {
        let address = Addr::from_v4([192, 0, 2, 10]);
        let service = Endpoint::service(address, [1, 187], Transport::Tcp, 3);
        assert_eq!(service.target(&address, [1, 187], 6), Some(Target::Service(3)));
        assert_eq!(service.target(&address, [1, 187], 17), None);
        assert_eq!(service.target(&address, [0, 80], 6), None);
        assert_eq!(service.target(&Addr::from_v4([192, 0, 2, 11]), [1, 187], 6), None);
        assert_eq!(Endpoint::default().target(&Addr::default(), [0, 0], 0), None, "an empty position");
    }

    #[test]
    fn a_flow_ends_by_two_fins_or_a_reset_or_silence() {
        let flow = Flow::new(BackendId::new(1), 100);
        assert!(flow.fresh(150, 50) && !flow.fresh(151, 50));
        assert!(!Flow { client_fin: 1, ..flow }.closed());
        assert!(Flow { client_fin: 1, backend_fin: 1, ..flow }.closed());
        assert!(!Flow { reset: 1, ..flow }.fresh(100, 50));
        assert!(flow.fresh(90, 0), "another CPU's clock read a little later");
    }
}
