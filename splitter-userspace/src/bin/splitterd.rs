//! `splitterd`: splits the traffic of one load-balancer host.

use std::process::ExitCode;

fn main() -> ExitCode {
    splitter_userspace::daemon::main()
}
