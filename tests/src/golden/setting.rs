//! What a scenario finds: services, network, slots and tables.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use splitter_common::{
    abi::{Flow, FlowKey, ServiceTable, Translation},
    hash::SLOTS,
    net::Transport,
    slot::{BackendId, Slot, State},
    tables::Exceptions,
};
use splitter_userspace::{
    api::model::Health,
    config::{self, Config, ForwardMode, Prefix},
    engine::{
        compile,
        lane::{Lane, Purpose},
        service::{Member, Service},
        services,
    },
    image::Image,
    net::{Hop, Interface, NextHop, Route, RouteAction, Snapshot},
    table::Order,
};
use toml::Table;

use super::{
    outcome::STATES,
    packet::mac,
    scenario::{Entry, Scenario, Slots, StateName, TableName, TranslationEntry, merge},
};

const CONFIG: &str = include_str!("../../golden/setting/splitter.toml");
const NETWORK: &str = include_str!("../../golden/setting/network.toml");

/// Bytes that surely fit one buffer, which is a page with room in front and behind.
const ONE_BUFFER: usize = 3000;

/// The configuration and its services.
type Configured = (Config, Arc<[Service]>);

/// The configuration and its services, built once: their tables take an emulated machine seconds. Scenarios that change
/// none share them, and a table that is shared is written to the kernel once.
fn configured() -> Result<&'static Configured> {
    static CONFIGURED: OnceLock<Configured> = OnceLock::new();
    if let Some(configured) = CONFIGURED.get() {
        return Ok(configured);
    }
    let config = config::parse(Path::new("golden/setting/splitter.toml"), CONFIG)?;
    let mut services = services(&config, &Order::new(&config.daemon.hash_seed))?;
    measure(&mut services, &Network::changed(&Table::new())?.snapshot()?);
    Ok(CONFIGURED.get_or_init(|| (config, services.into())))
}

/// Largest packets, as the network has it.
fn measure(services: &mut [Service], snapshot: &Snapshot) {
    for service in services {
        let mtu = compile::mtu(service, snapshot);
        service.set_mtu(mtu);
    }
}

/// The services as a scenario finds them.
fn found(all: &Arc<[Service]>, scenario: &Scenario, snapshot: &Snapshot) -> Result<Arc<[Service]>> {
    let Scenario { dead, resetting, network, .. } = scenario;
    if dead.is_empty() && resetting.is_empty() && network.is_empty() {
        return Ok(Arc::clone(all));
    }
    let mut services = all.to_vec();
    for name in dead {
        member(&mut services, name)?.health = Health::Down;
    }
    for name in resetting {
        member(&mut services, name)?.resetting = true;
    }
    // What is measured anew has its tables made anew, and they say who is reset.
    if !resetting.is_empty() {
        services.iter_mut().for_each(|service| service.set_mtu(u32::MAX));
    }
    measure(&mut services, snapshot);
    Ok(services.into())
}

/// What a scenario finds.
pub struct Setting {
    /// What packets read.
    pub image: Image,
    /// The services, by number.
    services: Arc<[Service]>,
}

/// The network, as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    /// The ways that frames leave by, by name.
    hops: BTreeMap<String, HopText>,
    /// Names of the ways to backends.
    backends: BTreeMap<IpAddr, String>,
    /// This host's addresses on the ways to backends.
    sources: BTreeMap<IpAddr, IpAddr>,
    /// Bytes of the largest packet on the link of `on link` routes.
    link_mtu: u32,
    /// Prefix and what is done with it: `via HOP`, `on link`, `local` or `kernel`.
    routes: BTreeMap<String, String>,
    /// Names of the ways to hosts on our links.
    neighbours: BTreeMap<IpAddr, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HopText {
    interface: u32,
    source: String,
    destination: String,
    /// Bytes; 1500 unless said.
    mtu: Option<u32>,
}

impl Setting {
    /// The setting that all scenarios share, with what this one says is different.
    ///
    /// # Errors
    /// The scenario names something that does not exist.
    pub fn of(scenario: &Scenario) -> Result<Self> {
        let (config, all) = configured()?;
        let snapshot = Network::changed(&scenario.network)?.snapshot()?;
        let services = found(all, scenario, &snapshot)?;
        let mut image = Image::empty();
        let locals: Vec<IpAddr> = snapshot.locals().collect();
        image.endpoints = Arc::new(compile::endpoints(&services, &locals)?);
        image.backends = Arc::new(compile::backends(&services, &snapshot));
        compile::network(&mut image, &snapshot, &config.daemon.direct, &services, u32::MAX)?;
        let tables = services.iter().flat_map(Service::tables);
        image.services = tables.map(|(number, table)| (number, Arc::clone(table))).collect();
        image.rules = Arc::new(compile::rules(&services));
        let mut setting = Self { image, services };
        if let Some(slots) = &scenario.slots {
            setting.force(slots)?;
        }
        Ok(setting)
    }

    /// A service by name.
    ///
    /// # Errors
    /// There is none.
    pub fn service(&self, name: &str) -> Result<&Service> {
        let found = self.services.iter().find(|service| service.spec.name == name);
        found.with_context(|| format!("there is no service {name}"))
    }

    /// The service that a table is of.
    fn owner(&self, table: &str) -> Result<&Service> {
        self.service(table.split(['>', '@']).next().unwrap_or_default())
    }

    /// The number of a service or of a table beside it.
    fn number(&self, table: &str) -> Result<u32> {
        let found = self.tables().find(|(name, _)| name == table);
        Ok(found.with_context(|| format!("there is no table {table}"))?.1)
    }

    /// The only backend of a table's pool; of a preview listener by its whole name.
    ///
    /// # Errors
    /// There is none.
    pub fn backend(&self, table: &str, pool: &str) -> Result<BackendId> {
        if pool == "none" {
            return Ok(BackendId::NONE);
        }
        let service = table.split('>').next().unwrap_or_default();
        let name = if pool.contains('@') { pool.to_owned() } else { format!("{service}/{pool}") };
        let found = self.backends().find(|(known, _)| *known == name);
        Ok(found.with_context(|| format!("there is no backend {name}"))?.1)
    }

    /// Names of a service table and a backend's pool.
    pub fn named(&self, table: u32, backend: BackendId) -> (String, String) {
        let service = self.tables().find(|(_, number)| *number == table).map(|(name, _)| name);
        let pool = self.backends().find(|(_, id)| *id == backend).map(|(name, _)| name);
        let pool = pool.and_then(|name| match name.split_once('/')? {
            (service, pool) if !service.contains('@') => Some(pool.to_owned()),
            _ => Some(name),
        });
        (service.unwrap_or_default(), pool.unwrap_or_default())
    }

    /// Every service table by name: `SERVICE`, `SERVICE>POOL` for clients with rules, `SERVICE@ADDRESS:PORT` for a preview
    /// listener.
    pub fn tables(&self) -> impl Iterator<Item = (String, u32)> + '_ {
        self.services.iter().flat_map(|service| {
            let lanes = service.lanes.iter().map(|lane| (lane_name(service, lane), lane.number));
            std::iter::once((service.spec.name.clone(), service.number)).chain(lanes)
        })
    }

    /// Ports that mode `snat` finds free, in this order.
    pub const fn free_ports(&self) -> [u16; 2] {
        [2000, 2001]
    }

    /// Connections in mode `snat` before the packet, at `now_ns`.
    ///
    /// # Errors
    /// One names something that does not exist.
    pub fn translations(&self, scenario: &Scenario, now_ns: u64) -> Result<Vec<(u16, Translation)>> {
        let of = |entry: &TranslationEntry| {
            let number = self.number(&entry.service)?;
            let (client, port) = (entry.client.ip().into(), entry.client.port().to_be_bytes());
            let mut translation = Translation::free(0);
            translation.key = FlowKey::new(number, transport(self.owner(&entry.service)?), client, port);
            translation.backend = self.backend(&entry.service, &entry.backend)?;
            translation.seen_ns = now_ns.saturating_sub(entry.age * 1_000_000_000);
            translation.since_ns = translation.seen_ns;
            translation.closed_ns = translation.seen_ns;
            translation.state = Translation::USED;
            for name in &entry.state {
                let bit = STATES.iter().find(|(known, _)| known == name);
                translation.state |= bit.with_context(|| format!("no state {name}"))?.1;
            }
            Ok((entry.port, translation))
        };
        scenario.translations.iter().map(of).collect()
    }

    /// Whether a scenario needs a kernel with `xdp.frags`: it has a frame of several buffers, or it is about a service of
    /// mode `snat` and says what becomes of that one's connections or counters.
    ///
    /// # Errors
    /// A frame's description makes no sense.
    pub fn needs_frags(&self, scenario: &Scenario) -> Result<bool> {
        let translates =
            |name: &str| self.owner(name).is_ok_and(|service| service.spec.mode == ForwardMode::Snat);
        if !scenario.translations.is_empty() || !scenario.expect.translations.is_empty() {
            return Ok(true);
        }
        for packet in scenario.packets() {
            if packet.services().any(translates) || packet.frame_in()?.len() > ONE_BUFFER {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every backend, as `SERVICE/POOL`, and as `SERVICE@ADDRESS:PORT/POOL` what it is to a preview listener.
    pub fn backends(&self) -> impl Iterator<Item = (String, BackendId)> + '_ {
        self.services.iter().flat_map(|service| {
            let name = &service.spec.name;
            let own =
                service.members.iter().map(move |member| (format!("{name}/{}", member.pool), member.id));
            let twins = service.lanes.iter().flat_map(move |lane| {
                let twins = match &lane.purpose {
                    Purpose::Preview { twins, .. } => twins.as_slice(),
                    Purpose::Rules => &[],
                };
                twins.iter().map(move |(_, id)| (format!("{}/{}", lane_name(service, lane), lane.pool), *id))
            });
            own.chain(twins)
        })
    }

    /// Where an entry is and what it holds, at `now_ns`.
    ///
    /// # Errors
    /// It names something that does not exist, or the clock has not run for as long as the entry is old.
    pub fn entry(&self, entry: &Entry, now_ns: u64) -> Result<(Exceptions, FlowKey, Flow)> {
        let key = FlowKey::new(
            self.number(&entry.service)?,
            transport(self.owner(&entry.service)?),
            entry.client.ip().into(),
            entry.client.port().to_be_bytes(),
        );
        let backend = self.backend(&entry.service, &entry.backend)?;
        let seen_ns = now_ns.checked_sub(entry.age * 1_000_000_000).with_context(|| {
            format!(
                "no entry can be {} s old: the machine started {} s ago",
                entry.age,
                now_ns / 1_000_000_000
            )
        })?;
        let mut flow = Flow::new(backend, seen_ns);
        flow.client_fin = entry.client_fin.into();
        flow.backend_fin = entry.backend_fin.into();
        flow.end = match (entry.reset, entry.ending) {
            (true, _) => Flow::RESET,
            (false, true) => Flow::ENDING,
            (false, false) => 0,
        };
        Ok((entry.table.exceptions(), key, flow))
    }

    /// Puts all slots of a table into one state. That it is not settled its service must know too.
    fn force(&mut self, slots: &Slots) -> Result<()> {
        let (number, owner) = (self.number(&slots.service)?, self.owner(&slots.service)?.number);
        let backend = |pool: &str| self.backend(&slots.service, pool);
        let state = match (slots.state, &slots.previous) {
            (StateName::Clean, None) => State::Clean,
            (StateName::Tracked, None) => State::Tracked,
            (StateName::Dirty, Some(pool)) => State::Dirty { previous: backend(pool)? },
            _ => bail!("`previous` is for DIRTY slots, which must have it"),
        };
        let slot = Slot::new(backend(&slots.current)?, state);
        let unsettled = if slot.is_clean() { 0 } else { ServiceTable::UNSETTLED };
        for of in [owner, number] {
            let table = &self.image.services[&of];
            let slots = if of == number { [slot; SLOTS] } else { table.slots };
            let flags = table.flags | unsettled;
            let table = ServiceTable::new(table.key, table.idle_timeout_ns, flags, table.mtu, slots);
            self.image.services.insert(of, Arc::new(table));
        }
        Ok(())
    }
}

impl TableName {
    /// As the packet path names it.
    pub const fn exceptions(self) -> Exceptions {
        match self {
            Self::Flows => Exceptions::Flows,
            Self::Embryonic => Exceptions::Embryonic,
            Self::Previews => Exceptions::Previews,
        }
    }
}

fn lane_name(service: &Service, lane: &Lane) -> String {
    let name = &service.spec.name;
    match &lane.purpose {
        Purpose::Rules => format!("{name}>{}", lane.pool),
        Purpose::Preview { listener, .. } => format!("{name}@{listener}"),
    }
}

const fn transport(service: &Service) -> Transport {
    if service.spec.protocol.has_tcp() { Transport::Tcp } else { Transport::Udp }
}

/// A backend, `SERVICE/POOL`.
fn member<'a>(services: &'a mut [Service], name: &str) -> Result<&'a mut Member> {
    let mut members = services.iter_mut().flat_map(|service| {
        let name = service.spec.name.clone();
        service.members.iter_mut().map(move |member| (format!("{name}/{}", member.pool), member))
    });
    let found = members.find(|(of, _)| of == name).with_context(|| format!("no backend {name}"))?;
    Ok(found.1)
}

impl Network {
    /// That of all scenarios, with changes.
    fn changed(changes: &Table) -> Result<Self> {
        let mut network: Table = toml::from_str(NETWORK)?;
        merge(&mut network, changes);
        network.try_into().context("network")
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let targets = self.backends.iter().map(|(address, hop)| Ok((*address, self.way(hop)?)));
        let neighbours = self.neighbours.iter().map(|(address, name)| Ok((*address, self.hop(name)?)));
        let mut snapshot = Snapshot {
            targets: targets.collect::<Result<HashMap<_, _>>>()?,
            neighbours: neighbours.collect::<Result<HashMap<_, _>>>()?,
            sources: self.sources.iter().map(|(backend, source)| (*backend, *source)).collect(),
            interfaces: vec![Interface {
                name: "link".into(),
                index: 1,
                mac: [0; 6],
                mtu: self.link_mtu,
                up: true,
                program: None,
            }],
            ..Snapshot::default()
        };
        for (prefix, action) in &self.routes {
            let action = self.action(action).with_context(|| format!("route {prefix}"))?;
            snapshot.routes.push(Route { prefix: parse_prefix(prefix)?, action });
        }
        Ok(snapshot)
    }

    fn action(&self, text: &str) -> Result<RouteAction> {
        Ok(match text.split_once(' ') {
            Some(("via", hop)) => RouteAction::Via(self.way(hop)?),
            Some(("on", "link")) => RouteAction::OnLink { ifindex: 1, mtu: 1500 },
            None if text == "local" => RouteAction::Local,
            None if text == "kernel" => RouteAction::Kernel { why: "the scenario wants it".into() },
            _ => bail!("`{text}` is none of `via HOP`, `on link`, `local` and `kernel`"),
        })
    }

    fn way(&self, name: &str) -> Result<NextHop> {
        if name == "unresolved" {
            return Ok(NextHop::Unresolved { why: "the scenario wants it".into() });
        }
        Ok(NextHop::Resolved { hop: self.hop(name)?, interface: name.into(), via: None })
    }

    fn hop(&self, name: &str) -> Result<Hop> {
        let hop = self.hops.get(name).with_context(|| format!("there is no hop {name}"))?;
        let (source, destination) = (mac(&hop.source)?, mac(&hop.destination)?);
        Ok(Hop { ifindex: hop.interface, source, destination, mtu: hop.mtu.unwrap_or(1500) })
    }
}

fn parse_prefix(text: &str) -> Result<Prefix> {
    let (address, length) = text.split_once('/').context("a prefix has a length")?;
    Ok(Prefix { address: address.parse()?, length: length.parse()? })
}
