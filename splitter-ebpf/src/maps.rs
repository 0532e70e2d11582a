//! The maps, and what the pipeline asks of them.
//!
//! Sizes given here are least sizes: the loader sets those of the configuration before the maps are made.
//! Element types, names and meanings: `splitter_common::abi`.

use core::ptr::{addr_of, addr_of_mut, read_volatile};

use aya_ebpf::{
    btf_maps::{Array, DevMapHash, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use splitter_common::{
    abi::{
        Backend, BackendCounters, Control, DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint,
        Endpoints, Flow, FlowKey, Neighbour, Neighbours, ReasonCounters, RouteTable, ServiceTable,
        TableCounters, sided,
    },
    reason::Reason,
    slot::BackendId,
    tables::{Exceptions, FlowRef, Live, Sender, TableEvent, Tables},
};

#[btf_map]
static CONTROL: Array<Control, 1> = Array::new();
#[btf_map]
static ENDPOINT_BUCKETS: Array<Displacements, 2> = Array::new();
#[btf_map]
static ENDPOINTS: Array<Endpoints, 2> = Array::new();
#[btf_map]
static NEIGHBOUR_BUCKETS: Array<Displacements, 2> = Array::new();
#[btf_map]
static NEIGHBOURS: Array<Neighbours, 2> = Array::new();
#[btf_map]
static SERVICES: Array<ServiceTable, 2> = Array::new();
#[btf_map]
static BACKENDS: Array<Backend, 2> = Array::new();
#[btf_map]
static ROUTES: Array<RouteTable, 4> = Array::new();
#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, 1024> = LruHashMap::new();
#[btf_map]
static EMBRYONIC: LruHashMap<FlowKey, Flow, 1024> = LruHashMap::new();
#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounters, 1> = PerCpuArray::new();
#[btf_map]
static REASON_COUNTERS: PerCpuArray<ReasonCounters, 1> = PerCpuArray::new();
#[btf_map]
static TABLE_COUNTERS: PerCpuArray<TableCounters, 1> = PerCpuArray::new();
/// Interfaces that frames may leave by.
#[btf_map]
pub static DEVICES: DevMapHash<64> = DevMapHash::new();

/// The kernel's maps.
pub struct Kernel;

/// An entry of an LRU map, shared with other CPUs.
pub struct KernelFlow(*mut Flow);

impl FlowRef for KernelFlow {
    #[inline(always)]
    fn read(&self) -> Flow {
        // SAFETY: a live element of a preallocated map; its memory stays mapped even if it is evicted meanwhile.
        unsafe { read_volatile(self.0) }
    }

    #[inline(always)]
    fn touch(&self, now_ns: u64, sender: Sender, fin: bool, rst: bool) {
        // SAFETY: as in `read`; each field is written whole, by plain stores, and the last writer may win.
        unsafe {
            addr_of_mut!((*self.0).seen_ns).write_volatile(now_ns);
            if fin {
                match sender {
                    Sender::Client => addr_of_mut!((*self.0).client_fin).write_volatile(1),
                    Sender::Backend => addr_of_mut!((*self.0).backend_fin).write_volatile(1),
                }
            }
            if rst {
                addr_of_mut!((*self.0).reset).write_volatile(1);
            }
        }
    }
}

/// Adds to a counter of this CPU.
#[inline(always)]
fn add(counter: &mut u64, amount: u64) {
    *counter = counter.wrapping_add(amount);
}

/// This CPU's element: no other program runs on it meanwhile.
#[inline(always)]
fn own<T>(element: Option<*mut T>) -> Option<&'static mut T> {
    // SAFETY: per-CPU elements of an array live as long as the map; XDP programs of one CPU run one at a time.
    element.map(|pointer| unsafe { &mut *pointer })
}

macro_rules! exceptions {
    ($table:expr, $map:ident => $call:expr) => {
        match $table {
            Exceptions::Flows => {
                let $map = &FLOWS;
                $call
            }
            Exceptions::Embryonic => {
                let $map = &EMBRYONIC;
                $call
            }
        }
    };
}

impl Tables for Kernel {
    type Flow = KernelFlow;

    #[inline(always)]
    fn live(&self) -> Option<Live<'_>> {
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: an element of an array lives as long as the map. The word is read by itself and once: the
        // daemon may flip it at any moment. It does not write the live side.
        let side = unsafe { read_volatile(addr_of!((*control).word)) }.side();
        let sizes = unsafe { &*addr_of!((*control).sides[side as usize]) };
        Some(Live { side, sizes })
    }

    #[inline(always)]
    fn endpoint_displacement(&self, side: u32, bucket: u32) -> Option<u32> {
        displacement(&ENDPOINT_BUCKETS, side, bucket)
    }

    #[inline(always)]
    fn endpoint(&self, side: u32, position: u32) -> Option<&Endpoint> {
        let page = ENDPOINTS.get(sided(position / ENTRIES_PER_PAGE as u32, side))?;
        page.get(position as usize % ENTRIES_PER_PAGE)
    }

    #[inline(always)]
    fn neighbour_displacement(&self, side: u32, bucket: u32) -> Option<u32> {
        displacement(&NEIGHBOUR_BUCKETS, side, bucket)
    }

    #[inline(always)]
    fn neighbour(&self, side: u32, position: u32) -> Option<&Neighbour> {
        let page = NEIGHBOURS.get(sided(position / ENTRIES_PER_PAGE as u32, side))?;
        page.get(position as usize % ENTRIES_PER_PAGE)
    }

    #[inline(always)]
    fn service(&self, side: u32, service: u32) -> Option<&ServiceTable> {
        SERVICES.get(sided(service, side))
    }

    #[inline(always)]
    fn backend(&self, side: u32, backend: BackendId) -> Option<&Backend> {
        BACKENDS.get(sided(backend.get().into(), side))
    }

    #[inline(always)]
    fn routes(&self, side: u32, family: u32) -> Option<&RouteTable> {
        ROUTES.get(sided(family, side))
    }

    #[inline(always)]
    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<KernelFlow> {
        exceptions!(table, map => map.get_ptr_mut(key)).map(KernelFlow)
    }

    #[inline(always)]
    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool {
        exceptions!(table, map => map.insert(key, flow, 0)).is_ok()
    }

    #[inline(always)]
    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool {
        exceptions!(table, map => map.remove(key)).is_ok()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: no arguments, no side effects.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn count_in(&self, backend: BackendId, bytes: u64, opens: bool) {
        if let Some(counters) = own(BACKEND_COUNTERS.get_ptr_mut(backend.get().into())) {
            add(&mut counters.packets_in, 1);
            add(&mut counters.bytes_in, bytes);
            add(&mut counters.connections, opens.into());
        }
    }

    #[inline(always)]
    fn count_out(&self, backend: BackendId, bytes: u64) {
        if let Some(counters) = own(BACKEND_COUNTERS.get_ptr_mut(backend.get().into())) {
            add(&mut counters.packets_out, 1);
            add(&mut counters.bytes_out, bytes);
        }
    }

    #[inline(always)]
    fn count_reason(&self, service: u32, reason: Reason) {
        count_reason(service, reason as u32);
    }

    #[inline(always)]
    fn count_table(&self, event: TableEvent) {
        if let Some(counters) = own(TABLE_COUNTERS.get_ptr_mut(0)) {
            add(counters.of(event), 1);
        }
    }
}

#[inline(always)]
fn displacement(buckets: &Array<Displacements, 2>, side: u32, bucket: u32) -> Option<u32> {
    let page = buckets.get(sided(bucket / DISPLACEMENTS_PER_PAGE as u32, side))?;
    page.get(bucket as usize % DISPLACEMENTS_PER_PAGE).copied()
}

/// A call of its own: it stands in many places, none of them in the steady state's way.
#[inline(never)]
fn count_reason(service: u32, reason: u32) {
    if let Some(counters) = own(REASON_COUNTERS.get_ptr_mut(service))
        && let Some(counter) = counters.get_mut(reason as usize)
    {
        add(counter, 1);
    }
}
