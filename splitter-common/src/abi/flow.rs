//! The tables of exceptions.

use crate::{
    net::{Addr, Port},
    slot::BackendId,
    tables::Sender,
};

/// A connection: service and client. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C, align(4))]
pub struct FlowKey {
    client: Addr,
    client_port: Port,
    service: u16,
}

impl FlowKey {
    /// A client's connection to service number `service`.
    #[inline(always)]
    pub const fn new(service: u32, client: Addr, client_port: Port) -> Self {
        Self { client, client_port, service: service as u16 }
    }

    /// The client's address.
    pub const fn client(&self) -> Addr {
        self.client
    }

    /// The client's port.
    pub const fn client_port(&self) -> Port {
        self.client_port
    }

    /// Number of the service.
    pub const fn service(&self) -> u32 {
        self.service as u32
    }
}

/// What is recorded of a connection: 24 bytes. Client and backend mark their FIN in bytes of their own, so that
/// two CPUs never write the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Flow {
    /// When its last packet was seen, nanoseconds of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
    /// When it was first recorded, nanoseconds of `CLOCK_MONOTONIC`: it is at least that old.
    pub since_ns: u64,
    /// Where it belongs.
    pub backend: BackendId,
    /// 1: the client has sent FIN.
    pub client_fin: u8,
    /// 1: the backend has sent FIN.
    pub backend_fin: u8,
    /// 1: either has sent RST.
    pub reset: u8,
    _padding: [u8; 3],
}

impl Flow {
    /// A connection first seen now.
    #[inline(always)]
    pub const fn new(backend: BackendId, now_ns: u64) -> Self {
        Self {
            seen_ns: now_ns,
            since_ns: now_ns,
            backend,
            client_fin: 0,
            backend_fin: 0,
            reset: 0,
            _padding: [0; 3],
        }
    }

    /// The same, seen at `now_ns` with FIN or RST as the packet had them.
    #[must_use]
    pub const fn touched(mut self, now_ns: u64, sender: Sender, fin: bool, rst: bool) -> Self {
        self.seen_ns = now_ns;
        match sender {
            Sender::Client => self.client_fin |= fin as u8,
            Sender::Backend => self.backend_fin |= fin as u8,
        }
        self.reset |= rst as u8;
        self
    }

    /// FIN both ways, or RST.
    #[inline(always)]
    pub const fn closed(&self) -> bool {
        self.reset != 0 || (self.client_fin != 0 && self.backend_fin != 0)
    }

    /// Not closed, and seen within `idle_timeout_ns`.
    #[inline(always)]
    pub const fn fresh(&self, now_ns: u64, idle_timeout_ns: u64) -> bool {
        !self.closed() && now_ns.saturating_sub(self.seen_ns) <= idle_timeout_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_is_seen_again_is_as_old_as_before() {
        let flow = Flow::new(BackendId::new(1), 100).touched(150, Sender::Client, false, false);
        assert_eq!((flow.seen_ns, flow.since_ns), (150, 100));
    }

    #[test]
    fn a_flow_ends_by_two_fins_or_a_reset_or_silence() {
        let flow = Flow::new(BackendId::new(1), 100);
        assert!(flow.fresh(150, 50) && !flow.fresh(151, 50));
        assert!(!Flow { client_fin: 1, ..flow }.closed());
        assert!(Flow { client_fin: 1, backend_fin: 1, ..flow }.closed());
        assert!(!Flow { reset: 1, ..flow }.fresh(100, 50));
        assert!(flow.fresh(90, 0), "another CPU's clock read a little later");
    }
}
