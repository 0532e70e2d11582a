//! Services with their slot tables, and backends.

use super::Hop;
use crate::{
    checksum::Delta,
    hash::{HashKey, SLOTS},
    net::{Addr, Port},
    slot::Slot,
};

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

// The way back begins with a cache line of its own.
const _: () = assert!(core::mem::offset_of!(Backend, virtual_address) == 64);
