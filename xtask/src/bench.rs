//! `cargo xtask bench`: what a packet costs in the kernel.

use anyhow::Result;

use crate::launch;

/// Builds and becomes the benchmark, which prints a table and writes `bench.json`.
pub fn run() -> Result<()> {
    launch::run("bench", &[])
}
