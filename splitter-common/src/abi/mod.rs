//! Every key and value that the two halves exchange through kernel maps.
//!
//! All are `repr(C)` without implicit padding: bytes in network order where they come from a packet, host order
//! where both sides compute with them. A map that is read under a generation has two sides; the daemon writes
//! the idle one and flips (see [`Word`]). Index of an element with sides: [`sided`].

mod control;
mod counters;
mod directory;
mod flow;
mod fragment;
#[cfg(feature = "user")]
mod pod;
mod route;
mod rule;
mod service;
mod snat;

pub use self::{
    control::{Control, Side, Word},
    counters::{BackendCounters, ReasonCounters, TableCounters},
    directory::{
        DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint, Endpoints, Neighbour, Neighbours,
        Target,
    },
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    route::{Hop, ROUTES_PER_FAMILY, Route, RouteTable},
    rule::RuleKey,
    service::{Backend, ServiceTable, Way},
    snat::{Ports, Translation},
};

/// Version of all that stands in this module; part of the pin path.
pub const ABI_VERSION: u32 = 2;

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
    /// `LruHashMap<FlowKey, Flow>`: connections of preview listeners.
    pub const PREVIEWS: &str = "PREVIEWS";
    /// `LruHashMap<FragmentKey, Fragment>`: what first fragments decided.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `LpmTrie<RuleKey, u32>`, with sides in the key: number of the service table for a client.
    pub const RULES: &str = "RULES";
    /// `HashMap<FlowKey, u32>`: port of a connection in mode `snat`.
    pub const SNAT_CLIENTS: &str = "SNAT_CLIENTS";
    /// `Array<Translation>`, by port: the connections in mode `snat`.
    pub const SNAT_PORTS: &str = "SNAT_PORTS";
    /// `Array<Ports>`, by CPU: ports that are free, or about to be.
    pub const SNAT_FREE: &str = "SNAT_FREE";
    /// `PerCpuArray<Allowance>`, one element: how much may still be recorded without an answer.
    pub const ALLOWANCE: &str = "ALLOWANCE";
    /// `ProgramArray`: programs that the first one hands packets on to.
    pub const STAGES: &str = "STAGES";
    /// `PerCpuArray<BackendCounters>`, by backend.
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
    /// `PerCpuArray<ReasonCounters>`, by service.
    pub const REASON_COUNTERS: &str = "REASON_COUNTERS";
    /// `PerCpuArray<TableCounters>`, one element.
    pub const TABLE_COUNTERS: &str = "TABLE_COUNTERS";
    /// `DevMapHash`, by interface index: where packets may leave.
    pub const DEVICES: &str = "DEVICES";
    /// The program that closes silent connections of mode `snat`; it is attached nowhere.
    pub const RELEASE: &str = "splitter_free";
    /// The XDP programs, as they stand in the object twice: for frames in several buffers, and plain. The first is
    /// attached, the others are its stages in the order of their numbers.
    pub const PROGRAMS: [[&str; 2]; 1 + crate::pipeline::Stage::PROGRAMS] = [
        ["splitter", "splitter_plain"],
        ["spl_sort4", "spl_sort4p"],
        ["spl_sort6", "spl_sort6p"],
        ["spl_in4", "spl_in4p"],
        ["spl_in6", "spl_in6p"],
        ["spl_out4", "spl_out4p"],
        ["spl_out6", "spl_out6p"],
        ["spl_frag4", "spl_frag4p"],
        ["spl_frag6", "spl_frag6p"],
        ["spl_snat_in4", "spl_snat_in4p"],
        ["spl_snat_in6", "spl_snat_in6p"],
        ["spl_snat_out4", "spl_snat_out4p"],
        ["spl_snat_out6", "spl_snat_out6p"],
        ["spl_icmp4", "spl_icmp4p"],
        ["spl_icmp6", "spl_icmp6p"],
        ["spl_icmp_in4", "spl_icmp_in4p"],
        ["spl_icmp_in6", "spl_icmp_in6p"],
        ["spl_icmp_out4", "spl_icmp_out4p"],
        ["spl_icmp_out6", "spl_icmp_out6p"],
    ];
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
    assert!(size_of::<FragmentKey>() == 40 && size_of::<Fragment>() == 16);
    assert!(size_of::<RuleKey>() == 20);
    assert!(size_of::<crate::tables::Allowance>() == 16);
    assert!(size_of::<Translation>() == 64 && size_of::<Ports>() == 16 + 2 * 65_536);
    assert!(size_of::<FlowKey>() == 24);
    assert!(size_of::<Flow>() == 24);
    assert!(size_of::<BackendCounters>() == 40);
};
