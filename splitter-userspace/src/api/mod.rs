//! JSON over HTTP on a unix socket: shapes, server and client.

pub mod control;
pub mod model;
