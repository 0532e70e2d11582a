//! The maps in memory: what [`Tables`] asks for, with tables of exceptions of any size and a clock that is set.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use splitter_common::{
    abi::{
        Backend, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Hop, Neighbour, Route, RouteTable,
        ServiceTable, Side, TableCounters, Way,
    },
    hash::{SLOTS, Spot},
    net::{Addr, Transport},
    reason::{REASONS, Reason},
    slot::{BackendId, Slot},
    tables::{Exceptions, FlowRef, Live, Sender, TableEvent, Tables, TranslationRef},
};

use super::network::{BACKENDS, Family, KEY, port};

/// Positions of the endpoint directory: so many that a seed without collisions is found at once.
const POSITIONS: u32 = 1024;

/// What both halves of splitter share.
pub struct Memory {
    /// The service and its slots.
    pub service: Box<ServiceTable>,
    /// Recorded exceptions.
    pub flows: RefCell<Lru>,
    /// Connections that have sent a SYN only.
    pub embryonic: RefCell<Lru>,
    /// What happened to both.
    pub counters: RefCell<TableCounters>,
    /// The service's packets by reason.
    pub reasons: RefCell<[u64; REASONS]>,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
    side: Side,
    endpoints: Vec<Endpoint>,
    backends: Vec<Backend>,
    family: Family,
    routes: RouteTable,
}

impl Memory {
    /// A service with all slots CLEAN and without a backend.
    pub fn new(family: Family, idle_timeout_ns: u64, flows: Lru, embryonic: Lru) -> Self {
        let slots = [Slot::default(); SLOTS];
        let (side, endpoints) = directory(family);
        let mut memory = Self {
            service: Box::new(ServiceTable::new(KEY, idle_timeout_ns, ServiceTable::REJECT, u32::MAX, slots)),
            flows: RefCell::new(flows),
            embryonic: RefCell::new(embryonic),
            counters: RefCell::default(),
            reasons: RefCell::new([0; REASONS]),
            now_ns: 1_000_000_000_000,
            side,
            endpoints,
            backends: Vec::new(),
            family,
            routes: default_route(),
        };
        memory.backends = (1..=BACKENDS).map(|id| memory.backend_entry(BackendId::new(id), true)).collect();
        memory
    }

    /// A backend's connections can be kept, or not.
    pub fn set_alive(&mut self, id: BackendId, alive: bool) {
        self.backends[usize::from(id.get()) - 1] = self.backend_entry(id, alive);
    }

    /// One of the tables of exceptions.
    pub fn table(&self, table: Exceptions) -> &RefCell<Lru> {
        match table {
            Exceptions::Flows => &self.flows,
            Exceptions::Embryonic => &self.embryonic,
            Exceptions::Previews => unreachable!("the model has no preview listener"),
        }
    }

    fn backend_entry(&self, id: BackendId, alive: bool) -> Backend {
        let (service, backend) = (self.family.service(), self.family.backend(id));
        let way = Way { hop: Hop::new(1, [1; 6], [id.get() as u8; 6]), ..Way::UNKNOWN };
        let virtual_endpoint = (service.ip().into(), port(service));
        Backend::new(
            0,
            virtual_endpoint,
            (backend.ip().into(), port(backend)),
            way,
            if alive { Backend::ALIVE } else { 0 },
        )
    }
}

fn default_route() -> RouteTable {
    let any = Addr::UNSPECIFIED;
    let mut routes = RouteTable::EMPTY;
    routes.count = 1;
    routes.routes[0] = Route::new(any, any, Route::VIA, Hop::new(1, [1; 6], [9; 6]), 1500);
    routes
}

/// A directory without displacements: a seed is looked for that needs none.
fn directory(family: Family) -> (Side, Vec<Endpoint>) {
    let service = family.service();
    let mut entries = vec![
        Endpoint::service(service.ip().into(), port(service), Transport::Tcp, 0),
        Endpoint::address(service.ip().into(), 0),
    ];
    entries.extend((1..=BACKENDS).map(BackendId::new).map(|id| {
        let backend = family.backend(id);
        Endpoint::backend(backend.ip().into(), port(backend), Transport::Tcp, id)
    }));
    let place = |seed: u64| {
        let mut placed = vec![Endpoint::default(); POSITIONS as usize];
        for entry in &entries {
            let (address, rest) = entry.key();
            let place = &mut placed[Spot::of(seed, address, rest).position(0, POSITIONS - 1) as usize];
            if *place != Endpoint::default() {
                return None;
            }
            *place = *entry;
        }
        Some(placed)
    };
    let found = (0..).find_map(|seed| Some((seed, place(seed)?)));
    let (endpoint_seed, endpoints) = found.expect("a handful of keys finds room");
    (Side { endpoint_seed, endpoint_position_mask: POSITIONS - 1, ..Side::default() }, endpoints)
}

/// A table that forgets the entry not used for longest when it is full; one without room refuses instead.
#[derive(Default)]
pub struct Lru {
    capacity: usize,
    entries: HashMap<FlowKey, (Shared, u64)>,
    uses: u64,
    /// Whose entries had to make room.
    pub evicted: Vec<FlowKey>,
}

/// An entry, changed in place.
#[derive(Clone)]
pub struct Shared(Rc<Cell<Flow>>);

impl Lru {
    /// Room for so many entries.
    pub fn of(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// All entries, in the keys' order.
    pub fn all(&self) -> Vec<(FlowKey, Flow)> {
        let mut all: Vec<_> = self.entries.iter().map(|(key, (flow, _))| (*key, flow.read())).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    /// Removes an entry; false when there was none.
    pub fn remove(&mut self, key: &FlowKey) -> bool {
        self.entries.remove(key).is_some()
    }

    fn get(&mut self, key: &FlowKey) -> Option<Shared> {
        self.uses += 1;
        let (flow, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(flow.clone())
    }

    fn insert(&mut self, key: FlowKey, flow: Flow) -> bool {
        if self.capacity == 0 {
            return false;
        }
        self.uses += 1;
        if !self.entries.contains_key(&key) && self.entries.len() == self.capacity {
            self.evict();
        }
        self.entries.insert(key, (Shared(Rc::new(Cell::new(flow))), self.uses));
        true
    }

    fn evict(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.entries.remove(&key);
            self.evicted.push(key);
        }
    }
}

impl FlowRef for Shared {
    fn read(&self) -> Flow {
        self.0.get()
    }

    fn touch(&self, now_ns: u64, sender: Sender, fin: bool, rst: bool) {
        self.0.set(self.0.get().touched(now_ns, sender, fin, rst));
    }
}

/// The model has no service in mode `snat`.
pub enum NoTranslation {}

impl TranslationRef for NoTranslation {
    fn key(&self) -> FlowKey {
        match *self {}
    }

    fn state(&self) -> u64 {
        match *self {}
    }

    fn backend(&self) -> BackendId {
        match *self {}
    }

    fn cpu(&self) -> u16 {
        match *self {}
    }

    fn seen_ns(&self) -> u64 {
        match *self {}
    }

    fn closed_ns(&self) -> u64 {
        match *self {}
    }

    fn begin(&self, _: &FlowKey, _: BackendId, _: u64, _: u64) {
        match *self {}
    }

    fn touch(&self, _: u64) {
        match *self {}
    }

    fn rest(&self, _: u64) {
        match *self {}
    }

    fn mark(&self, _: u64) -> u64 {
        match *self {}
    }
}

impl Tables for Memory {
    type Flow = Shared;
    type Translation = NoTranslation;

    fn live(&self) -> Option<Live<'_>> {
        Some(Live { side: 0, sizes: &self.side })
    }

    fn endpoint_displacement(&self, _: u32, _: u32) -> Option<u32> {
        Some(0)
    }

    fn endpoint(&self, _: u32, position: u32) -> Option<&Endpoint> {
        self.endpoints.get(position as usize)
    }

    fn neighbour_displacement(&self, _: u32, _: u32) -> Option<u32> {
        None
    }

    fn neighbour(&self, _: u32, _: u32) -> Option<&Neighbour> {
        None
    }

    fn service(&self, _: u32, service: u32) -> Option<&ServiceTable> {
        (service == 0).then_some(&*self.service)
    }

    fn backend(&self, _: u32, backend: BackendId) -> Option<&Backend> {
        self.backends.get(usize::from(backend.get()).checked_sub(1)?)
    }

    fn routes(&self, _: u32, _: u32) -> Option<&RouteTable> {
        Some(&self.routes)
    }

    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<Shared> {
        self.table(table).borrow_mut().get(key)
    }

    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool {
        self.table(table).borrow_mut().insert(*key, *flow)
    }

    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool {
        self.table(table).borrow_mut().remove(key)
    }

    fn rule(&self, _: u32, _: u32, _: &Addr) -> Option<u32> {
        None
    }

    fn allowed(&self, _: u64) -> bool {
        true
    }

    fn fragment(&self, _: &FragmentKey) -> Option<Fragment> {
        None
    }

    fn remember(&self, _: &FragmentKey, _: &Fragment) {}

    fn port_of(&self, _: &FlowKey) -> Option<u16> {
        None
    }

    fn set_port_of(&self, _: &FlowKey, _: u16) -> bool {
        false
    }

    fn forget_port_of(&self, _: &FlowKey) {}

    fn translation(&self, _: u16) -> Option<NoTranslation> {
        None
    }

    fn take_port(&self, _: u64) -> Option<u16> {
        None
    }

    fn give_port(&self, _: u16, _: u16) {}

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn count_in(&self, _: BackendId, _: u64, _: bool) {}

    fn count_out(&self, _: BackendId, _: u64) {}

    fn count_reason(&self, _: u32, reason: Reason) {
        self.reasons.borrow_mut()[reason as usize] += 1;
    }

    fn count_table(&self, event: TableEvent) {
        let mut counters = self.counters.borrow_mut();
        *counters.of(event) += 1;
    }
}
