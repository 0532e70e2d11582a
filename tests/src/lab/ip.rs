//! Running `ip` and other tools, with errors that name the command and its complaint.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs `ip` once for all `lines`, inside `namespace` or outside of any.
pub fn batch(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(namespace.iter().flat_map(|name| ["-n", *name])).args(["-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start `ip`: run `cargo xtask setup`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.join("\n").as_bytes()).context("cannot write to `ip -batch`")?;
    }
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    check(&output, || {
        format!("ip -batch in {}:\n{}", namespace.unwrap_or("the root namespace"), lines.join("\n"))
    })
}

/// Runs a command to its end and gives back what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {name}: run `cargo xtask setup`"))?;
    check(&output, || name)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(output: &Output, what: impl FnOnce() -> String) -> Result<()> {
    if !output.status.success() {
        bail!("{} failed: {}: {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
