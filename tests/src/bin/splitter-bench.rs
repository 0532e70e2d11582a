//! `cargo xtask bench`: what a packet costs in the kernel.

use std::process::ExitCode;

fn main() -> ExitCode {
    splitter_tests::bench::main()
}
