//! `cargo xtask verify`: what the kernel's verifier makes of every program.

use std::process::ExitCode;

fn main() -> ExitCode {
    splitter_tests::verify::main()
}
