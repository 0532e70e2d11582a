//! The tests' stand-in for a backend's tunnel devices: strips the outer header of IP in IP, of either family in either,
//! and gives what is inside to the network stack. Everything else passes as it is.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro gives the context by value")]

mod object;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext};

/// Bytes of an Ethernet header, and of its addresses.
const ETHERNET: usize = 14;
const ADDRESSES: usize = 12;
/// Ethernet's numbers of the families, in memory's order.
const TYPES: [u16; 2] = [0x0800_u16.to_be(), 0x86dd_u16.to_be()];
/// IP's numbers of the families as what a packet carries.
const INSIDE: [u8; 2] = [4, 41];

#[xdp]
fn unpack(ctx: XdpContext) -> u32 {
    let Some((outer, inside)) = tunnelled(&ctx) else { return xdp_action::XDP_PASS };
    match strip(&ctx, outer, inside) {
        Some(()) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Bytes of the outer header, and the Ethernet type of what is inside.
#[inline(always)]
fn tunnelled(ctx: &XdpContext) -> Option<(usize, u16)> {
    let [v4, v6] = TYPES;
    let kind: u16 = load(ctx, ADDRESSES)?;
    let (length, protocol) = if kind == v4 {
        // Without options: the balancer writes none.
        (20, load::<u8>(ctx, ETHERNET + 9)?)
    } else if kind == v6 {
        (40, load::<u8>(ctx, ETHERNET + 6)?)
    } else {
        return None;
    };
    let [four, six] = INSIDE;
    if protocol == four {
        Some((length, v4))
    } else if protocol == six {
        Some((length, v6))
    } else {
        None
    }
}

/// The Ethernet addresses move to the packet inside.
#[inline(always)]
fn strip(ctx: &XdpContext, outer: usize, inside: u16) -> Option<()> {
    let addresses: [u8; ADDRESSES] = load(ctx, 0)?;
    // SAFETY: the context is the kernel's; every pointer into the frame is taken anew below.
    let result = unsafe { bpf_xdp_adjust_head(ctx.ctx, outer as i32) };
    if result != 0 {
        return None;
    }
    store(ctx, 0, addresses)?;
    store(ctx, ADDRESSES, inside)
}

#[inline(always)]
fn load<T: Copy>(ctx: &XdpContext, at: usize) -> Option<T> {
    let from = ctx.data() + at;
    if from + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bounds are checked.
    Some(unsafe { (from as *const T).read_unaligned() })
}

#[inline(always)]
fn store<T>(ctx: &XdpContext, at: usize, value: T) -> Option<()> {
    let to = ctx.data() + at;
    if to + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bounds are checked.
    unsafe { (to as *mut T).write_unaligned(value) };
    Some(())
}
