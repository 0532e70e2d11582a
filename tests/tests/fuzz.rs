//! Inputs that the fuzzer starts from, and those that once failed: all of them hold. See `splitter_tests::fuzz`.

use std::process::ExitCode;

use libtest_mimic::{Completion, Failed, Trial};
use splitter_tests::{
    fuzz::{Runner, Target, kept, seed},
    harness,
};

fn main() -> ExitCode {
    harness::main(Target::ALL.into_iter().map(trial).collect())
}

fn trial(target: Target) -> Trial {
    Trial::ignorable_test(format!("fuzz {}", target.name()), move || {
        if target.needs_root() && !rustix::process::geteuid().is_root() {
            return Ok(Completion::ignored_with("needs root: loading a program does"));
        }
        replay(target).map_err(|error| Failed::from(format!("{error:#}")))?;
        Ok(Completion::Completed)
    })
}

fn replay(target: Target) -> anyhow::Result<()> {
    let mut runner = Runner::of(target)?;
    let kept = kept(target)?.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
    let failures: Vec<String> = seed(target)?
        .into_iter()
        .chain(kept)
        .filter_map(|(name, bytes)| runner.run(&bytes).err().map(|error| format!("{name}: {error:#}")))
        .collect();
    anyhow::ensure!(failures.is_empty(), "{} inputs fail:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
