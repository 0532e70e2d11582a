//! Answers to `status` and `stats`.

use std::collections::BTreeMap;

use splitter_common::{
    abi::{self, ServiceTable},
    hash::SLOTS,
    reason::{REASONS, Reason},
    slot::BackendId,
};

use super::{
    Engine,
    change::{failed, slots_of},
    fill::Fill,
    meter::{self, Window},
    now_ns,
    service::{Member, Service},
};
use crate::{
    api::model::{
        ApiError, BackendCounters, BackendStats, BackendStatus, InterfaceStatus, Live, Measured, PoolStatus,
        ReasonCount, ServiceStats, ServiceStatus, Stats, Status, TableStatus,
    },
    config::{PoolName, Protocol},
    dataplane::{Attachment, Error},
    net::Snapshot,
};

impl Engine {
    /// Everything, or one service.
    pub(super) fn status(&mut self, service: Option<&str>) -> Result<Status, ApiError> {
        let chosen = self.chosen(service)?;
        self.count_exceptions().map_err(|error| failed(&error))?;
        let services = chosen.iter().map(|index| self.service_status(*index)).collect::<Result<_, _>>();
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Ok(Status {
            generation: self.generation,
            kernel,
            program: self.data_plane.variant().name().into(),
            interfaces: self
                .attachments
                .iter()
                .map(|attachment| interface(attachment, &self.snapshot))
                .collect(),
            services: services.map_err(|error| failed(&error))?,
            tables: self.tables(),
            warnings: self.warnings.host.iter().chain(&self.warnings.network).cloned().collect(),
        })
    }

    /// All counters, or those of one service.
    pub(super) fn stats(&mut self, service: Option<&str>) -> Result<Stats, ApiError> {
        let chosen = self.chosen(service)?;
        self.sample();
        let services =
            chosen.iter().map(|index| self.service_stats(&self.services[*index])).collect::<Result<_, _>>();
        let tables = self.data_plane.table_counters().map_err(|error| failed(&error))?;
        Ok(Stats {
            generation: self.generation,
            services: services.map_err(|error| failed(&error))?,
            tables: named(&tables),
        })
    }

    fn chosen(&self, service: Option<&str>) -> Result<Vec<usize>, ApiError> {
        match service {
            None => Ok((0..self.services.len()).collect()),
            Some(name) => Ok(vec![self.service(name).ok_or_else(|| self.unknown_service(name))?]),
        }
    }

    fn tables(&self) -> Vec<TableStatus> {
        let daemon = &self.config.daemon;
        let of = |name: &str, fill: &Fill, capacity: u32| TableStatus {
            name: name.into(),
            entries: fill.entries,
            capacity: capacity.into(),
            evicted: fill.evicted,
        };
        let exceptions = [
            of("flow", &self.flows, daemon.flow_table),
            of("embryonic", &self.embryonic, daemon.embryonic_table),
        ];
        let ports = self.translates().then(|| of("snat", &self.taken_ports, self.snat_ports));
        exceptions.into_iter().chain(ports).collect()
    }

    fn service_status(&self, index: usize) -> Result<ServiceStatus, Error> {
        let service = &self.services[index];
        let table = self.data_plane.read_back(service.number)?;
        let window = self.meter.window(service.changed_ns);
        let begun = |wanted: &dyn Fn(&Member) -> bool| begun(service, &window, wanted);
        let all = begun(&|_| true);
        let live = self.live(service);
        let pool = |name: &PoolName| self.pool_status(service, *name, &table, &window, all, &live);
        let split = service.release.current();
        Ok(ServiceStatus {
            name: service.spec.name.clone(),
            address: service.spec.address,
            port: service.spec.port,
            protocol: service.spec.protocol.to_string(),
            mode: service.spec.mode.to_string(),
            stable: split.stable,
            generation: service.generation,
            slots: service.counts(),
            settled: service.settled(),
            rollback_to: service.release.rollback_to().cloned(),
            connections_per_second: rate(all, window.seconds),
            pools: service.spec.pools.keys().map(pool).collect(),
        })
    }

    fn pool_status(
        &self,
        service: &Service,
        name: PoolName,
        table: &ServiceTable,
        window: &Window,
        all: u64,
        live: &BTreeMap<BackendId, Live>,
    ) -> PoolStatus {
        let weight = service.release.current().weights.get(&name).copied().unwrap_or_default();
        let own = begun(service, window, &|member| member.pool == name);
        let slots = slots_of(service, table, |pool| pool == name);
        let members: Vec<&Member> = service.members.iter().filter(|member| member.pool == name).collect();
        let held = slots_by_backend(table);
        let backends: Vec<BackendStatus> =
            members.iter().map(|member| self.backend_status(service, member, &held, window, live)).collect();
        PoolStatus {
            name,
            weight,
            wanted: weight.fraction(),
            programmed: f64::from(slots) / SLOTS as f64,
            measured: measured(own, all, window),
            connections_per_second: rate(own, window.seconds),
            exceptions: backends.iter().map(|backend| backend.exceptions).sum(),
            live: backends.iter().try_fold(Live::NOTHING, |sum, backend| Some(sum.and(backend.live?))),
            backends,
        }
    }

    fn backend_status(
        &self,
        service: &Service,
        member: &Member,
        held: &BTreeMap<BackendId, u32>,
        window: &Window,
        live: &BTreeMap<BackendId, Live>,
    ) -> BackendStatus {
        let begun = begun(service, window, &|other| other.id == member.id);
        let next_hop = self.snapshot.targets.get(&member.address.ip());
        BackendStatus {
            address: member.address,
            weight: member.weight,
            admin: member.admin,
            health: member.health,
            next_hop: next_hop.map_or_else(|| "unresolved: not looked up yet".into(), ToString::to_string),
            slots: held.get(&member.id).copied().unwrap_or(0),
            connections_per_second: rate(begun, window.seconds),
            exceptions: self.exceptions.as_ref().and_then(|all| all.get(&member.id)).copied().unwrap_or(0),
            live: live.get(&member.id).copied(),
            deadline: self.deadlines.of(member.id).map(|deadline| deadline.status(now_ns())),
            resetting: member.resets(),
            counters: self.counters(member.id),
        }
    }

    fn service_stats(&self, service: &Service) -> Result<ServiceStats, Error> {
        let mut counts = [0; REASONS];
        for (number, _) in service.tables() {
            let own = self.data_plane.reason_counters(number)?;
            counts.iter_mut().zip(own).for_each(|(sum, count)| *sum += count);
        }
        let reason = |(reason, packets): (Reason, u64)| ReasonCount {
            reason: reason.name().into(),
            verdict: reason.kind().name().into(),
            packets,
        };
        let backend = |member: &Member| BackendStats {
            pool: member.pool,
            address: member.address,
            counters: self.counters(member.id),
        };
        Ok(ServiceStats {
            name: service.spec.name.clone(),
            reasons: Reason::ALL.into_iter().zip(counts).map(reason).collect(),
            backends: service.members.iter().map(backend).collect(),
        })
    }

    /// A backend's counters at the last sample.
    fn counters(&self, id: BackendId) -> BackendCounters {
        let abi::BackendCounters { packets_in, bytes_in, packets_out, bytes_out, connections } =
            self.meter.latest().and_then(|counters| counters.get(&id)).copied().unwrap_or_default();
        BackendCounters { packets_in, bytes_in, packets_out, bytes_out, connections }
    }
}

/// New connections of the wanted members in the window; of UDP, which has none, packets.
fn begun(service: &Service, window: &Window, wanted: &dyn Fn(&Member) -> bool) -> u64 {
    let count = |member: &Member| {
        window.counts.get(&member.id).map_or(0, |counts| match service.spec.protocol {
            Protocol::Tcp | Protocol::Both => counts.connections,
            Protocol::Udp => counts.packets_in,
        })
    };
    service.members.iter().filter(|member| wanted(member)).map(count).sum()
}

fn measured(own: u64, all: u64, window: &Window) -> Option<Measured> {
    meter::share(own, all, window.seconds)
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Slots by their current backend.
fn slots_by_backend(table: &ServiceTable) -> BTreeMap<BackendId, u32> {
    let mut held = BTreeMap::new();
    for slot in &table.slots {
        *held.entry(slot.current()).or_default() += 1;
    }
    held
}

/// An interface, `detached` when the one that was given the program is gone.
fn interface(attachment: &Attachment, snapshot: &Snapshot) -> InterfaceStatus {
    let there = snapshot.interfaces.iter().any(|found| found.index == attachment.index);
    InterfaceStatus {
        name: attachment.interface.clone(),
        index: attachment.index,
        mode: if there { attachment.mode.name() } else { "detached" }.into(),
        why: attachment.why.clone(),
    }
}

fn named(tables: &abi::TableCounters) -> BTreeMap<String, u64> {
    let abi::TableCounters {
        recorded,
        embryonic,
        promoted,
        forgotten_flows,
        forgotten_embryonic,
        missed,
        failed,
    } = *tables;
    [
        ("recorded", recorded),
        ("embryonic", embryonic),
        ("promoted", promoted),
        ("forgotten_flows", forgotten_flows),
        ("forgotten_embryonic", forgotten_embryonic),
        ("missed", missed),
        ("failed", failed),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into()
}
