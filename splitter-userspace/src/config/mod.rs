//! The TOML configuration: its model, and the checks that find every mistake at once.

mod model;

pub use model::{
    Affinity, BackendSpec, Config, Daemon, ForwardMode, HealthCheck, NoBackend, Pool, PoolName, Prefix, Protocol,
    Service, Weight, XdpMode,
};
