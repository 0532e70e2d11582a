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
    /// The constants below.
    pub flags: u32,
    /// Largest IP packet that every one of its backends can be sent, bytes.
    pub mtu: u32,
    /// Slot -> backend, and the slot's state.
    pub slots: [Slot; SLOTS],
}

impl ServiceTable {
    /// Some slot is not CLEAN: replies must be looked at too.
    pub const UNSETTLED: u32 = 1;
    /// `no_backend = "reject"`.
    pub const REJECT: u32 = 2;
    /// Mode `dsr-l2`.
    pub const LINK: u32 = 4;
    /// Mode `dsr-ipip`.
    pub const TUNNEL: u32 = 8;
    /// Mode `snat`.
    pub const TRANSLATE: u32 = 16;
    /// Some clients are sent to a table of their own by their source address ([`super::RuleKey`]).
    pub const ROUTED: u32 = 32;
    /// A preview listener in mode `dnat`: each of its connections is recorded, for its replies to be told apart.
    pub const PREVIEW: u32 = 64;
    /// Replies may belong to a preview listener.
    pub const PREVIEWED: u32 = 128;
    /// Connections of a backend are being reset.
    pub const RESETTING: u32 = 256;

    /// No answers are seen: neither `dnat` nor `snat`.
    pub const ONE_WAY: u32 = Self::LINK | Self::TUNNEL;
    /// Requests that the usual path does not take.
    pub const UNUSUAL: u32 = Self::TUNNEL | Self::TRANSLATE | Self::ROUTED | Self::PREVIEW | Self::RESETTING;
    /// Replies that the usual path does not take.
    pub const UNUSUAL_REPLY: u32 = Self::TRANSLATE | Self::PREVIEWED | Self::RESETTING;

    /// A table.
    pub const fn new(key: HashKey, idle_timeout_ns: u64, flags: u32, mtu: u32, slots: [Slot; SLOTS]) -> Self {
        Self { key, idle_timeout_ns, flags, mtu, slots }
    }

    /// The number of the service that replies are known by, in the flags' high half: of a preview listener another one.
    #[inline(always)]
    pub const fn owner(&self) -> u32 {
        self.flags >> 16
    }

    /// Any of the given flags.
    #[inline(always)]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }
}

/// The way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The next hop.
    pub hop: Hop,
    /// Largest IP packet that may be sent to it, bytes; in a tunnel, without the tunnel's header.
    pub mtu: u16,
    /// This host's address on that way: the source of tunnels and of `snat`; unspecified where there is none.
    pub source: Addr,
}

impl Way {
    /// Not known: the kernel must find it.
    pub const UNKNOWN: Self = Self { hop: Hop::UNRESOLVED, mtu: u16::MAX, source: Addr::UNSPECIFIED };
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
    mtu: u16,
    _padding: [u8; 2],
    source: Addr,
    virtual_address: Addr,
    virtual_port: Port,
    _padding_back: [u8; 46],
}

impl Backend {
    /// Its connections can be kept.
    pub const ALIVE: u16 = 1;
    /// Its connections are reset: whoever speaks is told so.
    pub const RESETTING: u16 = 2;

    /// The backend at `address:port` (`endpoint`) of service number `service`, whose endpoint is `virtual_address:virtual_port`.
    pub fn new(
        service: u32,
        virtual_endpoint: (Addr, Port),
        endpoint: (Addr, Port),
        way: Way,
        flags: u16,
    ) -> Self {
        let ((virtual_address, virtual_port), (address, port)) = (virtual_endpoint, endpoint);
        let network = Delta::between(&virtual_address.bytes(), &address.bytes());
        let Way { hop, mtu, source } = way;
        let transport = network.and(Delta::between(&virtual_port, &port));
        Self {
            address,
            hop,
            port,
            network_delta: network.raw(),
            transport_delta: transport.raw(),
            flags,
            service,
            mtu,
            _padding: [0; 2],
            source,
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

    /// Whether its connections are being reset.
    #[inline(always)]
    pub const fn resetting(&self) -> bool {
        self.flags & Self::RESETTING != 0
    }

    /// Largest IP packet that may be sent to it, bytes.
    #[inline(always)]
    pub const fn mtu(&self) -> usize {
        self.mtu as usize
    }

    /// This host's address on the way to it.
    #[inline(always)]
    pub const fn source(&self) -> &Addr {
        &self.source
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
