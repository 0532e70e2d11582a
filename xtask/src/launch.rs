//! Builds everything and becomes one of the built programs, as root.

use std::os::unix::process::CommandExt;

use anyhow::{Result, anyhow, bail};

use crate::{process, setup};

/// Set-up, build, then `splitter-{task}` in our place: its exit code is ours. Never comes back when all goes well.
pub fn run(task: &str, arguments: &[String]) -> Result<()> {
    setup::run(&setup::Options::default())?;
    eprintln!("{task}: building (the first time takes a few minutes)");
    process::run(process::cargo().args(["build", "--release"]))?;
    let program = process::target_dir().join(format!("release/splitter-{task}"));
    let mut command = as_root(task, &program.display().to_string())?;
    Err(anyhow!(command.args(arguments).exec()).context(format!("cannot start {}", program.display())))
}

/// The program itself, or by way of `sudo` where we are not root.
fn as_root(task: &str, program: &str) -> Result<std::process::Command> {
    if process::is_root() {
        return Ok(process::command(program));
    }
    if process::find("sudo").is_none() {
        bail!(
            "the {task} makes network namespaces or loads programs into the kernel, so it needs root: run it as root"
        );
    }
    eprintln!("{task}: network namespaces and loading into the kernel need root: going on with `sudo -E`");
    let mut sudo = process::command("sudo");
    sudo.args(["-E", program]);
    Ok(sudo)
}
