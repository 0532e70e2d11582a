//! A frame's bytes: the only file with pointers into packet memory.

use core::{marker::PhantomData, mem::size_of};

use aya_ebpf::programs::XdpContext;
use splitter_common::packet::Packet;

/// The linear part of the frame under an XDP context.
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
