//! `cargo xtask demo`: set-up, build, then the demo itself in our place.

use std::os::unix::process::CommandExt;

use anyhow::{Result, anyhow, bail};

use crate::{process, setup};

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Options {
    /// Given to the demo as they are; `cargo xtask demo --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    arguments: Vec<String>,
}

/// Never comes back when all goes well: the demo takes our place, and its exit code is ours.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::default())?;
    eprintln!("demo: building (the first time takes a few minutes)");
    process::run(process::cargo().args(["build", "--release"]))?;
    let program = process::target_dir().join("release/splitter-demo");
    let mut demo = as_root(&program.display().to_string())?;
    Err(anyhow!(demo.args(&options.arguments).exec()).context(format!("cannot start {}", program.display())))
}

/// The program itself, or by way of `sudo` where we are not root.
fn as_root(program: &str) -> Result<std::process::Command> {
    if process::is_root() {
        return Ok(process::command(program));
    }
    if process::find("sudo").is_none() {
        bail!(
            "the demo makes network namespaces and loads a program into the kernel, so it needs root: run it as root"
        );
    }
    eprintln!("demo: network namespaces and loading into the kernel need root: going on with `sudo -E`");
    let mut sudo = process::command("sudo");
    sudo.args(["-E", program]);
    Ok(sudo)
}
