//! Active health checks: is each backend's port open?
//!
//! `state` decides from passes and failures, purely; `probe` makes one check; `checker` runs one task per target.

mod checker;
mod probe;
mod state;

pub use checker::Checker;

use std::net::SocketAddr;

use crate::config::HealthCheck;

/// A backend to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How often, how long, and how many results in a row count.
    pub check: HealthCheck,
}

/// A backend's health changed, or is known for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which backend.
    pub address: SocketAddr,
    /// Whether it takes connections.
    pub up: bool,
    /// The last result and how many counted, such as `connect: connection refused (3 of 3 failed)`.
    pub why: String,
}
