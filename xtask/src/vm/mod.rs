//! `cargo xtask vm`: boots Debian's kernels under qemu's software emulation, old ones and new ones, and has the program
//! loaded, attached and tried in each.
//!
//! - `version`: versions, and which of them are asked for
//! - `place`: where everything is kept
//! - `packages`: which kernels the machine's package sources have
//! - `kernels`: kernels that were fetched, kept under `target/vm/kernels`; `modules`: what of them is needed
//! - `programs`: our own programs and the tools of the laboratory
//! - `initramfs`: all of it in an archive that the kernel starts with
//! - `machine`: one boot; `finding`: what the guest says (`splitter_tests::vm` is the other side)
//! - `report`: the table, and the same for machines

// The guest's own file, so that both sides speak of the same things; the guest's crate needs the BPF program, and so
// everything that is built to build it.
#[path = "../../../tests/src/vm/finding.rs"]
mod finding;
mod initramfs;
mod kernels;
mod machine;
mod modules;
mod packages;
mod place;
mod programs;
mod report;
mod version;

use anyhow::{Result, bail, ensure};

use self::{
    kernels::{Kernel, Kernels},
    report::{Report, Row},
    version::Wanted,
};
use crate::setup;

/// What the programs in a machine are built for.
pub const TARGET: &str = "x86_64-unknown-linux-musl";

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernels to boot: of each, the newest version that begins with these numbers.
    #[arg(long, value_delimiter = ',', default_value = "5.10,6.1,6.12,6.18,7", value_name = "VERSION,...")]
    kernels: Vec<Wanted>,
    /// Ask the package sources for newer versions of kernels that are there already.
    #[arg(long)]
    refresh: bool,
    /// Seconds that a machine may run.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Boots every kernel, one after the other, and prints what came of it.
///
/// # Errors
/// Something failed in a kernel that booted, or there was none to boot.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "Debian's kernels for amd64 are what is booted: this machine is {}",
        std::env::consts::ARCH
    );
    setup::run(&setup::Options::for_vm())?;
    let _claim = place::claim()?;
    let kernels = Kernels::new(options.refresh)?;
    let had: Vec<_> = options.kernels.iter().map(|wanted| (wanted, kernels.get(wanted))).collect();
    if had.iter().all(|(_, kernel)| kernel.is_err()) {
        let reasons =
            had.iter().filter_map(|(wanted, kernel)| Some(format!("{wanted}: {:#}", kernel.as_ref().err()?)));
        bail!("no kernel could be had: {}", reasons.collect::<Vec<_>>().join("; "));
    }
    let programs = programs::build()?;
    let mut report = Report::default();
    for (wanted, kernel) in had {
        let row = match kernel {
            Ok(kernel) => boot(wanted, &kernel, &programs, options.limit)?,
            Err(cause) => Row::skipped(wanted, &cause),
        };
        report.push(row);
    }
    match options.output {
        Output::Table => report.print(),
        Output::Json => report.print_json()?,
    }
    report.verdict()
}

fn boot(wanted: &Wanted, kernel: &Kernel, programs: &programs::Programs, limit: u64) -> Result<Row> {
    let archive = initramfs::pack(kernel, programs)?;
    let run = machine::run(kernel, archive.path(), limit)?;
    let row = Row::of(wanted, kernel, run);
    eprintln!("vm: {}: {}", kernel.version, row.summary());
    Ok(row)
}
