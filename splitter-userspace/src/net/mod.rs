//! Next hops for the data plane, read from the kernel's own routes and neighbours and kept fresh.
//!
//! The XDP program forwards without a FIB look-up, so the daemon tells it where things are: for each
//! backend the Ethernet addresses and the interface (`Snapshot::targets`), and for replies to arbitrary
//! clients the main routing table with its gateways resolved (`Snapshot::routes`, `Snapshot::neighbours`).
//! Whatever the program could not do as the kernel would (multipath, tunnels, policy rules, interfaces
//! without XDP ...) is marked as the kernel's: a packet passed up is slow but right.
//!
//! # Layout
//!
//! - `model`: what is published; `facts`: what the kernel said, as plain structs
//! - `choose`, `routes`, `snapshot`: pure, from facts to a snapshot; `confirm`: pure, whom to ask for, when
//! - `decode`: rtnetlink messages to facts; `client`: requests; `events`: notifications
//! - `watcher`: the loop that ties them together
//! - `host`: settings without which the kernel would drop what it is handed; `needs`: pure, which ones count

mod choose;
mod client;
mod confirm;
mod decode;
mod events;
mod facts;
mod host;
mod model;
mod needs;
mod prefix;
mod routes;
mod snapshot;
mod watcher;

pub use host::host_warnings;
pub use model::{Egress, Hop, Interface, NextHop, Route, RouteAction, Snapshot};
pub use watcher::watch;

use std::{io, time::Duration};

/// Why routes and neighbours could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a netlink socket to read routes and neighbours: {0}")]
    Open(#[source] io::Error),
    /// The notification socket failed for another reason than lost messages.
    #[error("the kernel's route and neighbour notifications ended: {0}")]
    Events(#[source] io::Error),
    /// The kernel refused a request.
    #[error("the kernel refused to list {what}: {source}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// No answer in time.
    #[error("the kernel did not answer a request for {what} within {limit:?}")]
    Timeout {
        /// What was asked for.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
}
