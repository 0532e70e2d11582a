//! What the kernel's verifier makes of every program.

use std::process::ExitCode;

use splitter_userspace::dataplane::{Sizes, verify};

/// Loads every program.
pub fn main() -> ExitCode {
    for (name, outcome) in verify(&Sizes::SMALL).unwrap() {
        match outcome {
            Ok(facts) => println!("{name:16} {facts:?}"),
            Err(why) => println!("{name:16} FAILED {}", &why[why.len().saturating_sub(1500)..]),
        }
    }
    ExitCode::SUCCESS
}
