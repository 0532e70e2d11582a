//! `cargo xtask vm`: the only program of a virtual machine; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    splitter_tests::vm::main()
}
