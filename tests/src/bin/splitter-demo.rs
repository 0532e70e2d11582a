//! `cargo xtask demo`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    splitter_tests::demo::main()
}
