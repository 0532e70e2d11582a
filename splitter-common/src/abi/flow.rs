//! The tables of exceptions.

use crate::{
    net::{Addr, Port, Transport},
    slot::BackendId,
    tables::Sender,
};

/// A connection: service, protocol and client. 24 bytes: the compiler writes it in words of eight, and on the stack the
/// verifier wants each of them aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C, align(8))]
pub struct FlowKey {
    client: Addr,
    // Here, and not at the end: the compiler would join the address's last word and the port into one store, misaligned.
    _padding: u32,
    client_port: Port,
    service: u16,
}

impl FlowKey {
    /// Marks UDP: a service of both protocols has one number. Numbers stay below it.
    const UDP: u16 = 0x8000;

    /// A client's connection to service number `service`.
    #[inline(always)]
    pub const fn new(service: u32, transport: Transport, client: Addr, client_port: Port) -> Self {
        let mark = match transport {
            Transport::Tcp => 0,
            Transport::Udp => Self::UDP,
        };
        Self { client, client_port, service: service as u16 | mark, _padding: 0 }
    }

    /// Equality word by word; `==` becomes a call of `memcmp` on the BPF target.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        self.client.is(&other.client)
            && self.client_port == other.client_port
            && self.service == other.service
    }

    /// Its protocol.
    #[inline(always)]
    pub const fn transport(&self) -> Transport {
        if self.service & Self::UDP == 0 { Transport::Tcp } else { Transport::Udp }
    }

    /// The client's address.
    #[inline(always)]
    pub const fn client(&self) -> Addr {
        self.client
    }

    /// The client's port.
    #[inline(always)]
    pub const fn client_port(&self) -> Port {
        self.client_port
    }

    /// Number of the service.
    #[inline(always)]
    pub const fn service(&self) -> u32 {
        (self.service & !Self::UDP) as u32
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
    /// [`Flow::RESET`], [`Flow::ENDING`] or 0. One byte for both: neighbours of an odd number of bytes would be joined into
    /// stores that the verifier finds misaligned.
    pub end: u8,
    _padding: [u8; 3],
}

impl Flow {
    /// Either has sent RST.
    pub const RESET: u8 = 1;
    /// Recorded by a FIN. What came before it was not noted, perhaps the other side's FIN too: the client may be free to open
    /// the next connection from this port.
    pub const ENDING: u8 = 2;

    /// A connection first seen now.
    #[inline(always)]
    pub const fn new(backend: BackendId, now_ns: u64) -> Self {
        Self {
            seen_ns: now_ns,
            since_ns: now_ns,
            backend,
            client_fin: 0,
            backend_fin: 0,
            end: 0,
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
        if rst {
            self.end = Self::RESET;
        } else if matches!(sender, Sender::Backend) && self.end == Self::RESET {
            // It was forged, as anybody can: else the backend would be silent.
            self.end = 0;
        }
        self
    }

    /// As it would be had it been seen so much earlier; for tests, which cannot move the kernel's clock.
    #[must_use]
    pub const fn older(self, ns: u64) -> Self {
        Self { seen_ns: self.seen_ns.saturating_sub(ns), since_ns: self.since_ns.saturating_sub(ns), ..self }
    }

    /// FIN both ways, or RST.
    #[inline(always)]
    pub const fn closed(&self) -> bool {
        self.end == Self::RESET || (self.client_fin != 0 && self.backend_fin != 0)
    }

    /// The same, and whether it is recorded by a FIN of `sender`.
    #[inline(always)]
    #[must_use]
    pub const fn ending(mut self, sender: Sender, fin: bool) -> Self {
        match sender {
            Sender::Client => self.client_fin = fin as u8,
            Sender::Backend => self.backend_fin = fin as u8,
        }
        self.end = if fin { Self::ENDING } else { 0 };
        self
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
        assert!(!Flow { end: Flow::RESET, ..flow }.fresh(100, 50));
        let reset = flow.touched(110, Sender::Client, false, true);
        assert!(reset.touched(120, Sender::Client, false, false).closed());
        assert!(!reset.touched(120, Sender::Backend, false, false).closed(), "it was forged");
        assert!(flow.fresh(90, 0), "another CPU's clock read a little later");
        assert!(flow.ending(Sender::Client, true).fresh(100, 50), "the backend may go on for long");
    }
}
