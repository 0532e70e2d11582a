//! The golden packets, in this kernel.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::finding::Golden;
use crate::golden::{Kernel, Scenario, scenarios};

/// Runs every scenario; one that fails keeps no other from running.
pub fn run() -> Result<Golden> {
    let scenarios = scenarios()?;
    wait_until_old_enough(&scenarios);
    let mut kernel = Kernel::load()?;
    let mut golden = Golden { passed: 0, failed: Vec::new() };
    for scenario in scenarios {
        match kernel.run(&scenario) {
            Ok(()) => golden.passed += 1,
            Err(error) => golden.failed.push((scenario.name, format!("{error:#}"))),
        }
    }
    Ok(golden)
}

/// The program's clock begins with the machine, and entries are some seconds old when a scenario begins.
fn wait_until_old_enough(scenarios: &[Scenario]) {
    let ages = scenarios.iter().flat_map(|scenario| &scenario.entries).map(|entry| entry.age);
    let oldest = ages.max().unwrap_or_default() as i64;
    while clock_gettime(ClockId::Monotonic).tv_sec <= oldest {
        sleep(Duration::from_millis(100));
    }
}
