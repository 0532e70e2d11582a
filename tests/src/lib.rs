//! The laboratory of network namespaces, and the demo that plays in it.
//!
//! # Layout
//! - [`lab`]: namespaces, a network of them, servers, clients, and the daemon as a process
//! - [`demo`]: the release that `cargo xtask demo` walks through
//! - [`bench`]: what a packet costs in the kernel
//! - [`harness`]: how a test that needs root runs, or says why it does not

pub mod bench;
pub mod demo;
pub mod harness;
pub mod lab;
