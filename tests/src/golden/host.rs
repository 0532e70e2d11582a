//! The packet path on the host: over a mirror of the kernel's maps, filled by the very writes that fill those.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use anyhow::Result;
use splitter_common::{
    abi::{
        Backend, BackendCounters, DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint,
        Endpoints, Flow, FlowKey, Neighbour, Neighbours, ReasonCounters, RouteTable, ServiceTable, Side,
        TableCounters,
    },
    pipeline::{Action, process},
    reason::{REASONS, Reason},
    slot::BackendId,
    tables::{Exceptions, FlowRef, Live, Sender, TableEvent, Tables},
};
use splitter_userspace::image::{self, Image, Operation};

use super::{
    outcome::{Counters, Outcome},
    scenario::{Scenario, Verdict},
    setting::Setting,
};

/// Where the host's clock stands: any time will do.
const NOW_NS: u64 = 1_000_000_000_000_000;

/// The interface that packets come in by; the kernel's test runs use the loopback's number.
pub const INGRESS: u32 = 1;

/// Runs a scenario's packet through `splitter_common::pipeline`, and compares.
///
/// # Errors
/// The scenario makes no sense, or something differs from what it says.
pub fn run(scenario: &Scenario) -> Result<()> {
    let setting = Setting::of(scenario)?;
    let mirror = Mirror::of(&setting.image);
    for entry in &scenario.entries {
        let (table, key, flow) = setting.entry(entry, NOW_NS)?;
        mirror.record(table, &key, &flow);
    }
    let mut frame = scenario.frame_in()?;
    let verdict = match process(&mut frame[..], &mirror).action() {
        Action::Pass => Verdict::Pass,
        Action::Drop => Verdict::Drop,
        Action::Return | Action::Send(INGRESS) => Verdict::Tx,
        Action::Send(_) => Verdict::Redirect,
    };
    mirror.outcome(verdict, frame, &setting).check(scenario, &setting)
}

/// The kernel's maps.
struct Mirror {
    side: Side,
    endpoint_buckets: HashMap<u32, Box<Displacements>>,
    endpoints: HashMap<u32, Box<Endpoints>>,
    neighbour_buckets: HashMap<u32, Box<Displacements>>,
    neighbours: HashMap<u32, Box<Neighbours>>,
    services: HashMap<u32, std::sync::Arc<ServiceTable>>,
    backends: HashMap<u16, Backend>,
    routes: [RouteTable; 2],
    flows: Table,
    embryonic: Table,
    backend_counters: RefCell<HashMap<u16, BackendCounters>>,
    reason_counters: RefCell<HashMap<u32, ReasonCounters>>,
    table_counters: RefCell<TableCounters>,
}

type Table = RefCell<HashMap<FlowKey, Shared>>;

/// An entry, changed in place.
#[derive(Clone)]
struct Shared(Rc<Cell<Flow>>);

impl Mirror {
    fn of(image: &Image) -> Self {
        let mut mirror = Self {
            side: image.side(),
            endpoint_buckets: HashMap::new(),
            endpoints: HashMap::new(),
            neighbour_buckets: HashMap::new(),
            neighbours: HashMap::new(),
            services: HashMap::new(),
            backends: HashMap::new(),
            routes: [RouteTable::EMPTY; 2],
            flows: Table::default(),
            embryonic: Table::default(),
            backend_counters: RefCell::default(),
            reason_counters: RefCell::default(),
            table_counters: RefCell::default(),
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
        }
    }

    fn table(&self, table: Exceptions) -> &Table {
        match table {
            Exceptions::Flows => &self.flows,
            Exceptions::Embryonic => &self.embryonic,
        }
    }

    fn outcome(&self, verdict: Verdict, frame: Vec<u8>, setting: &Setting) -> Outcome {
        let (backends, reasons) = (self.backend_counters.borrow(), self.reason_counters.borrow());
        let counters = Counters::new(
            setting.backends().map(|(name, id)| (name, backends.get(&id.get()).copied().unwrap_or_default())),
            setting.services.iter().map(|service| {
                (service.spec.name.clone(), reasons.get(&service.number).copied().unwrap_or([0; REASONS]))
            }),
            &self.table_counters.borrow(),
        );
        let mut entries = Vec::new();
        for table in [Exceptions::Flows, Exceptions::Embryonic] {
            entries.extend(self.table(table).borrow().iter().map(|(key, flow)| (table, *key, flow.read())));
        }
        Outcome { verdict, frame, counters, entries, now_ns: NOW_NS }
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

/// An element of a page, or that of an array that nobody has written to.
fn element<T: Copy, const N: usize>(pages: &HashMap<u32, Box<[T; N]>>, index: u32) -> Option<&T> {
    pages.get(&(index / N as u32))?.get(index as usize % N)
}

impl Tables for Mirror {
    type Flow = Shared;

    fn live(&self) -> Option<Live<'_>> {
        Some(Live { side: 1, sizes: &self.side })
    }

    fn endpoint_displacement(&self, _: u32, bucket: u32) -> Option<u32> {
        let page: Option<&u32> = element::<_, DISPLACEMENTS_PER_PAGE>(&self.endpoint_buckets, bucket);
        Some(page.copied().unwrap_or_default())
    }

    fn endpoint(&self, _: u32, position: u32) -> Option<&Endpoint> {
        element::<_, ENTRIES_PER_PAGE>(&self.endpoints, position)
    }

    fn neighbour_displacement(&self, _: u32, bucket: u32) -> Option<u32> {
        let page: Option<&u32> = element::<_, DISPLACEMENTS_PER_PAGE>(&self.neighbour_buckets, bucket);
        Some(page.copied().unwrap_or_default())
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

    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<Shared> {
        self.table(table).borrow().get(key).cloned()
    }

    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool {
        self.table(table).borrow_mut().insert(*key, Shared(Rc::new(Cell::new(*flow))));
        true
    }

    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool {
        self.table(table).borrow_mut().remove(key).is_some()
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
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
