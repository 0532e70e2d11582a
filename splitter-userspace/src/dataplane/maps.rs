//! Typed handles on the program's maps.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key, xdp::DevMapHash},
};
use splitter_common::{
    abi::{
        Backend, BackendCounters, Control, Displacements, Endpoints, Flow, FlowKey, Fragment, FragmentKey,
        Neighbours, Ports, ReasonCounters, RouteTable, RuleKey, ServiceTable, TableCounters, Translation,
        names, sided,
    },
    reason::REASONS,
    slot::BackendId,
    tables::Exceptions,
};

use super::{Error, batch};
use crate::config::Prefix;

/// Every map of the program.
pub struct Maps {
    control: Array<MapData, Control>,
    endpoint_buckets: Array<MapData, Displacements>,
    endpoints: Array<MapData, Endpoints>,
    neighbour_buckets: Array<MapData, Displacements>,
    neighbours: Array<MapData, Neighbours>,
    services: Array<MapData, ServiceTable>,
    backends: Array<MapData, Backend>,
    routes: Array<MapData, RouteTable>,
    flows: ExceptionTable,
    embryonic: ExceptionTable,
    previews: ExceptionTable,
    fragments: HashMap<MapData, FragmentKey, Fragment>,
    rules: LpmTrie<MapData, RuleKey, u32>,
    snat_clients: HashMap<MapData, FlowKey, u32>,
    snat_ports: Array<MapData, Translation>,
    /// A descriptor of the same, for batch reads.
    snat_descriptor: OwnedFd,
    snat_free: Array<MapData, Ports>,
    backend_counters: PerCpuArray<MapData, BackendCounters>,
    reason_counters: PerCpuArray<MapData, ReasonCounters>,
    table_counters: PerCpuArray<MapData, TableCounters>,
    devices: DevMapHash<MapData>,
}

/// A table of exceptions, with a descriptor for batch reads.
struct ExceptionTable {
    name: &'static str,
    map: HashMap<MapData, FlowKey, Flow>,
    descriptor: OwnedFd,
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub fn take(object: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            control: typed(object, names::CONTROL)?,
            endpoint_buckets: typed(object, names::ENDPOINT_BUCKETS)?,
            endpoints: typed(object, names::ENDPOINTS)?,
            neighbour_buckets: typed(object, names::NEIGHBOUR_BUCKETS)?,
            neighbours: typed(object, names::NEIGHBOURS)?,
            services: typed(object, names::SERVICES)?,
            backends: typed(object, names::BACKENDS)?,
            routes: typed(object, names::ROUTES)?,
            flows: ExceptionTable::take(object, names::FLOWS)?,
            embryonic: ExceptionTable::take(object, names::EMBRYONIC)?,
            previews: ExceptionTable::take(object, names::PREVIEWS)?,
            fragments: typed(object, names::FRAGMENTS)?,
            rules: typed(object, names::RULES)?,
            snat_clients: typed(object, names::SNAT_CLIENTS)?,
            snat_descriptor: descriptor(object.map(names::SNAT_PORTS), names::SNAT_PORTS)?,
            snat_ports: typed(object, names::SNAT_PORTS)?,
            snat_free: typed(object, names::SNAT_FREE)?,
            backend_counters: typed(object, names::BACKEND_COUNTERS)?,
            reason_counters: typed(object, names::REASON_COUNTERS)?,
            table_counters: typed(object, names::TABLE_COUNTERS)?,
            devices: typed(object, names::DEVICES)?,
        })
    }

    pub fn set_control(&mut self, value: &Control) -> Result<(), Error> {
        self.control.set(0, value, 0).map_err(of(names::CONTROL))
    }

    pub fn set_endpoint_buckets(&mut self, index: u32, value: &Displacements) -> Result<(), Error> {
        self.endpoint_buckets.set(index, value, 0).map_err(of(names::ENDPOINT_BUCKETS))
    }

    pub fn set_endpoints(&mut self, index: u32, value: &Endpoints) -> Result<(), Error> {
        self.endpoints.set(index, value, 0).map_err(of(names::ENDPOINTS))
    }

    pub fn set_neighbour_buckets(&mut self, index: u32, value: &Displacements) -> Result<(), Error> {
        self.neighbour_buckets.set(index, value, 0).map_err(of(names::NEIGHBOUR_BUCKETS))
    }

    pub fn set_neighbours(&mut self, index: u32, value: &Neighbours) -> Result<(), Error> {
        self.neighbours.set(index, value, 0).map_err(of(names::NEIGHBOURS))
    }

    pub fn set_service(&mut self, index: u32, value: &ServiceTable) -> Result<(), Error> {
        self.services.set(index, value, 0).map_err(of(names::SERVICES))
    }

    pub fn set_backend(&mut self, index: u32, value: &Backend) -> Result<(), Error> {
        self.backends.set(index, value, 0).map_err(of(names::BACKENDS))
    }

    pub fn set_routes(&mut self, index: u32, value: &RouteTable) -> Result<(), Error> {
        self.routes.set(index, value, 0).map_err(of(names::ROUTES))
    }

    pub fn set_rule(
        &mut self,
        side: u32,
        service: u32,
        prefix: Prefix,
        table: Option<u32>,
    ) -> Result<(), Error> {
        let length = RuleKey::prefix_length(prefix.address.is_ipv4(), prefix.length);
        let key = Key::new(length, RuleKey::new(side, service, &prefix.address.into()));
        let done = match table {
            Some(number) => self.rules.insert(&key, number, 0),
            None => match self.rules.remove(&key) {
                Err(error) if is_missing(&error) => Ok(()),
                done => done,
            },
        };
        done.map_err(of(names::RULES))
    }

    /// The connection at a port in mode `snat`.
    pub fn translation(&self, port: u16) -> Result<Translation, Error> {
        self.snat_ports.get(&port.into(), 0).map_err(of(names::SNAT_PORTS))
    }

    /// Every port's connection, in the ports' order.
    pub fn translations(&self) -> Result<Vec<(u32, Translation)>, Error> {
        let map = names::SNAT_PORTS;
        batch::entries(self.snat_descriptor.as_fd()).map_err(|source| Error::Batch { map, source })
    }

    pub fn set_translation(&mut self, port: u16, value: &Translation) -> Result<(), Error> {
        self.snat_ports.set(port.into(), value, 0).map_err(of(names::SNAT_PORTS))
    }

    pub fn free_ports(&self, cpu: u32) -> Result<Ports, Error> {
        self.snat_free.get(&cpu, 0).map_err(of(names::SNAT_FREE))
    }

    pub fn set_free_ports(&mut self, cpu: u32, value: &Ports) -> Result<(), Error> {
        self.snat_free.set(cpu, value, 0).map_err(of(names::SNAT_FREE))
    }

    pub fn port_of(&self, key: &FlowKey) -> Result<Option<u16>, Error> {
        found(self.snat_clients.get(key, 0))
            .map(|port| port.map(|port| port as u16))
            .map_err(of(names::SNAT_CLIENTS))
    }

    pub fn set_port_of(&mut self, key: &FlowKey, port: u16) -> Result<(), Error> {
        self.snat_clients.insert(key, u32::from(port), 0).map_err(of(names::SNAT_CLIENTS))
    }

    pub fn forget_ports(&mut self) -> Result<(), Error> {
        let keys: Vec<FlowKey> =
            self.snat_clients.keys().collect::<Result<_, _>>().map_err(of(names::SNAT_CLIENTS))?;
        keys.iter().try_for_each(|key| self.snat_clients.remove(key)).map_err(of(names::SNAT_CLIENTS))
    }

    /// Every packet in fragments that is remembered.
    pub fn fragments(&self) -> Result<Vec<(FragmentKey, Fragment)>, Error> {
        self.fragments.iter().collect::<Result<_, _>>().map_err(of(names::FRAGMENTS))
    }

    pub fn set_fragment(&mut self, key: &FragmentKey, value: &Fragment) -> Result<(), Error> {
        self.fragments.insert(key, value, 0).map_err(of(names::FRAGMENTS))
    }

    pub fn forget_fragments(&mut self) -> Result<(), Error> {
        let keys: Vec<FragmentKey> =
            self.fragments.keys().collect::<Result<_, _>>().map_err(of(names::FRAGMENTS))?;
        keys.iter().try_for_each(|key| self.fragments.remove(key)).map_err(of(names::FRAGMENTS))
    }

    pub fn allow_device(&mut self, index: u32) -> Result<(), Error> {
        self.devices.insert(index, index, None, 0).map_err(|error| {
            Error::Attach(format!(
                "interface number {index} cannot be made one that frames may leave by: {error}"
            ))
        })
    }

    pub fn service(&self, side: u32, number: u32) -> Result<ServiceTable, Error> {
        self.services.get(&sided(number, side), 0).map_err(of(names::SERVICES))
    }

    pub fn backend_counters(&self, id: BackendId) -> Result<BackendCounters, Error> {
        let values = self.backend_counters.get(&id.get().into(), 0).map_err(of(names::BACKEND_COUNTERS))?;
        Ok(values.iter().fold(BackendCounters::default(), |sum, one| BackendCounters {
            packets_in: sum.packets_in + one.packets_in,
            bytes_in: sum.bytes_in + one.bytes_in,
            packets_out: sum.packets_out + one.packets_out,
            bytes_out: sum.bytes_out + one.bytes_out,
            connections: sum.connections + one.connections,
        }))
    }

    pub fn reason_counters(&self, service: u32) -> Result<ReasonCounters, Error> {
        let values = self.reason_counters.get(&service, 0).map_err(of(names::REASON_COUNTERS))?;
        let mut sums = [0; REASONS];
        for one in values.iter() {
            sums.iter_mut().zip(one).for_each(|(sum, count)| *sum += count);
        }
        Ok(sums)
    }

    pub fn table_counters(&self) -> Result<TableCounters, Error> {
        let values = self.table_counters.get(&0, 0).map_err(of(names::TABLE_COUNTERS))?;
        Ok(values.iter().fold(TableCounters::default(), |sum, one| TableCounters {
            recorded: sum.recorded + one.recorded,
            embryonic: sum.embryonic + one.embryonic,
            promoted: sum.promoted + one.promoted,
            forgotten_flows: sum.forgotten_flows + one.forgotten_flows,
            forgotten_embryonic: sum.forgotten_embryonic + one.forgotten_embryonic,
            missed: sum.missed + one.missed,
            failed: sum.failed + one.failed,
        }))
    }

    pub fn recorded(&self, table: Exceptions) -> Result<Vec<(FlowKey, Flow)>, Error> {
        let table = self.table(table);
        batch::entries(table.descriptor.as_fd()).map_err(|source| Error::Batch { map: table.name, source })
    }

    pub fn lookup(&self, table: Exceptions, key: &FlowKey) -> Result<Option<Flow>, Error> {
        let table = self.table(table);
        found(table.map.get(key, 0)).map_err(of(table.name))
    }

    pub fn remove(&mut self, table: Exceptions, key: &FlowKey) -> Result<bool, Error> {
        let table = self.table_mut(table);
        match table.map.remove(key) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(Error::Map { map: table.name, source }),
        }
    }

    pub fn insert(&mut self, table: Exceptions, key: &FlowKey, flow: &Flow) -> Result<(), Error> {
        let table = self.table_mut(table);
        table.map.insert(key, flow, 0).map_err(of(table.name))
    }

    const fn table(&self, table: Exceptions) -> &ExceptionTable {
        match table {
            Exceptions::Flows => &self.flows,
            Exceptions::Embryonic => &self.embryonic,
            Exceptions::Previews => &self.previews,
        }
    }

    const fn table_mut(&mut self, table: Exceptions) -> &mut ExceptionTable {
        match table {
            Exceptions::Flows => &mut self.flows,
            Exceptions::Embryonic => &mut self.embryonic,
            Exceptions::Previews => &mut self.previews,
        }
    }
}

impl ExceptionTable {
    fn take(object: &mut Ebpf, name: &'static str) -> Result<Self, Error> {
        let descriptor = descriptor(object.map(name), name)?;
        let map = take(object, name)?;
        Ok(Self { name, map: HashMap::try_from(map).map_err(of(name))?, descriptor })
    }
}

/// `None` for what is not there.
fn found<V>(answer: Result<V, MapError>) -> Result<Option<V>, MapError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// A descriptor of a map that can be read in batches.
fn descriptor(map: Option<&Map>, name: &'static str) -> Result<OwnedFd, Error> {
    let Some(Map::LruHashMap(data) | Map::HashMap(data) | Map::Array(data)) = map else {
        return Err(Error::Load(format!("the program has no map {name} that can be read in batches")));
    };
    let copy = data.fd().as_fd().try_clone_to_owned();
    copy.map_err(|error| Error::Load(format!("cannot keep a descriptor of map {name}: {error}")))
}

fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    object.take_map(name).ok_or_else(|| Error::Load(format!("the program has no map {name}")))
}

fn typed<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &'static str) -> Result<M, Error> {
    M::try_from(take(object, name)?).map_err(of(name))
}

fn of(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::Map { map, source }
}
