//! Every key and value that the two halves exchange through kernel maps.
//!
//! All are `repr(C)` without implicit padding: bytes in network order where they come from a packet, host order
//! where both sides compute with them. A map that is read under a generation has two sides; the daemon writes
//! the idle one and flips (see [`Word`]). Index of an element with sides: [`sided`].

mod control;
mod counters;
mod directory;
mod flow;
#[cfg(feature = "user")]
mod pod;
mod route;
mod service;

pub use self::{
    control::{Control, Side, Word},
    counters::{BackendCounters, ReasonCounters, TableCounters},
    directory::{
        DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint, Endpoints, Neighbour, Neighbours,
        Target,
    },
    flow::{Flow, FlowKey},
    route::{Hop, ROUTES_PER_FAMILY, Route, RouteTable},
    service::{Backend, ServiceTable},
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

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Side>() == 32 && size_of::<Control>() == 72);
    assert!(size_of::<Endpoint>() == 32 && align_of::<Endpoint>() == 8);
    assert!(size_of::<Hop>() == 16);
    assert!(size_of::<Neighbour>() == 32 && align_of::<Neighbour>() == 8);
    assert!(size_of::<Route>() == 64);
    assert!(size_of::<RouteTable>() == 8 + 64 * ROUTES_PER_FAMILY);
    assert!(
        size_of::<ServiceTable>() == 64 + 4 * crate::hash::SLOTS && offset_of!(ServiceTable, slots) == 64
    );
    assert!(size_of::<Backend>() == 128);
    assert!(size_of::<FlowKey>() == 20);
    assert!(size_of::<Flow>() == 24);
    assert!(size_of::<BackendCounters>() == 40);
};
