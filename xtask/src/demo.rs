//! `cargo xtask demo`: a release, live, in network namespaces of its own.

use anyhow::Result;

use crate::launch;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Options {
    /// Given to the demo as they are; `cargo xtask demo --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    arguments: Vec<String>,
}

/// Builds and becomes the demo.
pub fn run(options: &Options) -> Result<()> {
    launch::run("demo", &options.arguments)
}
