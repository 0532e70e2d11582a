//! `cargo xtask fuzz`: inputs that nobody thought of, made by libFuzzer out of those in `tests/fuzz/corpus/`.
//!
//! The stable compiler has the coverage passes that libFuzzer is led by; only their flags are not spelled out.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds, all targets together.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// The only target: packet, icmp_fragments, config or kernel; without it, all that may run.
    target: Option<String>,
}

/// Every target, and whether it needs root.
const TARGETS: [(&str, bool); 4] =
    [("packet", false), ("icmp_fragments", false), ("config", false), ("kernel", true)];

/// What libFuzzer wants to be told by the program (clang's `-fsanitize=fuzzer-no-link`).
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
];

/// Builds, and runs one target after the other; each has the same share of the time.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::for_fuzzing())?;
    let targets = targets(options)?;
    let program = build()?;
    let seconds = (options.time / targets.len() as u64).max(1);
    let mut failed = Vec::new();
    for target in targets {
        println!("\n== fuzz {target}: {seconds} s");
        if process::run(&mut fuzzer(&program, target, seconds)?).is_err() {
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!(
            "failures in {}: the inputs are in tests/fuzz/crashes/, and `cargo test --test fuzz` replays them",
            failed.join(", ")
        );
    }
    Ok(())
}

fn targets(options: &Options) -> Result<Vec<&'static str>> {
    if let Some(wanted) = &options.target {
        let found = TARGETS.into_iter().find(|(name, _)| name == wanted);
        let names = TARGETS.map(|(name, _)| name).join(", ");
        let (name, _) = found.with_context(|| format!("there is no target `{wanted}`: there are {names}"))?;
        return Ok(vec![name]);
    }
    let root = process::is_root();
    for (name, _) in TARGETS.into_iter().filter(|(_, needs_root)| *needs_root && !root) {
        println!("fuzz: {name} is left out: it needs root, as loading a program does");
    }
    Ok(TARGETS.into_iter().filter(|(_, needs_root)| root || !needs_root).map(|(name, _)| name).collect())
}

/// The program for all targets, in a folder of its own: nothing else is built with these flags.
fn build() -> Result<String> {
    let host = process::output(process::command("rustc").arg("-vV"))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let folder = process::target_dir().join("fuzz");
    let mut build = process::cargo();
    build.args(["build", "--release", "--package", "splitter-fuzz", "--target", host, "--target-dir"]);
    build.arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    eprintln!("fuzz: building (the first time takes a few minutes)");
    process::run(&mut build)?;
    Ok(folder.join(host).join("release/splitter-fuzz").display().to_string())
}

/// New inputs go to the target folder; those that are kept for good are in the first corpus that is only read.
fn fuzzer(program: &str, target: &str, seconds: u64) -> Result<Command> {
    let kept = Path::new("tests/fuzz/corpus").join(target);
    let crashes = Path::new("tests/fuzz/crashes").join(target);
    let found = process::target_dir().join("fuzz/corpus").join(target);
    let root = process::workspace_root();
    for folder in [&root.join(&kept), &root.join(&crashes), &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut fuzzer = process::command(program);
    fuzzer.env("SPLITTER_FUZZ_TARGET", target);
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-artifact_prefix={}/", crashes.display()));
    fuzzer.args(["-print_final_stats=1", "-max_len=4096", "-timeout=10", "-use_value_profile=1"]);
    fuzzer.arg(found).arg(kept);
    Ok(fuzzer)
}
