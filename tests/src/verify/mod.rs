//! `cargo xtask verify`: what the kernel's verifier makes of every program, against committed ceilings.
//!
//! # Layout
//! - `figures`: one program's figures, measured
//! - `ceilings`: those that are committed, and what is too much
//! - `report`: the table

mod ceilings;
mod figures;
mod report;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use self::{
    ceilings::{Ceilings, kernel},
    figures::measure,
};

/// Loads every program in both variants, and compares what the verifier and the JIT compiler made of it with what is
/// committed in `tests/verifier.toml`.
#[derive(Parser)]
#[command(name = "cargo xtask verify", bin_name = "cargo xtask verify")]
struct Options {
    /// Write the figures into `tests/verifier.toml` instead.
    #[arg(long)]
    update: bool,
    /// Where we are not root, say so and succeed.
    #[arg(long, hide = true)]
    root_or_skip: bool,
}

/// Loads every program, prints the table, compares or writes.
pub fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.root_or_skip && !rustix::process::geteuid().is_root() {
        println!("verify: skipped: it needs root, as loading a program does");
        return Ok(());
    }
    let found = measure()?;
    let committed = Ceilings::read()?;
    println!("{}", report::table(&found, &committed));
    if options.update {
        return Ceilings::of(found).write();
    }
    let kernel = kernel();
    if committed.kernel != kernel {
        println!(
            "verify: every program loads; not compared: this is Linux {kernel}, the figures are of {}",
            committed.kernel
        );
        return Ok(());
    }
    let complaints = committed.exceeded(&found);
    if !complaints.is_empty() {
        bail!(
            "{}\nMake the program smaller again, or commit new figures with `cargo xtask verify --update`",
            complaints.join("\n")
        );
    }
    println!("verify: every program loads, and none is more than 10 % over its committed figures");
    Ok(())
}
