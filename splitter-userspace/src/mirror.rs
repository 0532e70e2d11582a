//! The kernel's maps on the host, filled by the very writes that fill those: what `splitter explain` and the tests run
//! the packet path over.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use splitter_common::{
    abi::{
        Backend, BackendCounters, DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint,
        Endpoints, Flow, FlowKey, Fragment, FragmentKey, Neighbour, Neighbours, ReasonCounters, RouteTable,
        ServiceTable, Side, TableCounters, Translation,
    },
    net::Addr,
    pipeline::{self, Action, Verdict},
    reason::{REASONS, Reason},
    slot::BackendId,
    tables::{Allowance, Exceptions, FlowRef, Live, Sender, TableEvent, Tables, TranslationRef},
};

use crate::{
    config::Prefix,
    image::{self, Image, Operation},
};

/// The kernel's maps.
pub struct Mirror {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
    /// Counters of backends, by id.
    pub backend_counters: RefCell<HashMap<u16, BackendCounters>>,
    /// Counters of services, by number.
    pub reason_counters: RefCell<HashMap<u32, ReasonCounters>>,
    /// Counters of the tables of exceptions.
    pub table_counters: RefCell<TableCounters>,
    /// What first fragments decided.
    pub fragments: RefCell<HashMap<FragmentKey, Fragment>>,
    /// Ports of connections in mode `snat`.
    pub ports: RefCell<HashMap<FlowKey, u16>>,
    /// Connections in mode `snat`, by port.
    pub translations: RefCell<HashMap<u16, SharedTranslation>>,
    /// Ports that are free, or about to be.
    pub free: RefCell<VecDeque<u16>>,
    side: Side,
    endpoint_buckets: HashMap<u32, Box<Displacements>>,
    endpoints: HashMap<u32, Box<Endpoints>>,
    neighbour_buckets: HashMap<u32, Box<Displacements>>,
    neighbours: HashMap<u32, Box<Neighbours>>,
    services: HashMap<u32, Arc<ServiceTable>>,
    backends: HashMap<u16, Backend>,
    routes: [RouteTable; 2],
    rules: HashMap<(u32, Prefix), u32>,
    exceptions: [RefCell<HashMap<FlowKey, SharedFlow>>; 3],
    allowance: Cell<Allowance>,
}

impl Mirror {
    /// What packets read under an image, at a time; no connection is recorded yet.
    pub fn of(image: &Image, now_ns: u64) -> Self {
        let mut mirror = Self {
            now_ns,
            backend_counters: RefCell::default(),
            reason_counters: RefCell::default(),
            table_counters: RefCell::default(),
            fragments: RefCell::default(),
            ports: RefCell::default(),
            translations: RefCell::default(),
            free: RefCell::default(),
            side: image.side(),
            endpoint_buckets: HashMap::new(),
            endpoints: HashMap::new(),
            neighbour_buckets: HashMap::new(),
            neighbours: HashMap::new(),
            services: HashMap::new(),
            backends: HashMap::new(),
            routes: [RouteTable::EMPTY; 2],
            rules: HashMap::new(),
            exceptions: Default::default(),
            allowance: Cell::default(),
        };
        image::diff(&Image::empty(), image).into_iter().for_each(|operation| mirror.write(operation));
        mirror
    }

    fn write(&mut self, operation: Operation) {
        match operation {
            Operation::Service(number, table) => drop(self.services.insert(number, table)),
            Operation::Backend(id, backend) => drop(self.backends.insert(id, backend)),
            Operation::EndpointBuckets(page, content) => drop(self.endpoint_buckets.insert(page, content)),
            Operation::Endpoints(page, content) => drop(self.endpoints.insert(page, content)),
            Operation::NeighbourBuckets(page, content) => drop(self.neighbour_buckets.insert(page, content)),
            Operation::Neighbours(page, content) => drop(self.neighbours.insert(page, content)),
            Operation::Routes(family, table) => self.routes[family as usize] = *table,
            Operation::Rule(service, prefix, Some(table)) => {
                let _ = self.rules.insert((service, prefix), table);
            }
            Operation::Rule(service, prefix, None) => {
                let _ = self.rules.remove(&(service, prefix));
            }
        }
    }

    /// One frame through all stages. Compiled here once, for everybody.
    pub fn process(&self, frame: &mut Vec<u8>) -> Action {
        pipeline::process(frame, self)
    }

    /// The rest of a frame's way after a verdict.
    pub fn follow(&self, frame: &mut Vec<u8>, verdict: Verdict) -> Action {
        pipeline::follow(frame, self, verdict)
    }

    /// Another slot table for a service.
    pub fn set_service(&mut self, number: u32, table: Arc<ServiceTable>) {
        self.services.insert(number, table);
    }

    /// All entries of a table of connections.
    pub fn entries(&self, table: Exceptions) -> Vec<(FlowKey, Flow)> {
        self.table(table).borrow().iter().map(|(key, flow)| (*key, flow.read())).collect()
    }

    /// A connection in mode `snat` has a port.
    pub fn set_translation(&self, port: u16, translation: Translation) {
        self.translations.borrow_mut().insert(port, SharedTranslation(Rc::new(Cell::new(translation))));
    }

    const fn table(&self, table: Exceptions) -> &RefCell<HashMap<FlowKey, SharedFlow>> {
        let [flows, embryonic, previews] = &self.exceptions;
        match table {
            Exceptions::Flows => flows,
            Exceptions::Embryonic => embryonic,
            Exceptions::Previews => previews,
        }
    }
}

/// An entry of a table of connections, changed in place.
#[derive(Clone)]
pub struct SharedFlow(Rc<Cell<Flow>>);

impl FlowRef for SharedFlow {
    fn read(&self) -> Flow {
        self.0.get()
    }

    fn touch(&self, now_ns: u64, sender: Sender, fin: bool, rst: bool) {
        self.0.set(self.0.get().touched(now_ns, sender, fin, rst));
    }
}

/// A connection in mode `snat`, changed in place.
#[derive(Clone)]
pub struct SharedTranslation(Rc<Cell<Translation>>);

impl SharedTranslation {
    /// What it says now.
    pub fn read(&self) -> Translation {
        self.0.get()
    }

    fn change(&self, change: impl FnOnce(&mut Translation)) {
        let mut translation = self.0.get();
        change(&mut translation);
        self.0.set(translation);
    }
}

impl TranslationRef for SharedTranslation {
    fn key(&self) -> FlowKey {
        self.0.get().key
    }

    fn state(&self) -> u64 {
        self.0.get().state
    }

    fn backend(&self) -> BackendId {
        self.0.get().backend
    }

    fn cpu(&self) -> u16 {
        self.0.get().cpu
    }

    fn seen_ns(&self) -> u64 {
        self.0.get().seen_ns
    }

    fn closed_ns(&self) -> u64 {
        self.0.get().closed_ns
    }

    fn begin(&self, key: &FlowKey, backend: BackendId, state: u64, now_ns: u64) {
        self.change(|it| {
            (it.key, it.backend, it.state, it.seen_ns, it.since_ns) = (*key, backend, state, now_ns, now_ns);
        });
    }

    fn touch(&self, now_ns: u64) {
        self.change(|it| it.seen_ns = now_ns);
    }

    fn rest(&self, now_ns: u64) {
        self.change(|it| it.closed_ns = now_ns);
    }

    fn mark(&self, bits: u64) -> u64 {
        let old = self.0.get().state;
        self.change(|it| it.state |= bits);
        old
    }
}

/// An element of a page.
fn element<T, const N: usize>(pages: &HashMap<u32, Box<[T; N]>>, index: u32) -> Option<&T> {
    pages.get(&(index / N as u32))?.get(index as usize % N)
}

/// That of a page of displacements; 0 in one that nobody has written to.
fn displacement(pages: &HashMap<u32, Box<Displacements>>, bucket: u32) -> Option<u32> {
    Some(element::<_, DISPLACEMENTS_PER_PAGE>(pages, bucket).copied().unwrap_or_default())
}

impl Tables for Mirror {
    type Flow = SharedFlow;
    type Translation = SharedTranslation;

    fn live(&self) -> Option<Live<'_>> {
        Some(Live { side: 0, sizes: &self.side })
    }

    fn endpoint_displacement(&self, _: u32, bucket: u32) -> Option<u32> {
        displacement(&self.endpoint_buckets, bucket)
    }

    fn endpoint(&self, _: u32, position: u32) -> Option<&Endpoint> {
        element::<_, ENTRIES_PER_PAGE>(&self.endpoints, position)
    }

    fn neighbour_displacement(&self, _: u32, bucket: u32) -> Option<u32> {
        displacement(&self.neighbour_buckets, bucket)
    }

    fn neighbour(&self, _: u32, position: u32) -> Option<&Neighbour> {
        element::<_, ENTRIES_PER_PAGE>(&self.neighbours, position)
    }

    fn service(&self, _: u32, service: u32) -> Option<&ServiceTable> {
        self.services.get(&service).map(|table| &**table)
    }

    fn backend(&self, _: u32, backend: BackendId) -> Option<&Backend> {
        self.backends.get(&backend.get())
    }

    fn routes(&self, _: u32, family: u32) -> Option<&RouteTable> {
        self.routes.get(family as usize)
    }

    fn rule(&self, _: u32, service: u32, client: &Addr) -> Option<u32> {
        let client = std::net::IpAddr::from(*client);
        let covering =
            self.rules.iter().filter(|((of, prefix), _)| *of == service && prefix.contains(client));
        covering.max_by_key(|((_, prefix), _)| prefix.length).map(|(_, table)| *table)
    }

    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<SharedFlow> {
        self.table(table).borrow().get(key).cloned()
    }

    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool {
        self.table(table).borrow_mut().insert(*key, SharedFlow(Rc::new(Cell::new(*flow))));
        true
    }

    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool {
        self.table(table).borrow_mut().remove(key).is_some()
    }

    fn allowed(&self, now_ns: u64) -> bool {
        let mut allowance = self.allowance.get();
        let allowed = allowance.take(now_ns);
        self.allowance.set(allowance);
        allowed
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember(&self, key: &FragmentKey, fragment: &Fragment) {
        self.fragments.borrow_mut().insert(*key, *fragment);
    }

    fn port_of(&self, key: &FlowKey) -> Option<u16> {
        self.ports.borrow().get(key).copied()
    }

    fn set_port_of(&self, key: &FlowKey, port: u16) -> bool {
        self.ports.borrow_mut().insert(*key, port);
        true
    }

    fn forget_port_of(&self, key: &FlowKey) {
        self.ports.borrow_mut().remove(key);
    }

    fn translation(&self, port: u16) -> Option<SharedTranslation> {
        let mut translations = self.translations.borrow_mut();
        let fresh = || SharedTranslation(Rc::new(Cell::new(Translation::free(0))));
        Some(translations.entry(port).or_insert_with(fresh).clone())
    }

    fn take_port(&self, now_ns: u64) -> Option<u16> {
        let front = *self.free.borrow().front()?;
        let entry = self.translation(front)?;
        if !Translation::rested(entry.state(), now_ns.saturating_sub(entry.closed_ns())) {
            return None;
        }
        self.free.borrow_mut().pop_front()
    }

    fn give_port(&self, _: u16, port: u16) {
        self.free.borrow_mut().push_back(port);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn count_in(&self, backend: BackendId, bytes: u64, opens: bool) {
        let mut counters = self.backend_counters.borrow_mut();
        let counters = counters.entry(backend.get()).or_default();
        counters.packets_in += 1;
        counters.bytes_in += bytes;
        counters.connections += u64::from(opens);
    }

    fn count_out(&self, backend: BackendId, bytes: u64) {
        let mut counters = self.backend_counters.borrow_mut();
        let counters = counters.entry(backend.get()).or_default();
        counters.packets_out += 1;
        counters.bytes_out += bytes;
    }

    fn count_reason(&self, service: u32, reason: Reason) {
        self.reason_counters.borrow_mut().entry(service).or_insert([0; REASONS])[reason as usize] += 1;
    }

    fn count_table(&self, event: TableEvent) {
        let mut counters = self.table_counters.borrow_mut();
        *counters.of(event) += 1;
    }
}
