//! Connections whose source is translated too (`snat`): one entry serves both directions.
//!
//! An entry stands at its port's position, so a reply finds it without a hash; a request finds the port in
//! `SNAT_CLIENTS`. Free ports wait in one queue a CPU ([`Ports`]): only that CPU takes from it, every CPU may add. A
//! closed connection's port goes to the end at once and is taken again when it comes to the front, and has rested.

use super::FlowKey;
use crate::slot::BackendId;

/// A connection, at its port's position: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Translation {
    /// Service, protocol and client.
    pub key: FlowKey,
    /// Its backend.
    pub backend: BackendId,
    /// The CPU whose queue the port belongs to.
    pub cpu: u16,
    _padding: u32,
    /// The bits below; changed atomically.
    pub state: u64,
    /// When its last packet was seen, nanoseconds of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
    /// When it began.
    pub since_ns: u64,
    /// When it was closed.
    pub closed_ns: u64,
}

impl Translation {
    /// A connection has the port; without it, nothing else counts.
    pub const USED: u64 = 1;
    /// The client has sent FIN.
    pub const CLIENT_FIN: u64 = 2;
    /// The backend has sent FIN.
    pub const BACKEND_FIN: u64 = 4;
    /// Closed, and the port is in its queue.
    pub const CLOSED: u64 = 8;
    /// The client has answered the backend's SYN, or it is UDP.
    pub const ESTABLISHED: u64 = 16;

    /// Either has sent RST. Anybody can forge one, so it does not close: silence after it does.
    pub const RESET: u64 = 32;

    /// How long a connection may be silent after an RST.
    pub const AFTER_RESET_NS: u64 = 2_000_000_000;
    /// How long a closed connection's port rests: stray packets of it still find their way.
    pub const REST_NS: u64 = 1_000_000_000;
    /// How long a connection may take to be established.
    pub const HANDSHAKE_NS: u64 = 10_000_000_000;

    /// A port that no connection has.
    pub const fn free(cpu: u16) -> Self {
        let key = FlowKey::new(0, crate::net::Transport::Tcp, crate::net::Addr::UNSPECIFIED, [0; 2]);
        let (backend, _padding) = (BackendId::NONE, 0);
        Self { key, state: 0, seen_ns: 0, since_ns: 0, closed_ns: 0, backend, cpu, _padding }
    }

    /// As it would be had all of it been so much earlier; for tests, which cannot move the kernel's clock.
    #[must_use]
    pub const fn older(self, ns: u64) -> Self {
        Self {
            seen_ns: self.seen_ns.saturating_sub(ns),
            since_ns: self.since_ns.saturating_sub(ns),
            closed_ns: self.closed_ns.saturating_sub(ns),
            ..self
        }
    }

    /// Used and not closed.
    #[inline(always)]
    pub const fn open(state: u64) -> bool {
        state & (Self::USED | Self::CLOSED) == Self::USED
    }

    /// Nothing has been heard of it for so long that its port may go.
    #[inline(always)]
    pub const fn idle(state: u64, silent_ns: u64, idle_timeout_ns: u64) -> bool {
        silent_ns > idle_timeout_ns
            || (state & Self::ESTABLISHED == 0 && silent_ns > Self::HANDSHAKE_NS)
            || (state & Self::RESET != 0 && silent_ns > Self::AFTER_RESET_NS)
    }

    /// The port may get another connection; closed for so long.
    #[inline(always)]
    pub const fn rested(state: u64, closed_for_ns: u64) -> bool {
        state & Self::USED == 0 || closed_for_ns >= Self::REST_NS
    }
}

/// The queue of one CPU. Positions count on and wrap; there is room for every port there is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ports {
    /// Position of the next port to take: this CPU's alone.
    pub head: u64,
    /// Position behind the last port; counted on atomically.
    pub tail: u64,
    /// Ports; 0 where none has been put yet.
    pub ports: [u16; 65_536],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_ends_by_closing_or_silence() {
        let begun = Translation::USED;
        assert!(Translation::open(begun) && !Translation::idle(begun, Translation::HANDSHAKE_NS, u64::MAX));
        assert!(Translation::idle(begun, Translation::HANDSHAKE_NS + 1, u64::MAX), "never established");
        let established = begun | Translation::ESTABLISHED;
        assert!(!Translation::idle(established, Translation::HANDSHAKE_NS + 1, u64::MAX));
        assert!(Translation::idle(established, 11, 10));
        let reset = established | Translation::RESET;
        assert!(!Translation::idle(reset, Translation::AFTER_RESET_NS, u64::MAX));
        assert!(Translation::idle(reset, Translation::AFTER_RESET_NS + 1, u64::MAX));
        let closed = begun | Translation::CLOSED;
        assert!(!Translation::open(closed) && !Translation::rested(closed, Translation::REST_NS - 1));
        assert!(Translation::rested(closed, Translation::REST_NS) && Translation::rested(0, 0));
    }
}
