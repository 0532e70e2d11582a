//! Golden packets: one file per scenario, run on the host and in the kernel, compared byte for byte.
//!
//! A file in `tests/golden/` says why it is there, what the slots and tables hold, which packet comes in, and what
//! comes out. Everything it does not mention must not happen: no other counter moves, no other entry is left. The
//! packet that comes out is described by what differs from the one that came in, and built from these fields, its
//! checksums from scratch. Services and network are those of `tests/golden/setting/`, by the daemon's own code.
//!
//! # Layout
//! - `scenario`: the format; `packet`: frames from fields
//! - `setting`: services, network, slots and tables before the packet
//! - `outcome`: what a run came to, and what it should have come to
//! - `host`, `kernel`: the two that run

mod host;
mod kernel;
mod outcome;
mod packet;
mod scenario;
mod setting;

use std::{env, path::PathBuf};

use anyhow::Result;

pub use self::{
    host::{Host, run as run_on_host},
    kernel::Kernel,
    scenario::{Scenario, Verdict},
    setting::Setting,
};

/// The environment variable that says where the scenarios are, where that is not the source tree.
pub const FOLDER_VARIABLE: &str = "SPLITTER_GOLDEN";

/// Where the scenarios are.
pub fn folder() -> PathBuf {
    env::var_os(FOLDER_VARIABLE)
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/golden").into(), PathBuf::from)
}

/// Every scenario, in the order of their names.
///
/// # Errors
/// A file cannot be read, or says what no scenario can.
pub fn scenarios() -> Result<Vec<Scenario>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        paths.extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|it| it == "toml")));
    }
    paths.sort();
    paths.iter().map(|path| Scenario::load(path)).collect()
}
