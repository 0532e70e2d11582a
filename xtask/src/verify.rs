//! `cargo xtask verify`: what the kernel's verifier makes of every program.

use anyhow::Result;

use crate::launch;

/// Options of `cargo xtask verify`.
#[derive(clap::Args)]
pub struct Options {
    /// Given to the program as they are; `cargo xtask verify --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    arguments: Vec<String>,
}

/// Builds and becomes the program that loads and compares.
pub fn run(options: &Options) -> Result<()> {
    launch::run("verify", &options.arguments)
}
