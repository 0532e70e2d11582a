//! The benchmark: nanoseconds per packet, in the kernel.
//!
//! `BPF_PROG_TEST_RUN` runs a wrapper that writes a fresh header, of a flow drawn at random, and tail-calls the
//! program under test. The wrapper with a program that only returns `XDP_TX` is the floor; `net` is without it.
//!
//! # Layout
//! - `kernel`: the wrapper and its runs
//! - `setting`: the services under test
//! - `frames`: the packets
//! - `report`: the table and `bench.json`

mod frames;
mod kernel;
mod report;
mod setting;

use std::process::ExitCode;

use anyhow::Result;
use splitter_common::slot::State;

use self::{
    frames::Kind,
    kernel::Bench,
    report::{Report, Row},
    setting::Setting,
};

/// Flows that a row is measured with.
const FLOWS: [u32; 4] = [1, 256, 65_536, 1_048_576];

/// Runs everything and writes the report.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("splitter-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut report = Report::default();
    let mut setting = Setting::new()?;
    let mut bench = Bench::new(setting.program()?)?;
    for kind in Kind::ALL {
        for (name, state) in states(kind) {
            setting.force(state)?;
            for flows in FLOWS {
                let floor = bench.floor(&kind.frame(), flows)?;
                let runs = bench.under_test(&kind.frame(), flows)?;
                report.push(Row::new(format!("{}{name}", kind.name()), flows, &runs, &floor));
            }
        }
    }
    report.print();
    report.write("bench.json")
}

/// The slot states that a kind of packet is measured in.
fn states(kind: Kind) -> Vec<(&'static str, Option<State>)> {
    match kind {
        Kind::Stranger => vec![("", None)],
        _ => vec![
            ("-clean", Some(State::Clean)),
            ("-dirty-miss", Some(State::Dirty { previous: setting::PREVIOUS })),
            ("-tracked-miss", Some(State::Tracked)),
        ],
    }
}
