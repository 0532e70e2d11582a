//! A frame's bytes: the only file with pointers into packet memory.

use core::{arch::asm, marker::PhantomData, mem::size_of};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, generated::bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use splitter_common::packet::{Packet, Resize};

/// The linear part of the frame under an XDP context, for positions that are known when it is compiled.
pub struct Frame<'a> {
    start: usize,
    end: usize,
    context: PhantomData<&'a XdpContext>,
}

impl<'a> Frame<'a> {
    /// The context's frame. Bounds are read once: nothing here moves them.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { start: context.data(), end: context.data_end(), context: PhantomData }
    }

    /// The `N` bytes at `at`, if they lie inside: the one shape of bounds check that the verifier sees.
    #[inline(always)]
    fn window<const N: usize>(&self, at: usize) -> Option<*mut [u8; N]> {
        // SAFETY: addresses of packet memory lie far from the end of the address space, and `at` is smaller than a
        // frame. That no addition wraps lets the compiler drop the checks that a wider one has made.
        let (from, to) = unsafe {
            let from = self.start.unchecked_add(at);
            (from, from.unchecked_add(size_of::<[u8; N]>()))
        };
        if to > self.end {
            return None;
        }
        Some(from as *mut [u8; N])
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `window` has checked the bounds; a byte array has alignment 1.
        self.window::<N>(at).map(|bytes| unsafe { bytes.read() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: as in `load`; `&mut self` is the only access.
        self.window::<N>(at).map(|window| unsafe { window.write(bytes) })
    }
}

/// The frame under an XDP context, for positions that the frame itself tells, and for frames whose ends are moved.
///
/// Of a frame in several buffers, the first is read and written: headers do not reach beyond it.
pub struct Wide<'a> {
    context: &'a XdpContext,
    start: usize,
    end: usize,
    length: usize,
}

/// Positions are below this: the verifier wants to see it, at the very access. What moves a register in between loses
/// what was known of it ("math between pkt pointer and register with unbounded min value is not allowed").
const POSITIONS: usize = 0x3ff;

impl<'a> Wide<'a> {
    /// The context's frame; `FRAGS`: it may be in several buffers.
    #[inline(always)]
    pub fn new<const FRAGS: bool>(context: &'a XdpContext) -> Self {
        let mut frame = Self { context, start: 0, end: 0, length: 0 };
        frame.look();
        if FRAGS {
            // SAFETY: the context is the kernel's.
            frame.length = unsafe { bpf_xdp_get_buff_len(context.as_ptr().cast()) } as usize;
        } else {
            frame.length = frame.end - frame.start;
        }
        frame
    }

    /// Reads the bounds, which a change of either end has moved.
    #[inline(always)]
    fn look(&mut self) {
        self.start = self.context.data();
        self.end = self.context.data_end();
    }

    /// As [`Frame::window`], for a position that only the packet knows.
    #[inline(always)]
    fn window<const N: usize>(&self, at: usize) -> Option<*mut [u8; N]> {
        let at = masked(at);
        // SAFETY: as in `Frame`. The end is one that the compiler cannot see through: of a single byte it would make
        // `from >= end`, of which the verifier learns nothing ("R1 offset is outside of the packet").
        let (from, to) = unsafe {
            let from = self.start.unchecked_add(at);
            let mut to = from;
            asm!("{0} += {1}", inout(reg) to, const N, options(pure, nomem, nostack));
            (from, to)
        };
        if to > self.end {
            return None;
        }
        Some(from as *mut [u8; N])
    }
}

/// The position with its bound, which the compiler cannot drop for knowing it already.
#[inline(always)]
fn masked(at: usize) -> usize {
    let mut bounded = at;
    // SAFETY: an `and` of a register.
    unsafe { asm!("{0} &= {1}", inout(reg) bounded, const POSITIONS, options(pure, nomem, nostack)) };
    bounded
}

impl Packet for Wide<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: as in `Frame`.
        self.window::<N>(at).map(|bytes| unsafe { bytes.read() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: as in `Frame`.
        self.window::<N>(at).map(|window| unsafe { window.write(bytes) })
    }

    /// Without it, each combination of tags, options and extension headers is a way of its own through all that follows:
    /// "BPF program is too large. Processed 1000001 insn".
    #[inline(always)]
    fn forget(&self, position: usize) -> usize {
        let mut position = position;
        // SAFETY: twice the same exclusive or, of a word that the verifier does not know.
        unsafe {
            let unknown = self.context.ingress_ifindex();
            asm!("{0} ^= {1}", "{0} ^= {1}", inout(reg) position, in(reg) unknown, options(pure, nomem, nostack));
        }
        position
    }
}

impl Resize for Wide<'_> {
    #[inline(always)]
    fn grow_front(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the context is the kernel's.
        let refused = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), -(bytes as i32)) } != 0;
        self.look();
        if refused {
            return None;
        }
        self.length += bytes;
        Some(())
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        let change = length as i32 - self.length as i32;
        // SAFETY: the context is the kernel's.
        let refused = unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), change) } != 0;
        self.look();
        if refused {
            return None;
        }
        self.length = length;
        Some(())
    }
}
