//! What is found out inside a virtual machine about its kernel; `cargo xtask vm` boots it.
//!
//! The program is the machine's first process and its only one. It refuses to be anything else: it would attach to a
//! network card that others use.
//!
//! # Layout
//! - `machine`: what a system would have done at its start, and the end
//! - `report`: where the findings go; `finding`: what they are
//! - `load`, `attach`, `golden`, `transfer`: the steps

mod attach;
pub mod finding;
mod golden;
mod load;
mod machine;
mod report;
mod transfer;

use std::process::{ExitCode, id};

use anyhow::Result;
use splitter_userspace::dataplane::{DataPlane, Variant};

use self::{finding::Finding, report::Report};

/// Number of the first process.
const INIT: u32 = 1;

/// Finds out everything, a failure is a finding too, and switches the machine off.
pub fn main() -> ExitCode {
    if id() != INIT {
        eprintln!(
            "splitter-vm-guest: runs as the first process of a virtual machine alone: see `cargo xtask vm`"
        );
        return ExitCode::FAILURE;
    }
    match machine::whole_life(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("splitter-vm-guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut report: Report) -> Result<()> {
    report.say(&Finding::Booted(rustix::system::uname().release().to_string_lossy().into_owned()))?;
    match load::load() {
        Ok((data_plane, loaded)) => {
            report.say(&Finding::Load(Ok(loaded).into()))?;
            verify(&mut report, data_plane.variant())?;
            try_it(&mut report, data_plane)?;
        }
        Err(error) => {
            report.say(&Finding::Load(Err(error).into()))?;
            // What the others say as well: the first is not always the worst.
            verify(&mut report, Variant::Plain)?;
        }
    }
    report.say(&Finding::End)
}

/// Every variant that this kernel takes; one that takes `xdp.frags` takes the plain one, too.
fn verify(report: &mut Report, taken: Variant) -> Result<()> {
    let variants = [Variant::Frags, Variant::Plain].into_iter().skip(taken as usize);
    variants.map(|it| (it, load::verify(it))).try_for_each(|(variant, outcome)| {
        report.say(&Finding::Verify { variant: variant.name().into(), outcome: outcome.into() })
    })
}

/// The transfer comes first: golden packets need a machine that has been up for a while.
fn try_it(report: &mut Report, data_plane: DataPlane) -> Result<()> {
    attach::each(data_plane, |driver, outcome| {
        report.say(&Finding::Attach { driver: driver.into(), outcome: outcome.into() })
    })?;
    report.say(&Finding::Transfer(transfer::run().into()))?;
    report.say(&Finding::Golden(golden::run().into()))
}
