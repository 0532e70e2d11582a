//! Fragments: what the first one of a packet decided, for those that follow it.

use crate::{
    net::{Addr, Port},
    slot::BackendId,
};

/// A packet in fragments, as it comes in (RFC 791, 3.2; RFC 8200, 4.5): 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C, align(8))]
pub struct FragmentKey {
    source: Addr,
    destination: Addr,
    // In front of the identification, which the compiler would join with the address's last word, misaligned.
    protocol: u8,
    _padding: [u8; 3],
    id: u32,
}

impl FragmentKey {
    /// Of addresses, identification and protocol number.
    #[inline(always)]
    pub const fn new(source: Addr, destination: Addr, id: u32, protocol: u8) -> Self {
        Self { source, destination, id, protocol, _padding: [0; 3] }
    }
}

/// What the first fragment decided: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Fragment {
    /// When it was seen, nanoseconds of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
    /// Of a request or a reply: the backend.
    pub backend: BackendId,
    /// One of the constants below.
    pub kind: u8,
    _padding: u8,
    /// `snat`: the port of the connection; else 0.
    pub port: Port,
    _padding_end: [u8; 2],
}

impl Fragment {
    /// To the kernel, untouched.
    pub const PASS: u8 = 0;
    /// To the backend.
    pub const REQUEST: u8 = 1;
    /// From the backend to its client.
    pub const REPLY: u8 = 2;

    /// How long a packet may take to arrive whole: `IP_FRAG_TIME` (include/net/ip.h, Linux 6.18).
    pub const LIFE_NS: u64 = 30_000_000_000;

    /// What was decided now.
    #[inline(always)]
    pub const fn new(kind: u8, backend: BackendId, port: Port, seen_ns: u64) -> Self {
        Self { seen_ns, backend, kind, _padding: 0, port, _padding_end: [0; 2] }
    }

    /// As it would be had it been seen so much earlier; for tests, which cannot move the kernel's clock.
    #[must_use]
    pub const fn older(self, ns: u64) -> Self {
        Self { seen_ns: self.seen_ns.saturating_sub(ns), ..self }
    }

    /// Whether its later fragments may still be under way.
    #[inline(always)]
    pub const fn fresh(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.seen_ns) <= Self::LIFE_NS
    }
}
