//! The XDP programs: `splitter-common`'s pipeline over the kernel's frames and maps, one program for each stage.
//!
//! Each stands here twice: for frames in several buffers (`xdp.frags`, Linux 5.18), and plain.
//!
//! - `frame`: a frame's bytes (all pointers into packet memory)
//! - `maps`: the maps, and what the pipeline asks of them
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro gives the context by value")]

mod frame;
mod maps;
mod object;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use splitter_common::{
    complaint::Complain,
    parse::{V4, V6},
    pipeline::{
        Action, Answer, Verdict, answer, icmp, icmp_in, icmp_out, inbound, later, outbound,
        release as close_silent, sort, translated_in, translated_out, usual,
    },
    release,
};

use crate::{
    frame::{Frame, Wide},
    maps::Kernel,
};

/// Splits traffic: see `splitter_common::pipeline`.
#[xdp(frags)]
fn splitter(ctx: XdpContext) -> u32 {
    take_usual::<true>(&ctx)
}

/// The same for kernels without frames in several buffers.
#[xdp]
fn splitter_plain(ctx: XdpContext) -> u32 {
    take_usual::<false>(&ctx)
}

macro_rules! stage {
    ($(#[$doc:meta])* $stage:ident::<$family:ty>, $name:ident, $plain:ident) => {
        $(#[$doc])*
        #[xdp(frags)]
        fn $name(ctx: XdpContext) -> u32 {
            #[inline(never)]
            fn way(ctx: &XdpContext) -> Verdict {
                let Some(room) = maps::room() else { return Verdict::PASS };
                $stage::<$family, Wide<'_>, _>(&mut Wide::new::<true>(ctx), &Kernel::<true>, room)
            }
            done::<$family, true>(&ctx, way(&ctx))
        }

        $(#[$doc])*
        #[xdp]
        fn $plain(ctx: XdpContext) -> u32 {
            #[inline(never)]
            fn way(ctx: &XdpContext) -> Verdict {
                let Some(room) = maps::room() else { return Verdict::PASS };
                $stage::<$family, Wide<'_>, _>(&mut Wide::new::<false>(ctx), &Kernel::<false>, room)
            }
            done::<$family, false>(&ctx, way(&ctx))
        }
    };
}

stage! {
    /// Which stage takes a frame, IPv4.
    sort::<V4>, spl_sort4, spl_sort4p
}
stage! {
    /// Which stage takes a frame, IPv6.
    sort::<V6>, spl_sort6, spl_sort6p
}
stage! {
    /// Clients' packets out of the ordinary, IPv4.
    inbound::<V4>, spl_in4, spl_in4p
}
stage! {
    /// Clients' packets out of the ordinary, IPv6.
    inbound::<V6>, spl_in6, spl_in6p
}
stage! {
    /// Backends' packets out of the ordinary, IPv4.
    outbound::<V4>, spl_out4, spl_out4p
}
stage! {
    /// Backends' packets out of the ordinary, IPv6.
    outbound::<V6>, spl_out6, spl_out6p
}
stage! {
    /// Later fragments, IPv4.
    later::<V4>, spl_frag4, spl_frag4p
}
stage! {
    /// Later fragments, IPv6.
    later::<V6>, spl_frag6, spl_frag6p
}
stage! {
    /// Mode `snat`: clients' packets, IPv4.
    translated_in::<V4>, spl_snat_in4, spl_snat_in4p
}
stage! {
    /// Mode `snat`: clients' packets, IPv6.
    translated_in::<V6>, spl_snat_in6, spl_snat_in6p
}
stage! {
    /// Mode `snat`: backends' packets, IPv4.
    translated_out::<V4>, spl_snat_out4, spl_snat_out4p
}
stage! {
    /// Mode `snat`: backends' packets, IPv6.
    translated_out::<V6>, spl_snat_out6, spl_snat_out6p
}
stage! {
    /// ICMP messages, IPv4.
    icmp::<V4>, spl_icmp4, spl_icmp4p
}
stage! {
    /// ICMP messages, IPv6.
    icmp::<V6>, spl_icmp6, spl_icmp6p
}
stage! {
    /// ICMP errors to a service's address, IPv4.
    icmp_in::<V4>, spl_icmp_in4, spl_icmp_in4p
}
stage! {
    /// ICMP errors to a service's address, IPv6.
    icmp_in::<V6>, spl_icmp_in6, spl_icmp_in6p
}
stage! {
    /// ICMP errors to anybody else, IPv4.
    icmp_out::<V4>, spl_icmp_out4, spl_icmp_out4p
}
stage! {
    /// ICMP errors to anybody else, IPv6.
    icmp_out::<V6>, spl_icmp_out6, spl_icmp_out6p
}

/// Closes a connection that the daemon has found silent: see `splitter_common::release`.
#[xdp]
fn splitter_free(ctx: XdpContext) -> u32 {
    match release::read(&Frame::new(&ctx)) {
        Some((port, idle_ns)) if close_silent(&Kernel::<true>, port, idle_ns) => release::RELEASED,
        _ => release::KEPT,
    }
}

/// Inlined into what the macro makes of it: one function, no call.
#[inline(always)]
fn take_usual<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let action = usual(&mut Frame::new(ctx), &Kernel::<FRAGS>).action();
    match action {
        Action::HandOn(stage) => hand_on(ctx, stage),
        action => leave::<FRAGS>(ctx, action),
    }
}

/// The end of a stage: the packet's own way has been gone, an answer is still to be written.
#[inline(always)]
fn done<F: Complain, const FRAGS: bool>(ctx: &XdpContext, verdict: Verdict) -> u32 {
    #[inline(never)]
    fn answered<F: Complain, const FRAGS: bool>(ctx: &XdpContext, word: Answer) -> bool {
        answer::<F, _>(&mut Wide::new::<FRAGS>(ctx), word).is_some()
    }
    match verdict.action() {
        Action::HandOn(stage) => hand_on(ctx, stage),
        Action::Answer(word) if answered::<F, FRAGS>(ctx, word) => xdp_action::XDP_TX,
        Action::Answer(_) => xdp_action::XDP_DROP,
        action => leave::<FRAGS>(ctx, action),
    }
}

#[inline(always)]
fn leave<const FRAGS: bool>(ctx: &XdpContext, action: Action) -> u32 {
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Return => xdp_action::XDP_TX,
        Action::Send(interface) if interface == ctx.ingress_ifindex() as u32 => xdp_action::XDP_TX,
        Action::Send(interface) => maps::redirect::<FRAGS>(interface),
        Action::Drop | Action::HandOn(_) | Action::Answer(_) => {
            debug!(ctx, "dropped a frame from interface {}", ctx.ingress_ifindex() as u32);
            xdp_action::XDP_DROP
        }
    }
}

/// Does not come back but when the daemon has left the stage out, as no service needs it: then the frame, of which nothing
/// has been changed, is the kernel's.
#[inline(always)]
fn hand_on(ctx: &XdpContext, stage: u32) -> u32 {
    // SAFETY: the context is the kernel's.
    unsafe { maps::STAGES.tail_call(ctx, stage) };
    xdp_action::XDP_PASS
}
