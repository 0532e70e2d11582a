//! `cargo xtask fuzz`: inputs that nobody thought of, made by libFuzzer out of golden packets, configurations and those in
//! `tests/fuzz/corpus/`.
//!
//! The stable compiler has the coverage passes that libFuzzer is led by; only their flags are not spelled out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds, all targets together.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Afterwards copy inputs to tests/fuzz/corpus that reach what neither seeds nor kept ones do: the shortest, up to
    /// 60 KB for each target.
    #[arg(long)]
    keep: bool,
    /// The only target: packet, icmp_fragments, config or kernel; without it, all that may run.
    target: Option<String>,
}

/// Every target, and whether it needs root.
const TARGETS: [(&str, bool); 4] =
    [("packet", false), ("icmp_fragments", false), ("config", false), ("kernel", true)];

/// Bytes of a target's kept inputs, all together: each `cargo test` runs them, and they are in the repository.
const KEPT: u64 = 60_000;

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
        let folders = Folders::make(target)?;
        if process::run(&mut fuzzer(&program, target, seconds, &folders)).is_err() {
            failed.push(target);
        } else if options.keep {
            keep(&program, target, &folders)?;
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

/// A target's inputs.
struct Folders {
    /// In the repository.
    kept: PathBuf,
    /// Failures, which are kept too.
    crashes: PathBuf,
    /// Seeds, and what the fuzzer found on this machine.
    found: PathBuf,
}

impl Folders {
    fn make(target: &str) -> Result<Self> {
        let tests = process::workspace_root().join("tests/fuzz");
        let (kept, crashes) = (tests.join("corpus").join(target), tests.join("crashes").join(target));
        let found = process::target_dir().join("fuzz/corpus").join(target);
        for folder in [&kept, &crashes, &found] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { kept, crashes, found })
    }
}

/// Seeds and new inputs go to the first folder; the others are only read.
fn fuzzer(program: &str, target: &str, seconds: u64, folders: &Folders) -> Command {
    let mut fuzzer = process::command(program);
    fuzzer.env("SPLITTER_FUZZ_TARGET", target).env("SPLITTER_FUZZ_SEEDS", &folders.found);
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-artifact_prefix={}/", folders.crashes.display()));
    fuzzer.args(["-print_final_stats=1", "-timeout=10", "-use_value_profile=1"]);
    // Configurations are longer than frames, and a word of them is worth more than a byte.
    if target == "config" {
        fuzzer.args(["-max_len=16384", "-dict=tests/fuzz/config.dict"]);
    } else {
        fuzzer.arg("-max_len=4096");
    }
    fuzzer.args([&folders.found, &folders.kept]);
    fuzzer
}

/// Copies to the kept inputs those that reach more code than seeds and kept ones, the shortest first.
fn keep(program: &str, target: &str, folders: &Folders) -> Result<()> {
    let merged = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut known = files(&folders.kept)?;
    known.extend(files(&folders.found)?.into_iter().filter(|(name, _)| name.starts_with("seed-")));
    for (name, path) in &known {
        fs::copy(path, merged.path().join(name))
            .with_context(|| format!("cannot copy {}", path.display()))?;
    }
    let mut merge = process::command(program);
    merge.env("SPLITTER_FUZZ_TARGET", target).args(["-merge=1", "-max_len=16384", "-timeout=10"]);
    process::run(merge.arg(merged.path()).arg(&folders.found))?;
    let mut new: Vec<(u64, String, PathBuf)> = Vec::new();
    for (name, path) in files(merged.path())?.into_iter().filter(|(name, _)| !known.contains_key(name)) {
        new.push((path.metadata()?.len(), name, path));
    }
    new.sort();
    let mut room = KEPT.saturating_sub(size(&folders.kept)?);
    for (length, name, path) in new {
        let Some(left) = room.checked_sub(length) else { break };
        fs::copy(path, folders.kept.join(name))?;
        room = left;
    }
    println!("fuzz: {} holds {} bytes", folders.kept.display(), size(&folders.kept)?);
    Ok(())
}

/// The files in a folder, by name.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect()
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> Result<u64> {
    files(folder)?.values().map(|path| Ok(path.metadata()?.len())).sum()
}
