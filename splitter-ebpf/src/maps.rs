//! The maps, and what the pipeline asks of them.
//!
//! Sizes given here are least sizes: the loader sets those of the configuration before the maps are made.
//! Element types, names and meanings: `splitter_common::abi`.

use core::{
    arch::asm,
    ptr::{NonNull, addr_of, addr_of_mut, read_volatile},
};

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, lpm_trie::Key},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_redirect},
    macros::btf_map,
};
use splitter_common::{
    abi::{
        Backend, BackendCounters, Control, DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint,
        Endpoints, Flow, FlowKey, Fragment, FragmentKey, Neighbour, Neighbours, Ports, ReasonCounters,
        RouteTable, RuleKey, ServiceTable, TableCounters, Translation, sided,
    },
    net::Addr,
    parse::{Family, V6},
    pipeline::{Room, Stage},
    reason::Reason,
    slot::BackendId,
    tables::{Allowance, Exceptions, FlowRef, Live, Sender, TableEvent, Tables, TranslationRef},
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
static PREVIEWS: LruHashMap<FlowKey, Flow, 1> = LruHashMap::new();
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, 1024> = LruHashMap::new();
#[btf_map]
static RULES: LpmTrie<RuleKey, u32, 1> = LpmTrie::new();
#[btf_map]
static SNAT_CLIENTS: HashMap<FlowKey, u32, 1> = HashMap::new();
#[btf_map]
static SNAT_PORTS: Array<Translation, 1> = Array::new();
#[btf_map]
static SNAT_FREE: Array<Ports, 1> = Array::new();
/// A packet's room: the stack is small.
#[btf_map]
static ROOM: PerCpuArray<[u64; Room::<V6>::BYTES / 8], 1> = PerCpuArray::new();
#[btf_map]
static ALLOWANCE: PerCpuArray<Allowance, 1> = PerCpuArray::new();
/// The programs that frames are handed on to.
#[btf_map]
pub static STAGES: ProgramArray<{ Stage::PROGRAMS }> = ProgramArray::new();
#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounters, 1> = PerCpuArray::new();
#[btf_map]
static REASON_COUNTERS: PerCpuArray<ReasonCounters, 1> = PerCpuArray::new();
#[btf_map]
static TABLE_COUNTERS: PerCpuArray<TableCounters, 1> = PerCpuArray::new();
/// Interfaces that frames may leave by.
#[btf_map]
static DEVICES: DevMapHash<64> = DevMapHash::new();

/// The kernel's maps. `FULL`: with what kernels older than `xdp.frags` lack (atomic operations that tell the old value,
/// Linux 5.12, which `snat` needs); the daemon refuses there what needs it.
pub struct Kernel<const FULL: bool>;

/// An entry of an LRU map, shared with other CPUs. Never null, so that there is no `Option` of it but one word.
pub struct KernelFlow(NonNull<Flow>);

impl FlowRef for KernelFlow {
    #[inline(always)]
    fn read(&self) -> Flow {
        // SAFETY: a live element of a preallocated map; its memory stays mapped even if it is evicted meanwhile.
        unsafe { read_volatile(self.0.as_ptr()) }
    }

    #[inline(always)]
    fn touch(&self, now_ns: u64, sender: Sender, fin: bool, rst: bool) {
        // SAFETY: as in `read`; each field is written whole, by plain stores, and the last writer may win.
        unsafe {
            addr_of_mut!((*self.0.as_ptr()).seen_ns).write_volatile(now_ns);
            if fin {
                match sender {
                    Sender::Client => addr_of_mut!((*self.0.as_ptr()).client_fin).write_volatile(1),
                    Sender::Backend => addr_of_mut!((*self.0.as_ptr()).backend_fin).write_volatile(1),
                }
            }
            if rst {
                addr_of_mut!((*self.0.as_ptr()).end).write_volatile(Flow::RESET);
            } else if matches!(sender, Sender::Backend)
                && read_volatile(addr_of!((*self.0.as_ptr()).end)) == Flow::RESET
            {
                addr_of_mut!((*self.0.as_ptr()).end).write_volatile(0);
            }
        }
    }
}

/// An entry of the array of ports, shared with other CPUs.
pub struct KernelTranslation(*mut Translation);

impl TranslationRef for KernelTranslation {
    #[inline(always)]
    fn key(&self) -> FlowKey {
        // SAFETY: an element of an array lives as long as the map.
        unsafe { read_volatile(addr_of!((*self.0).key)) }
    }

    #[inline(always)]
    fn state(&self) -> u64 {
        // SAFETY: as in `key`.
        unsafe { read_volatile(addr_of!((*self.0).state)) }
    }

    #[inline(always)]
    fn backend(&self) -> BackendId {
        // SAFETY: as in `key`.
        unsafe { read_volatile(addr_of!((*self.0).backend)) }
    }

    #[inline(always)]
    fn cpu(&self) -> u16 {
        // SAFETY: as in `key`.
        unsafe { read_volatile(addr_of!((*self.0).cpu)) }
    }

    #[inline(always)]
    fn seen_ns(&self) -> u64 {
        // SAFETY: as in `key`.
        unsafe { read_volatile(addr_of!((*self.0).seen_ns)) }
    }

    #[inline(always)]
    fn closed_ns(&self) -> u64 {
        // SAFETY: as in `key`.
        unsafe { read_volatile(addr_of!((*self.0).closed_ns)) }
    }

    #[inline(always)]
    fn begin(&self, key: &FlowKey, backend: BackendId, state: u64, now_ns: u64) {
        // SAFETY: as in `key`; the port is this CPU's alone until a packet of the new connection has left.
        unsafe {
            addr_of_mut!((*self.0).key).write_volatile(*key);
            addr_of_mut!((*self.0).backend).write_volatile(backend);
            addr_of_mut!((*self.0).seen_ns).write_volatile(now_ns);
            addr_of_mut!((*self.0).since_ns).write_volatile(now_ns);
            addr_of_mut!((*self.0).state).write_volatile(state);
        }
    }

    #[inline(always)]
    fn touch(&self, now_ns: u64) {
        // SAFETY: as in `key`; written whole, and the last writer may win.
        unsafe { addr_of_mut!((*self.0).seen_ns).write_volatile(now_ns) };
    }

    #[inline(always)]
    fn rest(&self, now_ns: u64) {
        // SAFETY: as in `touch`.
        unsafe { addr_of_mut!((*self.0).closed_ns).write_volatile(now_ns) };
    }

    #[inline(always)]
    fn mark(&self, bits: u64) -> u64 {
        let mut old = bits;
        // SAFETY: as in `key`; the word is aligned. (The BPF target has atomics, `core` does not offer them there; Linux
        // 5.12.)
        unsafe {
            let state = addr_of_mut!((*self.0).state);
            asm!("{0} = atomic_fetch_or((u64 *)({1} + 0), {0})", inout(reg) old, in(reg) state);
        }
        old
    }
}

/// The trie's key, where the verifier wants to see it on the stack: aligned.
#[repr(C, align(8))]
struct AlignedKey {
    length: u32,
    key: RuleKey,
}

/// Sends the frame out on an interface's link.
///
/// A miss is ABORTED: tracepoint xdp:xdp_exception shows what the daemon should have made impossible. Without `xdp.frags`
/// the map is not asked: before Linux 5.15 no program that names one with room for programs is taken in generic mode
/// (`dev_map_can_have_prog` in `generic_xdp_install`).
#[inline(always)]
pub fn redirect<const FRAGS: bool>(interface: u32) -> u32 {
    if FRAGS {
        return DEVICES.redirect(interface, 0).unwrap_or(xdp_action::XDP_ABORTED);
    }
    // SAFETY: a number is all it takes.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// This CPU's room for a packet.
#[inline(always)]
pub fn room<F: Family>() -> Option<&'static mut Room<F>> {
    // SAFETY: large enough and aligned for either family's, any bytes will do for it, and it is this CPU's alone: XDP
    // programs of one CPU run one at a time.
    ROOM.get_ptr_mut(0).map(|room| unsafe { &mut *room.cast::<Room<F>>() })
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
            Exceptions::Previews => {
                let $map = &PREVIEWS;
                $call
            }
        }
    };
}

impl<const FULL: bool> Tables for Kernel<FULL> {
    type Flow = KernelFlow;
    type Translation = KernelTranslation;

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
    fn rule(&self, side: u32, service: u32, client: &Addr) -> Option<u32> {
        let key = AlignedKey { length: RuleKey::WHOLE, key: RuleKey::new(side, service, client) };
        // SAFETY: the same bytes in the same order; the map's own key type is packed.
        RULES.get(unsafe { &*addr_of!(key).cast::<Key<RuleKey>>() }).copied()
    }

    #[inline(always)]
    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<KernelFlow> {
        exceptions!(table, map => map.get_ptr_mut(key)).and_then(NonNull::new).map(KernelFlow)
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
    fn allowed(&self, now_ns: u64) -> bool {
        own(ALLOWANCE.get_ptr_mut(0)).is_some_and(|allowance| allowance.take(now_ns))
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: as for `KernelFlow`.
        FRAGMENTS.get_ptr_mut(key).map(|entry| unsafe { read_volatile(entry) })
    }

    #[inline(always)]
    fn remember(&self, key: &FragmentKey, fragment: &Fragment) {
        // Refused: the later ones are dropped and counted.
        let _ = FRAGMENTS.insert(key, fragment, 0);
    }

    #[inline(always)]
    fn port_of(&self, key: &FlowKey) -> Option<u16> {
        // SAFETY: as for `KernelFlow`.
        SNAT_CLIENTS.get_ptr_mut(key).map(|port| unsafe { read_volatile(port) } as u16)
    }

    #[inline(always)]
    fn set_port_of(&self, key: &FlowKey, port: u16) -> bool {
        SNAT_CLIENTS.insert(key, u32::from(port), 0).is_ok()
    }

    #[inline(always)]
    fn forget_port_of(&self, key: &FlowKey) {
        let _ = SNAT_CLIENTS.remove(key);
    }

    #[inline(always)]
    fn translation(&self, port: u16) -> Option<KernelTranslation> {
        if !FULL {
            return None;
        }
        SNAT_PORTS.get_ptr_mut(port.into()).map(KernelTranslation)
    }

    #[inline(always)]
    fn take_port(&self, now_ns: u64) -> Option<u16> {
        // SAFETY: no arguments, no side effects.
        let queue = SNAT_FREE.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })?;
        // SAFETY: an element of an array lives as long as the map; the head is this CPU's, the tail is read whole.
        let (head, tail) = unsafe { ((*queue).head, read_volatile(addr_of!((*queue).tail))) };
        if head == tail {
            return None;
        }
        // SAFETY: as above; the position is inside.
        let place = unsafe { addr_of_mut!((*queue).ports[head as usize & 0xffff]) };
        // SAFETY: as above. 0: the CPU that gives it has counted the tail on, and not written yet.
        let port = unsafe { read_volatile(place) };
        if port == 0 {
            return None;
        }
        let entry = self.translation(port)?;
        if !Translation::rested(entry.state(), now_ns.saturating_sub(entry.closed_ns())) {
            return None;
        }
        // SAFETY: as above.
        unsafe {
            place.write_volatile(0);
            addr_of_mut!((*queue).head).write_volatile(head.wrapping_add(1));
        }
        Some(port)
    }

    #[inline(always)]
    fn give_port(&self, cpu: u16, port: u16) {
        let Some(queue) = SNAT_FREE.get_ptr_mut(cpu.into()) else { return };
        // SAFETY: as in `take_port`; each giver gets a position of its own, and there are as many as ports.
        unsafe {
            let mut tail = 1_u64;
            let counted = addr_of_mut!((*queue).tail);
            asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) tail, in(reg) counted);
            addr_of_mut!((*queue).ports[tail as usize & 0xffff]).write_volatile(port);
        }
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
