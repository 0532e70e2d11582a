//! What is found out inside a virtual machine about its kernel; `cargo xtask vm` boots it.
//!
//! The program is the machine's first process and its only one. It refuses to be anything else: it would attach to a
//! network card that others use.
//!
//! # Layout
//! - `machine`: what a system would have done at its start, and the end
//! - `report`: where the findings go; `finding`: what they are
//! - `attach`, `golden`, `transfer`: the steps

mod attach;
pub mod finding;
mod golden;
mod machine;
mod report;
mod transfer;

use std::{
    process::{ExitCode, id},
    time::Instant,
};

use anyhow::Result;
use splitter_userspace::dataplane::{DataPlane, ProgramFacts, Sizes};

use self::{
    finding::{Finding, Loaded, Program},
    report::Report,
};

/// Room in the maps: enough for every step that loads the program by itself.
const SIZES: Sizes = Sizes::SMALL;

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
    let load = load();
    let loads = load.is_ok();
    report.say(&Finding::Load(load.into()))?;
    if loads {
        try_it(&mut report)?;
    }
    report.say(&Finding::End)
}

/// The transfer comes first: golden packets need a machine that has been up for a while.
fn try_it(report: &mut Report) -> Result<()> {
    for driver in attach::DRIVERS {
        report.say(&Finding::Attach { driver: driver.into(), outcome: attach::natively(driver).into() })?;
    }
    report.say(&Finding::Transfer(transfer::run().into()))?;
    report.say(&Finding::Golden(golden::run().into()))
}

fn load() -> Result<Loaded> {
    let begun = Instant::now();
    let data_plane = DataPlane::load(&SIZES)?;
    let took_ms = begun.elapsed().as_millis() as u64;
    Ok(Loaded { programs: data_plane.programs()?.into_iter().map(program).collect(), took_ms })
}

fn program(facts: ProgramFacts) -> Program {
    let ProgramFacts { name, frags, verified, translated, jited_bytes } = facts;
    Program { name, frags, verified, translated, jited_bytes }
}
