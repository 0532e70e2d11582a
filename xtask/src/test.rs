//! `cargo xtask test`: everything that CI checks, in order, stopping at the first step that fails.

use std::{
    io::{BufRead, BufReader, IsTerminal},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{process, setup, summary::Summary};

/// One step: what it is called, and what it runs.
struct Step {
    name: &'static str,
    command: Command,
}

/// Runs every step; the last line printed is the sum over all test programs.
pub fn run() -> Result<()> {
    setup::run(&setup::Options::default())?;
    let begun = Instant::now();
    let mut summary = Summary::default();
    let mut done = Vec::new();
    let mut outcome = Ok(());
    for mut step in steps() {
        println!("\n== {}: `{}`", step.name, process::line(&step.command));
        let begun = Instant::now();
        outcome = run_counting(&mut step.command, &mut summary);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        done.push(format!("{verdict:<6} {:>6.1} s  {}", begun.elapsed().as_secs_f64(), step.name));
        if outcome.is_err() {
            break;
        }
    }
    println!("\n{}\ntotal  {:>6.1} s", done.join("\n"), begun.elapsed().as_secs_f64());
    println!("{summary}");
    outcome
}

/// All in one profile: the BPF programs are built once.
fn steps() -> Vec<Step> {
    vec![
        step("format", &["fmt", "--all", "--check"]),
        step("lints", &["clippy", "--release", "--all-targets", "--", "-D", "warnings"]),
        Step { name: "lints of the BPF crate", command: bpf_lints() },
        Step { name: "documentation", command: documentation() },
        step("programs", &["build", "--release"]),
        Step { name: "ceilings of the verifier", command: ceilings() },
        step("unit and property tests", &["test", "--release", "--no-fail-fast", "--lib", "--bins"]),
        step(
            "tests in the kernel and in network namespaces",
            &["test", "--release", "--no-fail-fast", "--test", "*"],
        ),
    ]
}

fn step(name: &'static str, arguments: &[&str]) -> Step {
    let mut command = process::cargo();
    command.args(arguments);
    Step { name, command }
}

/// Apart from the userspace crates, so that the two do not unify each other's features.
fn bpf_lints() -> Command {
    let mut command = process::cargo();
    command.args(["clippy", "--package", "splitter-ebpf", "--release", "--target", "bpfel-unknown-none"]);
    command.args(["-Z", "build-std=core", "--target-dir"]).arg(process::target_dir().join("bpf"));
    command.args(["--", "-D", "warnings"]).env("RUSTC_BOOTSTRAP", "1");
    command
}

fn documentation() -> Command {
    let mut command = process::cargo();
    command.args(["doc", "--release", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Says where we are not root that it is skipped.
fn ceilings() -> Command {
    let program = process::target_dir().join("release/splitter-verify");
    let mut command = process::command(&program.display().to_string());
    command.arg("--root-or-skip");
    command
}

/// Runs one step, passing its output on and adding up the test results in it.
fn run_counting(command: &mut Command, summary: &mut Summary) -> Result<()> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let name = process::line(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{name}`"))?;
    let stdout = child.stdout.take().context("the child has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.with_context(|| format!("cannot read the output of `{name}`"))?;
        println!("{line}");
        if let Some(one) = Summary::from_line(&line) {
            *summary += one;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{name}` failed: {status}; the reason is above");
    }
    Ok(())
}
