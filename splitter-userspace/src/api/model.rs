//! What travels over the socket: the shapes of every request and answer.
//!
//! Field names are stable: `--output json` prints these very structures. Shares are fractions of one,
//! weights are percentages with two decimals, times carry their unit in the field's name.

use serde::{Deserialize, Serialize};

pub use super::left::{Deadline, DeadlineStatus, End, Left, Live};
use crate::config::{PoolName, Weight};

/// `GET /v1/status`: everything `splitter status` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Number of the live configuration; grows by one with every change.
    pub generation: u64,
    /// Kernel release and what it gives, e.g. `6.18.44`.
    pub kernel: String,
    /// `xdp.frags`, or `plain` where the kernel takes no other: frames in several buffers never reach that one.
    pub program: String,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
    /// One entry per service, in the config's order.
    pub services: Vec<ServiceStatus>,
    /// How full the tables of exceptions are.
    pub tables: Vec<TableStatus>,
    /// What the operator should know and do, a sentence each (e.g. a sysctl that is off).
    pub warnings: Vec<String>,
}

/// One interface that carries the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Interface name.
    pub name: String,
    /// Kernel interface index.
    pub index: u32,
    /// `native`, `generic`, or `detached` when the interface is gone.
    pub mode: String,
    /// Why not native, empty if it is.
    pub why: String,
}

/// Fill of one kernel table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableStatus {
    /// `flow`, `embryonic`, or `snat` for the ports of that mode.
    pub name: String,
    /// Entries at the last sweep; in `snat`, ports that are taken or rest after a connection.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
    /// Entries that the kernel threw out because the table was full, at least: their connections may have moved.
    pub evicted: u64,
}

/// One service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name in the config.
    pub name: String,
    /// Virtual address.
    pub address: std::net::IpAddr,
    /// Virtual port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Forwarding mode, e.g. `dnat`.
    pub mode: String,
    /// Pool that owns what no other pool is given.
    pub stable: PoolName,
    /// Generation of the last change of this service.
    pub generation: u64,
    /// States of its slots.
    pub slots: SlotCounts,
    /// True when every slot is CLEAN: no exception is left of any shift.
    pub settled: bool,
    /// What `rollback` would restore: weights by pool and the stable pool; `None` when there is nothing to undo.
    pub rollback_to: Option<Split>,
    /// New connections per second over the last 10 s.
    pub connections_per_second: f64,
    /// In the order blue, green, canary; pools that the config does not name are absent.
    pub pools: Vec<PoolStatus>,
}

/// Weights of a service, percent by pool, and its stable pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The stable pool.
    pub stable: PoolName,
    /// Percent by pool; adds up to 100.
    pub weights: std::collections::BTreeMap<PoolName, Weight>,
}

/// Number of slots in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCounts {
    /// Slots of the service.
    pub total: u32,
    /// No table consulted.
    pub clean: u32,
    /// Shifted lately: live connections are being recorded.
    pub dirty: u32,
    /// Every live exception is recorded.
    pub tracked: u32,
}

/// One pool of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Pool name.
    pub name: PoolName,
    /// Percent the operator asked for.
    pub weight: Weight,
    /// The same as a fraction of one.
    pub wanted: f64,
    /// Fraction of slots whose `current` backend is in this pool, read back from the kernel.
    pub programmed: f64,
    /// Share of counted new connections over the last 10 s; `None` when there were none.
    pub measured: Option<Measured>,
    /// New connections per second over the last 10 s.
    pub connections_per_second: f64,
    /// Live recorded connections that stay with this pool although their slot names another backend.
    pub exceptions: u64,
    /// What is left on it together; `None` while it gets new connections, since those are not counted.
    pub live: Option<Live>,
    /// Backends in the config's order.
    pub backends: Vec<BackendStatus>,
}

/// A measured share with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Fraction of the service's new connections.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// New connections of the whole service counted in the window (UDP: packets).
    pub connections: u64,
    /// Length of the window, seconds.
    pub window_seconds: f64,
}

/// One backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// Relative weight inside the pool.
    pub weight: u32,
    /// What the operator wants of it.
    pub admin: Admin,
    /// What its health check says.
    pub health: Health,
    /// E.g. `02:00:00:00:01:11 on eth1 (direct)`, or why it is not resolved.
    pub next_hop: String,
    /// Slots whose `current` it is.
    pub slots: u32,
    /// New connections per second over the last 10 s.
    pub connections_per_second: f64,
    /// Live recorded connections that stay with it although their slot names another backend.
    pub exceptions: u64,
    /// What is left on it; `None` while it gets new connections, since those are not counted.
    pub live: Option<Live>,
    /// Until when that has time; `None`: as long as it needs.
    pub deadline: Option<DeadlineStatus>,
    /// Its live connections are being reset: a deadline has passed.
    pub resetting: bool,
    /// Counters since the daemon attached.
    pub counters: BackendCounters,
}

/// Counters of one backend, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, whole frames.
    pub bytes_in: u64,
    /// Packets from the backend.
    pub packets_out: u64,
    /// Bytes from the backend, whole frames.
    pub bytes_out: u64,
    /// TCP connections begun (SYNs forwarded).
    pub connections: u64,
}

/// The operator's word on a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// In service.
    #[default]
    Ready,
    /// No new connections; live ones stay.
    Drain,
    /// Out of service at once; live connections are not kept.
    Maint,
}

/// The health check's word on a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No health check is configured.
    #[default]
    Unchecked,
    /// Passing.
    Up,
    /// Failing.
    Down,
}

/// A request that changes the split: `POST /v1/change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// Service name.
    pub service: String,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// The operator's words, kept with the change; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// Set weights; the stable pool takes what is left unless it is named.
    Weights {
        /// Percent by pool.
        weights: std::collections::BTreeMap<PoolName, Weight>,
    },
    /// All new connections to `pool`, which becomes stable.
    Switch {
        /// The pool to switch to.
        pool: PoolName,
        /// Until when the connections that stay with the other pools have time; replaces that of an earlier switch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Deadline>,
    },
    /// Back to the last state before the release.
    Rollback,
    /// Change what the operator wants of one backend.
    Admin {
        /// Address and port of the backend.
        backend: std::net::SocketAddr,
        /// The new state.
        state: Admin,
        /// With `drain`: until when its connections have time; replaces an earlier one, if only by none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Deadline>,
    },
}

/// The answer to a change: the numbers behind the one line that the operator reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// E.g. `weights web canary 1% -> 5% (gen 41 -> 42, 655 slots moved, 0 live connections moved)`.
    pub line: String,
    /// Service name.
    pub service: String,
    /// Generation before; equal to `generation` when nothing had to change.
    pub generation_before: u64,
    /// Generation after.
    pub generation: u64,
    /// Slots whose backend changed.
    pub slots_moved: u32,
    /// Live connections known to be moved: 0, short of a dead backend. Of a backend that is dead or in maintenance only
    /// recorded exceptions are counted; the line then says so.
    pub connections_moved: u64,
    /// From the request's arrival to the end of the grace period, milliseconds.
    pub took_ms: f64,
    /// The split before.
    pub before: Split,
    /// The split after.
    pub after: Split,
    /// Share by pool read back from the kernel after the change.
    pub programmed: std::collections::BTreeMap<PoolName, f64>,
    /// After a drain or a switch: what that leaves, as far as it has been seen; `None` where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// The operator's words.
    pub reason: String,
}

/// One event: one line, with the value and its limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Consecutive number since the daemon's start.
    pub sequence: u64,
    /// Unix time, milliseconds.
    pub time_unix_ms: u64,
    /// `change`, `deadline`, `slots`, `health`, `next_hop`, `table`, `attach` or `warning`.
    pub kind: String,
    /// Service concerned, if one is.
    pub service: Option<String>,
    /// Live generation when it happened.
    pub generation: u64,
    /// The line.
    pub line: String,
    /// The operator's words, for a change.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `GET /v1/explain?service=web&client=198.51.100.7:40000`: where a client's packets go, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Service name.
    pub service: String,
    /// Client address and port.
    pub client: std::net::SocketAddr,
    /// Generation that answered.
    pub generation: u64,
    /// Number of the slot.
    pub slot: u32,
    /// `clean`, `dirty` or `tracked`.
    pub state: String,
    /// Pool and backend a new connection of this client gets; `None` when the service has none.
    pub new_connection: Option<Place>,
    /// Pool and backend a live connection's packet gets.
    pub live_connection: Option<Place>,
    /// Why, in a sentence or two.
    pub why: String,
}

/// A pool and a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Pool name.
    pub pool: PoolName,
    /// Address and port.
    pub backend: std::net::SocketAddr,
}

/// `GET /v1/stats`: every counter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// Live generation.
    pub generation: u64,
    /// Per service: what happened to its packets, by reason; reasons that never occurred are present with 0.
    pub services: Vec<ServiceStats>,
    /// Recording, promotion, removal and failure counts of the flow tables.
    pub tables: std::collections::BTreeMap<String, u64>,
}

/// Counters of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Service name.
    pub name: String,
    /// Verdict counters in the order of the verdict table.
    pub reasons: Vec<ReasonCount>,
    /// Counters by backend.
    pub backends: Vec<BackendStats>,
}

/// Packets of a service with one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReasonCount {
    /// Reason, e.g. `no_next_hop`.
    pub reason: String,
    /// `pass` or `drop`.
    pub verdict: String,
    /// Packets.
    pub packets: u64,
}

/// Counters of one backend of one pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStats {
    /// Pool name.
    pub pool: PoolName,
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// The counters.
    #[serde(flatten)]
    pub counters: BackendCounters,
}

/// Every failed call answers with this and an HTTP status of 4xx or 5xx.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure; decides the CLI's exit code.
    pub code: ErrorCode,
    /// What was wrong, where, and what to do.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Refused by policy or validation, unknown names included: exit code 4, HTTP 422.
    Refused,
    /// The daemon tried and failed: exit code 1, HTTP 500.
    Failed,
}
