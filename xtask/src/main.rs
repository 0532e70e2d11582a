//! `cargo xtask`: one subcommand per file, the same for a person and for CI.

mod apt;
mod bench;
mod demo;
mod fuzz;
mod launch;
mod process;
mod setup;
mod summary;
mod test;
mod verify;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, demo and tests of splitter.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, testing and the demo need and this machine lacks.
    Setup(setup::Options),
    /// Build everything and walk through a release in network namespaces of its own (needs root).
    #[command(disable_help_flag = true)]
    Demo(demo::Options),
    /// Measure what a packet costs in the kernel; writes bench.json (needs root).
    Bench,
    /// Format, lints, documentation and every test; tests that need root say so when they are skipped.
    Test,
    /// Compare what the kernel's verifier makes of every program with committed ceilings (needs root).
    #[command(disable_help_flag = true)]
    Verify(verify::Options),
    /// Feed inputs that nobody thought of to packet path, kernel and configuration (the kernel needs root).
    Fuzz(fuzz::Options),
    /// Boot old and new kernels in an emulator; load, attach, golden packets and a transfer in each.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Setup(options) => setup::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench => bench::run(),
        Task::Test => test::run(),
        Task::Verify(options) => verify::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    outcome.map_or_else(report, |()| ExitCode::SUCCESS)
}

/// Every cause in one line: a person reads it, so never with a stack trace.
#[expect(clippy::needless_pass_by_value, reason = "it ends here")]
fn report(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
