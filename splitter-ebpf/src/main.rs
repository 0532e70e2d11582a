//! The XDP program: `splitter-common`'s pipeline over the kernel's frames and maps.
//!
//! - `frame`: a frame's bytes (all pointers into packet memory)
//! - `maps`: the maps, and what the pipeline asks of them
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro gives the context by value")]

mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use splitter_common::{
    packet::Packet as _,
    pipeline::{Action, process},
};

use crate::{frame::Frame, maps::Kernel};

/// Splits traffic: see `splitter_common::pipeline`. Inlined into what the macro makes of it: one function, no call.
#[xdp]
#[inline(always)]
fn splitter(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(&ctx);
    let ingress = ctx.ingress_ifindex() as u32;
    match process(&mut frame, &Kernel).action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Return => xdp_action::XDP_TX,
        Action::Send(interface) if interface == ingress => xdp_action::XDP_TX,
        // A miss is ABORTED: tracepoint xdp:xdp_exception shows what the daemon should have made impossible.
        Action::Send(interface) => maps::DEVICES.redirect(interface, 0).unwrap_or(xdp_action::XDP_ABORTED),
        Action::Drop => {
            debug!(&ctx, "dropped {} bytes from interface {}", frame.length(), ingress);
            xdp_action::XDP_DROP
        }
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The program calls helpers that GPL-compatible programs alone may call; the crate's own licence stays dual.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
