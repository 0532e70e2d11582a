//! Golden packets: every scenario of `tests/golden/`, on the host and in the kernel, there in both forms.
//! See `splitter_tests::golden`.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Completion, Failed, Trial};
use splitter_tests::{
    golden::{self, Kernel, Scenario, Setting},
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
    let [kernel, plain]: [SharedKernel; 2] = Default::default();
    let trials = scenarios.into_iter().map(Arc::new).flat_map(|scenario| {
        [
            on_host(Arc::clone(&scenario)),
            in_kernel(Arc::clone(&scenario), Arc::clone(&kernel)),
            in_plain(scenario, Arc::clone(&plain)),
        ]
    });
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
    let name = format!("kernel {}", scenario.name);
    Trial::ignorable_test(name, move || run_in(&kernel, Kernel::load, &scenario))
}

/// In the form for kernels without `xdp.frags`.
fn in_plain(scenario: Arc<Scenario>, kernel: SharedKernel) -> Trial {
    Trial::ignorable_test(format!("plain {}", scenario.name), move || {
        let setting = Setting::of(&scenario).map_err(|error| failed(&error))?;
        if setting.needs_frags(&scenario).map_err(|error| failed(&error))? {
            return Ok(Completion::ignored_with("needs xdp.frags"));
        }
        run_in(&kernel, Kernel::load_plain, &scenario)
    })
}

fn run_in(
    kernel: &Mutex<Option<Kernel>>,
    load: fn() -> anyhow::Result<Kernel>,
    scenario: &Scenario,
) -> Result<Completion, Failed> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Completion::ignored_with("needs root: loading a program does"));
    }
    let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
    if kernel.is_none() {
        *kernel = Some(load().map_err(|error| failed(&error))?);
    }
    let loaded = kernel.as_mut().expect("loaded above");
    loaded.run(scenario).map_err(|error| failed(&error))?;
    Ok(Completion::Completed)
}

fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
