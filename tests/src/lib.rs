//! The laboratory of network namespaces, and the demo that plays in it.
//!
//! # Layout
//! - [`lab`]: namespaces, a network of them, servers, clients, and the daemon as a process
//! - [`demo`]: the release that `cargo xtask demo` walks through
//! - [`golden`]: packets described in files, run on the host and in the kernel
//! - [`oracle`]: what holds for every frame, judged by a library that knows nothing of ours
//! - [`fuzz`]: what is done with inputs that nobody thought of
//! - [`mod@bench`]: what a packet costs in the kernel
//! - [`vm`]: what is found out inside a virtual machine about its kernel
//! - [`translated`]: the program as the verifier translated it
//! - [`verify`]: its figures against committed ceilings
//! - [`mod@test_run`]: packets through a loaded program
//! - [`harness`]: how a test that needs root runs, or says why it does not

pub mod bench;
pub mod demo;
pub mod fuzz;
pub mod golden;
pub mod harness;
pub mod lab;
pub mod oracle;
pub mod test_run;
pub mod translated;
pub mod verify;
pub mod vm;
