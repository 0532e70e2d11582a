//! The laboratory of network namespaces, and the demo that plays in it.
//!
//! # Layout
//! - [`lab`]: namespaces, a network of them, servers, clients, and the daemon as a process
//! - [`demo`]: the release that `cargo xtask demo` walks through
//! - [`harness`]: how a test that needs root runs, or says why it does not

pub mod demo;
pub mod harness;
pub mod lab;
