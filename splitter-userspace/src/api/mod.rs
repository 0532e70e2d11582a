//! JSON over HTTP on a unix socket: shapes, server and client.

mod answer;
pub mod client;
pub mod control;
mod feed;
mod left;
pub mod model;
pub mod server;
pub mod socket;
