//! Tests that need root: one after the other, and skipped with the reason where we are not root.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A test that makes network namespaces or loads programs.
pub fn root_test(name: &str, test: fn() -> anyhow::Result<()>) -> Trial {
    Trial::ignorable_test(name, move || {
        if !rustix::process::geteuid().is_root() {
            return Ok(Completion::ignored_with("needs root: network namespaces and loading programs do"));
        }
        test().map_err(|cause| Failed::from(format!("{cause:#}")))?;
        Ok(Completion::Completed)
    })
}

/// The `main` of a test program: runs `trials` serially, as they share the machine's two or so CPUs and its clock.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}
