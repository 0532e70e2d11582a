//! The wrapper and its runs.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use splitter_common::bench::{FRAME, Workload};
use splitter_userspace::dataplane::BENCH_OBJECT;

/// Packets of a run, and runs of a row. The first run warms up and is not counted.
const PACKETS: u32 = 1_000_000;
const RUNS: usize = 7;

/// The wrapper, loaded.
pub struct Bench {
    object: Ebpf,
    workload: Array<MapData, Workload>,
    programs: ProgramArray<MapData>,
    under_test: ProgramFd,
    floor: ProgramFd,
}

impl Bench {
    /// Loads the wrapper around `program`.
    pub fn new(program: &Xdp) -> Result<Self> {
        let mut object = EbpfLoader::new().load(BENCH_OBJECT)?;
        for name in ["wrapper", "floor"] {
            xdp(&mut object, name)?.load()?;
        }
        let workload = Array::try_from(object.take_map("WORKLOAD").context("no map WORKLOAD")?)?;
        let programs = ProgramArray::try_from(object.take_map("UNDER_TEST").context("no map UNDER_TEST")?)?;
        let floor = xdp(&mut object, "floor")?.fd()?.try_clone()?;
        Ok(Self { object, workload, programs, under_test: program.fd()?.try_clone()?, floor })
    }

    /// Nanoseconds per packet of the wrapper alone, run by run.
    pub fn floor(&mut self, frame: &Workload, flows: u32) -> Result<Vec<f64>> {
        self.programs.set(0, &self.floor, 0)?;
        self.runs(frame, flows)
    }

    /// Nanoseconds per packet of wrapper and program, run by run.
    pub fn under_test(&mut self, frame: &Workload, flows: u32) -> Result<Vec<f64>> {
        self.programs.set(0, &self.under_test, 0)?;
        self.runs(frame, flows)
    }

    fn runs(&mut self, frame: &Workload, flows: u32) -> Result<Vec<f64>> {
        self.workload.set(0, Workload { flow_mask: flows - 1, ..*frame }, 0)?;
        let wrapper: &mut Xdp = xdp(&mut self.object, "wrapper")?;
        let mut runs = Vec::new();
        for _ in 0..=RUNS {
            let mut options = TestRunOptions::new();
            let frame = [0u8; FRAME];
            options.data_in = Some(&frame);
            options.repeat = PACKETS;
            runs.push(wrapper.test_run(options)?.duration.as_nanos() as f64);
        }
        runs.remove(0);
        Ok(runs)
    }
}

fn xdp<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program =
        object.program_mut(name).ok_or_else(|| anyhow!("the wrapper's object has no program {name}"))?;
    Ok(program.try_into()?)
}
