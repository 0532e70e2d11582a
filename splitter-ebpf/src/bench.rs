//! The benchmark's wrapper: writes a fresh header into the frame, of a flow drawn at random, and tail-calls the
//! program under test, which takes frames in several buffers: a program array holds programs of one kind alone.
//! `BPF_PROG_TEST_RUN` with `repeat` does not restore a frame that a program rewrote.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro gives the context by value")]

mod object;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use splitter_common::bench::{FRAME, Workload};

#[btf_map]
static WORKLOAD: Array<Workload, 1> = Array::new();
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// The floor: what the wrapper itself costs.
#[xdp(frags)]
fn floor(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Writes the frame and runs the program under test.
#[xdp(frags)]
fn wrapper(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + FRAME > end {
        return xdp_action::XDP_ABORTED;
    }
    let Some(workload) = WORKLOAD.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: one element, used by the one CPU that the test runs on.
    let workload = unsafe { &mut *workload };
    let flow = workload.next_flow();
    // SAFETY: the frame's bounds are checked above.
    unsafe { (start as *mut [u64; FRAME / 8]).write_unaligned(workload.template) };
    put(start, end, workload.address_at, workload.address(flow));
    put(start, end, workload.port_at, Workload::port(flow));
    // SAFETY: the context is the kernel's.
    unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

/// Writes into the first 64 bytes of the frame.
#[inline(always)]
fn put<T>(start: usize, end: usize, at: u32, value: T) {
    let to = start + (at as usize & 63);
    if to + size_of::<T>() <= end {
        // SAFETY: the bounds are checked.
        unsafe { (to as *mut T).write_unaligned(value) };
    }
}
