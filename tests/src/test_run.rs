//! Packets through a loaded program by `BPF_PROG_TEST_RUN`, and the CPU that they come in on.

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What the program returns for a frame, and the frame that comes out, of at most `room` bytes.
///
/// # Errors
/// The kernel refuses.
pub fn test_run(program: &Xdp, frame: &[u8], room: usize) -> Result<(u32, Vec<u8>)> {
    let mut out = vec![0; room];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

/// CPUs that this thread may use.
///
/// # Errors
/// The kernel refuses.
pub fn cpus() -> Result<impl Iterator<Item = usize>> {
    let allowed = sched_getaffinity(None).context("cannot see which CPUs are allowed")?;
    Ok((0..CpuSet::MAX_CPU).filter(move |cpu| allowed.is_set(*cpu)))
}

/// Keeps this thread on one CPU.
///
/// # Errors
/// The kernel refuses.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).context("cannot stay on one CPU")
}
