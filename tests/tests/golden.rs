//! Golden packets: every scenario of `tests/golden/`, on the host and in the kernel. See `splitter_tests::golden`.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Completion, Failed, Trial};
use splitter_tests::{
    golden::{self, Kernel, Scenario},
    harness,
};

fn main() -> ExitCode {
    let scenarios = match golden::scenarios() {
        Ok(scenarios) => scenarios,
        Err(error) => {
            eprintln!("golden: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let kernel: SharedKernel = Arc::default();
    let trials = scenarios
        .into_iter()
        .map(Arc::new)
        .flat_map(|scenario| [on_host(Arc::clone(&scenario)), in_kernel(scenario, Arc::clone(&kernel))]);
    harness::main(trials.collect())
}

/// Loaded by the first scenario that runs in the kernel.
type SharedKernel = Arc<Mutex<Option<Kernel>>>;

fn on_host(scenario: Arc<Scenario>) -> Trial {
    Trial::test(format!("host {}", scenario.name), move || {
        golden::run_on_host(&scenario).map_err(|error| failed(&error))
    })
}

fn in_kernel(scenario: Arc<Scenario>, kernel: SharedKernel) -> Trial {
    Trial::ignorable_test(format!("kernel {}", scenario.name), move || {
        if !rustix::process::geteuid().is_root() {
            return Ok(Completion::ignored_with("needs root: loading a program does"));
        }
        let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        if kernel.is_none() {
            *kernel = Some(Kernel::load().map_err(|error| failed(&error))?);
        }
        let loaded = kernel.as_mut().expect("loaded above");
        loaded.run(&scenario).map_err(|error| failed(&error))?;
        Ok(Completion::Completed)
    })
}

fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
