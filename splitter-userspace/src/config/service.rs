//! Reads `[[service]]`.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use toml::de::DeValue;

use super::{
    Affinity, ForwardMode, HealthCheck, NoBackend, PoolName, Protocol, Service, address,
    mistakes::{At, Place},
    pool::{self, BackendDraft, PoolDraft},
    rules::{self, PreviewDraft, RouteDraft},
    table::Table,
    value::{Parsed, duration, integer, keyword, port, service_name},
};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("tcp+udp", Protocol::Both)];
const AFFINITIES: [(&str, Affinity); 2] =
    [("connection", Affinity::Connection), ("client", Affinity::Client)];
const NO_BACKEND: [(&str, NoBackend); 2] = [("reject", NoBackend::Reject), ("drop", NoBackend::Drop)];
const MODES: [(&str, ForwardMode); 4] = [
    ("dnat", ForwardMode::Dnat),
    ("snat", ForwardMode::Snat),
    ("dsr-l2", ForwardMode::DsrL2),
    ("dsr-ipip", ForwardMode::DsrIpip),
];

/// Shortest idle timeout: the data plane's clock must tell it from 0.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest idle timeout: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bounds of a health check's times.
const CHECK_TIMES: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
/// Most passes or failures in a row that a health check can ask for.
const MAX_IN_A_ROW: u32 = 100;

/// A service as far as it could be read.
pub(super) struct ServiceDraft {
    pub place: Place,
    pub name: Option<At<String>>,
    pub address: Option<At<IpAddr>>,
    pub port: Option<At<u16>>,
    pub protocol: Option<At<Protocol>>,
    pub stable: Option<At<PoolName>>,
    pub pools: Vec<PoolDraft>,
    /// Where the pools begin.
    pub pools_place: Place,
    pub routes: Vec<RouteDraft>,
    pub previews: Vec<PreviewDraft>,
    pub mode: Option<At<ForwardMode>>,
    affinity: Affinity,
    idle_timeout: Duration,
    udp_idle_timeout: Duration,
    no_backend: NoBackend,
    pub health: Option<At<HealthCheck>>,
}

/// One service's table.
pub(super) fn read(table: &mut Table<'_, '_, '_>) -> ServiceDraft {
    let (pools, pools_place) = read_pools(table);
    let address = table.required("address", "address = \"192.0.2.10\"", address::address);
    let previews = rules::previews(table, address.as_ref().map(|address| address.value));
    ServiceDraft {
        place: table.place().clone(),
        name: table.required("name", "name = \"web\"", service_name),
        address,
        port: table.required("port", "port = 443", port),
        protocol: table.required("protocol", "protocol = \"tcp\"", keyword(&PROTOCOLS)),
        stable: table.required("stable", "stable = \"blue\"", stable),
        pools,
        pools_place,
        routes: rules::routes(table),
        previews,
        mode: table.given_or("mode", Some(ForwardMode::default()), keyword(&MODES)),
        affinity: table.optional("affinity", Affinity::default(), keyword(&AFFINITIES)),
        idle_timeout: table.optional(
            "idle_timeout",
            Duration::from_secs(15 * 60),
            duration(SHORTEST..=LONGEST),
        ),
        udp_idle_timeout: table.optional("udp_idle_timeout", Duration::from_secs(30), udp_idle_timeout),
        no_backend: table.optional("no_backend", NoBackend::default(), keyword(&NO_BACKEND)),
        health: table.child("health", read_health),
    }
}

fn read_pools(table: &mut Table<'_, '_, '_>) -> (Vec<PoolDraft>, Place) {
    table.require("pool", "[service.pool.blue]");
    let read = table.child("pool", |pools| (read_each_pool(pools), pools.place().clone()));
    read.unwrap_or_else(|| (Vec::new(), table.place().clone()))
}

fn read_each_pool(pools: &mut Table<'_, '_, '_>) -> Vec<PoolDraft> {
    let read = |name: PoolName| pools.child(name.as_str(), |table| pool::read(name, table));
    PoolName::ALL.into_iter().filter_map(read).collect()
}

fn read_health(table: &mut Table<'_, '_, '_>) -> At<HealthCheck> {
    let value = HealthCheck {
        interval: table.optional("interval", Duration::from_secs(2), duration(CHECK_TIMES)),
        timeout: table.optional("timeout", Duration::from_secs(1), duration(CHECK_TIMES)),
        rise: table.optional("rise", 2, integer(1..=MAX_IN_A_ROW)),
        fall: table.optional("fall", 3, integer(1..=MAX_IN_A_ROW)),
    };
    At { value, place: table.place().clone() }
}

fn stable(value: &DeValue<'_>) -> Parsed<PoolName> {
    match pool::name(value)? {
        PoolName::Canary => {
            Err("canary is the version on trial and cannot be stable: use blue or green".into())
        }
        pool => Ok(pool),
    }
}

/// 0 is legal here: datagrams follow the new table at once.
fn udp_idle_timeout(value: &DeValue<'_>) -> Parsed<Duration> {
    match duration(Duration::ZERO..=LONGEST)(value)? {
        time if time.is_zero() || time >= SHORTEST => Ok(time),
        _ => Err("is too short: give 0s (datagrams follow a shift at once) or at least 100ms".into()),
    }
}

impl ServiceDraft {
    /// The virtual endpoint, if it could be read.
    pub fn endpoint(&self) -> Option<(SocketAddr, Protocol)> {
        let address = self.address.as_ref()?.value;
        Some((SocketAddr::new(address, self.port.as_ref()?.value), self.protocol.as_ref()?.value))
    }

    /// Its name, or its place in the file if that could not be read.
    pub fn title(&self) -> &str {
        self.name.as_ref().map_or(&self.place.key, |name| &name.value)
    }

    /// Backends of all its pools.
    pub fn backends(&self) -> impl Iterator<Item = &BackendDraft> {
        self.pools.iter().flat_map(|pool| &pool.backends)
    }

    /// Where each pool that a route leads to is first named by one.
    pub fn routed_pools(&self) -> Vec<&Place> {
        let pools = self.routes.iter().filter_map(|route| route.pool.as_ref());
        let mut seen = HashSet::new();
        pools.filter(|pool| seen.insert(pool.value)).map(|pool| &pool.place).collect()
    }

    /// Its replies come back through this host, as far as its mode could be read.
    pub fn sees_replies(&self) -> bool {
        self.mode.as_ref().is_some_and(|mode| !mode.value.one_way())
    }

    /// The checked service; `None` when a value is missing or wrong.
    pub fn build(self) -> Option<Service> {
        let pools = self.pools.into_iter().map(|pool| Some((pool.name, pool.build()?)));
        Some(Service {
            pools: pools.collect::<Option<_>>()?,
            name: self.name?.value,
            address: self.address?.value,
            port: self.port?.value,
            protocol: self.protocol?.value,
            mode: self.mode?.value,
            affinity: self.affinity,
            idle_timeout: self.idle_timeout,
            udp_idle_timeout: self.udp_idle_timeout,
            no_backend: self.no_backend,
            stable: self.stable?.value,
            health: self.health.map(|health| health.value),
            routes: self.routes.into_iter().map(RouteDraft::build).collect::<Option<_>>()?,
            previews: self.previews.into_iter().map(PreviewDraft::build).collect::<Option<_>>()?,
        })
    }
}
