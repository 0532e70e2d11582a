//! The golden packets, in this kernel.
//!
//! Those of mode `snat` and of frames in several buffers are left out, by name, where the kernel has no `xdp.frags`.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::{finding::Golden, load::with_all_there_is};
use crate::golden::{Kernel, Scenario, Setting, scenarios};

/// Runs every scenario of what the kernel has; one that fails keeps no other from running.
pub fn run() -> Result<Golden> {
    let scenarios = scenarios()?;
    wait_until_old_enough(&scenarios);
    let (data_plane, limit) = with_all_there_is()?;
    let mut kernel = Kernel::of(data_plane, limit.is_none())?;
    let mut golden = Golden { passed: 0, failed: Vec::new(), left_out: Vec::new() };
    for scenario in scenarios {
        if limit.is_some() && Setting::of(&scenario)?.needs_frags(&scenario)? {
            golden.left_out.push(scenario.name);
            continue;
        }
        match kernel.run(&scenario) {
            Ok(()) => golden.passed += 1,
            Err(error) => golden.failed.push((scenario.name, format!("{error:#}"))),
        }
    }
    Ok(golden)
}

/// The program's clock begins with the machine, and entries are some seconds old when a scenario begins.
fn wait_until_old_enough(scenarios: &[Scenario]) {
    let oldest = scenarios.iter().map(Scenario::oldest).max().unwrap_or_default() as i64;
    while clock_gettime(ClockId::Monotonic).tv_sec <= oldest {
        sleep(Duration::from_millis(100));
    }
}
