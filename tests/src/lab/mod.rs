//! A laboratory in one process: hosts that are network namespaces, real servers and clients in them, and the real daemon
//! between the two.
//!
//! ```text
//!   client          lb                      net                 blue1 blue2 green1 green2 canary1
//!   eth0 ───────── eth0   eth1 ───────────── br0 ──────────────── eth0 each
//!   198.51.100.7   .1     10.0.0.1           (a switch)           10.0.1.11 10.0.1.12 10.0.2.11 10.0.2.12 10.0.3.11
//! ```
//!
//! Everything is named after the process, is removed when its value is dropped (panics included), and is removed by the
//! next laboratory when the process was killed. Nothing else on the machine is touched: every interface is made inside
//! a namespace.

pub mod addresses;
pub mod binaries;
pub mod binomial;
mod cli;
pub mod config;
mod counters;
mod daemon;
pub mod held;
mod http;
pub mod ip;
mod load;
mod long_lived;
mod namespace;
mod one_arm;
mod ready;
mod redirects;
mod router;
mod runner;
mod scratch;
mod servers;
mod stage;
mod stale;
mod topology;
mod unpack;
mod wire;
pub mod xdp;

pub use cli::{Cli, Reply};
pub use config::ServicePlan;
pub use counters::Counters;
pub use daemon::DaemonProcess;
pub use http::Connection;
pub use load::{Counts, Load, Phase, Plan};
pub use long_lived::{Census, LongLived};
pub use namespace::Namespace;
pub use runner::Runner;
pub use scratch::Scratch;
pub use servers::{HTTP_PORT, Servers, UDP_PORT};
pub use stage::Stage;
pub use topology::{PoolSizes, Topology};
pub use unpack::Unpacking;
pub use wire::Wire;
