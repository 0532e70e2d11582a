//! The ways that frames take: next hops and routes.

use crate::net::{Addr, Mac};

/// Where a frame goes on the link: 16 bytes. Interface 0 is none: the kernel must find the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(8))]
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
    /// Largest IP packet that may go this way, bytes.
    pub mtu: u32,
    /// Its own position in the table.
    pub position: u32,
    _padding: u32,
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

    const EMPTY: Self =
        Self::new(Addr::UNSPECIFIED, Addr::UNSPECIFIED, Self::KERNEL, Hop::UNRESOLVED, u32::MAX);

    /// A route.
    pub const fn new(network: Addr, mask: Addr, action: u32, hop: Hop, mtu: u32) -> Self {
        Self { network, mask, hop, action, mtu, position: 0, _padding: 0 }
    }
}
