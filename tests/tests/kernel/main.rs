//! What the kernel makes of the program.

mod explained;
mod ports;

use std::{os::fd::AsFd as _, process::ExitCode};

use anyhow::{Result, ensure};
use splitter_tests::{
    harness::{self, root_test},
    translated::Functions,
};
use splitter_userspace::dataplane::{DataPlane, Sizes};

/// The only kernel functions that the program's entry may call: out of another interface, the log of drops, and on to a
/// later stage.
const ALLOWED: [&str; 5] = [
    "dev_hash_map_redirect",
    "bpf_ringbuf_reserve",
    "bpf_ringbuf_submit",
    "bpf_ringbuf_discard",
    "bpf_tail_call",
];

/// Functions of the program that call into the kernel: placing and answering connections of slots that are not CLEAN.
const NOT_CLEAN: usize = 2;

fn main() -> ExitCode {
    harness::main(vec![
        root_test("the_steady_state_calls_no_helper", the_steady_state_calls_no_helper),
        root_test("the_daemon_and_the_kernel_agree", explained::the_daemon_and_the_kernel_agree),
        root_test(
            "a_million_connections_leave_no_port_taken",
            ports::a_million_connections_leave_no_port_taken,
        ),
    ])
}

/// Everything a packet of a CLEAN slot passes through is in the program's entry, which is inlined; the kernel has
/// turned its array look-ups into loads. (Per-CPU arrays since Linux 6.10, commit db69718b8efa.)
fn the_steady_state_calls_no_helper() -> Result<()> {
    let data_plane = DataPlane::load(&Sizes::SMALL)?;
    let functions = Functions::of(data_plane.program()?.fd()?.as_fd())?;
    let entry = functions.entry();
    let others: Vec<&String> =
        entry.helpers.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
    ensure!(
        others.is_empty(),
        "the entry calls {others:?}: a look-up is not inlined any more, or one was added"
    );
    let beyond =
        |callee: &usize| functions.reached(*callee).iter().any(|name| !ALLOWED.contains(&name.as_str()));
    let calling: Vec<_> = entry.callees.iter().filter(|callee| beyond(callee)).collect();
    ensure!(
        calling.len() == NOT_CLEAN,
        "{} functions reach into the kernel, not {NOT_CLEAN}: {:?}",
        calling.len(),
        calling.iter().map(|callee| functions.reached(**callee)).collect::<Vec<_>>()
    );
    Ok(())
}
