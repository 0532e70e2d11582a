//! `splitter`, the command line.
//!
//! # Layout
//!
//! `args` is the command line's grammar, `commands` one function per command, `wait`, `follow` and `watch` those
//! that take their time; `render` turns answers into text and does nothing else; `output` and `terminal` are the
//! only ones to write, `failure` decides the exit code.

mod args;
mod commands;
mod failure;
mod follow;
mod output;
mod render;
mod terminal;
mod wait;
mod watch;

pub use failure::Failure;
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use failure::FailureKind;
use output::Output;

/// Runs the command line of this process. Wrong usage ends the process at once, with exit code 2.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli, output)),
        Err(error) => {
            let message = format!("cannot start: {error}: is the limit of open files too low?");
            Err(Failure::new(FailureKind::Failed, message).into())
        }
    };
    output.finish(result)
}
