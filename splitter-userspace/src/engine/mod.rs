//! The daemon's core: one thread that owns the services and the data plane, and does one thing at a time.
//!
//! - `service`: a service's release, members and slots; `sweep`: which entries and slots are done; `meter`:
//!   shares and rates; `compile`, `forwarding`: the image for the kernel. All pure.
//! - `ledger`: live connections by backend and their decline; `deadlines`: until when they have time. Both pure.
//! - `change`: what an operator asks for; `upkeep`: what time, network and health checks ask for; `leaving`: what is left on
//!   backends that get nothing new, and its deadlines
//! - `status`, `explain`: answers to questions
//! - `handle`: how the API, the watcher and the checker reach the thread
//! - `fill`: how full the tables are; `log`: events

mod change;
pub mod compile;
mod deadlines;
mod explain;
mod fill;
mod forwarding;
mod handle;
mod ids;
pub mod lane;
mod leaving;
mod ledger;
mod log;
mod meter;
#[cfg(test)]
mod samples;
pub mod service;
mod slots;
mod status;
mod sweep;
mod translations;
mod upkeep;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use splitter_common::slot::BackendId;
use tokio::sync::watch;

pub use self::handle::Handle;
use self::{
    deadlines::Deadlines,
    fill::Fill,
    ids::BackendIds,
    lane::{Lane, Purpose},
    ledger::Ledger,
    log::EventLog,
    meter::Meter,
    service::{Member, Service},
    slots::Slots,
};
use crate::{
    api::model::{Admin, Health},
    config::{self, Config},
    dataplane::{Attachment, DataPlane, Error, Sizes},
    health::Target,
    image::Image,
    net::Snapshot,
    table::{self, Order},
};

/// The daemon's core.
pub struct Engine {
    config: Config,
    order: Order,
    services: Vec<Service>,
    data_plane: DataPlane,
    image: Image,
    snapshot: Arc<Snapshot>,
    /// This host's own addresses, as the image has them.
    locals: Vec<IpAddr>,
    attachments: Vec<Attachment>,
    generation: u64,
    meter: Meter,
    /// Live exceptions by backend, as the last sweep found them; `None` until they are counted under the present split.
    exceptions: Option<BTreeMap<BackendId, u64>>,
    /// Live connections by backend, as the sweeps found them.
    ledger: Ledger,
    /// Until when they have time.
    deadlines: Deadlines,
    /// Entries by table, as the last sweep found them.
    flows: Fill,
    embryonic: Fill,
    /// Ports of mode `snat` that are not free, as the last sweep found them.
    taken_ports: Fill,
    /// How many there are.
    snat_ports: u32,
    warnings: Warnings,
    log: EventLog,
    targets: watch::Sender<Vec<Target>>,
    due: upkeep::Due,
}

/// What the operator should know.
#[derive(Clone, Debug, Default)]
struct Warnings {
    /// Settings of this host.
    host: Vec<String>,
    /// What of the network's state did not fit.
    network: Vec<String>,
}

impl Engine {
    /// Makes the services of `config` live in `data_plane`, to which no interface need be attached yet.
    ///
    /// # Errors
    /// More backends than numbers, or the kernel refused.
    pub fn new(
        config: Config,
        data_plane: DataPlane,
        snapshot: Arc<Snapshot>,
        targets: watch::Sender<Vec<Target>>,
    ) -> Result<Self, Error> {
        let order = Order::new(&config.daemon.hash_seed);
        let services = services(&config, &order)?;
        let mut engine = Self {
            order,
            services,
            data_plane,
            image: Image::empty(),
            snapshot,
            locals: Vec::new(),
            attachments: Vec::new(),
            generation: 0,
            meter: Meter::default(),
            exceptions: None,
            ledger: Ledger::default(),
            deadlines: Deadlines::default(),
            flows: Fill::default(),
            embryonic: Fill::default(),
            taken_ports: Fill::default(),
            snat_ports: 0,
            warnings: Warnings::default(),
            log: EventLog::default(),
            targets,
            due: upkeep::Due::default(),
            config,
        };
        if let Some(ports) = translations::ports(&engine.config) {
            engine.data_plane.share_ports(&ports)?;
            engine.snat_ports = ports.len() as u32;
        }
        engine.take_endpoints()?;
        engine.image.rules = Arc::new(compile::rules(&engine.services));
        engine.generation = 1;
        engine.services.iter_mut().for_each(|service| service.generation = 1);
        engine.take_network()?;
        engine.commit(1)?;
        engine.publish_targets();
        Ok(engine)
    }

    /// Attaches an interface, and says so. `existing`: id of the XDP program that is on it, for the message.
    ///
    /// # Errors
    /// What [`DataPlane::attach`] says.
    pub fn attach(&mut self, interface: &str, existing: Option<u32>) -> Result<(), Error> {
        let attachment = self.data_plane.attach(interface, self.config.daemon.xdp_mode, existing)?;
        let why = if attachment.why.is_empty() { String::new() } else { format!(" ({})", attachment.why) };
        let line = format!("attach {interface} in {} mode{why}", attachment.mode.name());
        self.log.push("attach", None, self.generation, line, "");
        self.attachments.push(attachment);
        Ok(())
    }

    /// Attaches an interface again that has gone and come back under its name: it is another one to the kernel.
    ///
    /// # Errors
    /// As [`Engine::attach`].
    fn reattach(&mut self, index: usize) -> Result<(), Error> {
        let interface = self.attachments.remove(index).interface;
        self.attach(&interface, None)
    }

    /// What the host's settings would make the kernel drop.
    pub fn set_host_warnings(&mut self, warnings: Vec<String>) {
        for warning in &warnings {
            self.log.push("warning", None, self.generation, warning.clone(), "");
        }
        self.warnings.host = warnings;
    }

    /// Makes the services' tables and backends live as generation `generation`; endpoints and network are in the
    /// image already.
    fn commit(&mut self, generation: u64) -> Result<(), Error> {
        self.image.services =
            self.services.iter().flat_map(Service::tables).map(|(n, table)| (n, Arc::clone(table))).collect();
        let backends = compile::backends(&self.services, &self.snapshot);
        if backends != *self.image.backends {
            self.image.backends = Arc::new(backends);
        }
        self.data_plane.commit(self.image.clone(), generation)
    }

    /// Puts the endpoints that packets are known by into the image.
    fn take_endpoints(&mut self) -> Result<(), Error> {
        self.locals = self.snapshot.locals().collect();
        let endpoints = compile::endpoints(&self.services, &self.locals)
            .map_err(|error| Error::Load(format!("the services' endpoints cannot be told apart: {error}")))?;
        self.image.endpoints = Arc::new(endpoints);
        Ok(())
    }

    /// Puts the network's state into the image.
    fn take_network(&mut self) -> Result<(), Error> {
        if !self.snapshot.locals().eq(self.locals.iter().copied()) {
            self.take_endpoints()?;
        }
        for service in &mut self.services {
            let mtu = compile::mtu(service, &self.snapshot);
            service.set_mtu(mtu);
        }
        let (direct, limit) = (&self.config.daemon.direct, Sizes::from(&self.config).neighbours);
        let problems = compile::network(&mut self.image, &self.snapshot, direct, &self.services, limit)
            .map_err(|error| Error::Load(format!("the hosts on our links cannot be told apart: {error}")))?;
        self.warnings.network = self.snapshot.problems.iter().cloned().chain(problems).collect();
        Ok(())
    }

    /// Tells the health checker what to check: every backend of a service with checks that is not in maintenance.
    fn publish_targets(&self) {
        let of_service = |service: &Service| -> Vec<Target> {
            let Some(check) = &service.spec.health else { return Vec::new() };
            let checked = service.members.iter().filter(|member| member.admin != Admin::Maint);
            checked.map(|member| Target { address: member.address, check: check.clone() }).collect()
        };
        self.targets.send_replace(self.services.iter().flat_map(of_service).collect());
    }

    fn service(&self, name: &str) -> Option<usize> {
        self.services.iter().position(|service| service.spec.name == name)
    }
}

/// The services of a configuration, numbered in its order, every slot CLEAN. Their lanes' numbers come after those.
///
/// # Errors
/// More backends than the configuration has room for.
pub fn services(config: &Config, order: &Order) -> Result<Vec<Service>, Error> {
    let mut ids = BackendIds::default();
    let mut numbers = config.services.len() as u32..;
    let seed = &config.daemon.hash_seed;
    let mut make = |(number, spec): (u32, &config::Service)| {
        let members = members(spec, &mut ids, config.daemon.max_backends)?;
        let lanes = lanes(spec, &members, (&mut numbers, &mut ids), config.daemon.max_backends)?;
        Ok(Service::new(number, spec.clone(), members, lanes, (seed, order)))
    };
    (0..).zip(&config.services).map(&mut make).collect()
}

/// The slot tables beside a service's own: one for each pool that rules lead to, and one for each preview listener.
fn lanes(
    spec: &config::Service,
    members: &[Member],
    (numbers, ids): (&mut impl Iterator<Item = u32>, &mut BackendIds),
    limit: u32,
) -> Result<Vec<Lane>, Error> {
    let mut lanes = Vec::new();
    let mut lane = |pool, purpose| {
        let table = Slots::new().table(table::hash_key("", spec), 0, 0, 0);
        let number = numbers.next().unwrap_or(u32::MAX);
        lanes.push(Lane { number, pool, purpose, slots: Slots::new(), table: Arc::new(table) });
    };
    lane::ruled_pools(spec).into_iter().for_each(|pool| lane(pool, Purpose::Rules));
    for preview in &spec.previews {
        let own = members.iter().filter(|member| member.pool == preview.pool);
        let twin = |member: &Member| Ok((member.id, take(ids, limit)?));
        let twins = own.map(twin).collect::<Result<_, Error>>()?;
        let listener = SocketAddr::new(preview.address, preview.port);
        lane(preview.pool, Purpose::Preview { listener, twins });
    }
    Ok(lanes)
}

fn take(ids: &mut BackendIds, limit: u32) -> Result<BackendId, Error> {
    ids.take(limit).ok_or_else(|| {
        Error::Load(format!(
            "more than {limit} backends, each preview listener having its pool's again: raise max_backends under [daemon]"
        ))
    })
}

fn members(spec: &config::Service, ids: &mut BackendIds, limit: u32) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    for (name, pool) in &spec.pools {
        for backend in &pool.backends {
            let id = take(ids, limit)?;
            let address = SocketAddr::new(backend.address, backend.port);
            let (admin, health) = (Admin::Ready, Health::Unchecked);
            let (pool, weight, resetting) = (*name, backend.weight, false);
            members.push(Member { id, pool, address, weight, admin, health, resetting });
        }
    }
    Ok(members)
}

/// `CLOCK_MONOTONIC`, nanoseconds: what `bpf_ktime_get_ns` reads in the kernel half.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
