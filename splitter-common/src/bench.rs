//! What the benchmark's two halves share.

/// Bytes of a frame: the smallest Ethernet sends, and room for IPv6 and TCP.
pub const FRAME: usize = 80;

/// What the wrapper writes into each frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Workload {
    /// The frame, as words in memory order.
    pub template: [u64; FRAME / 8],
    /// State of the generator; any value.
    pub state: u64,
    /// Flows, a power of two, less one.
    pub flow_mask: u32,
    /// First client address, as it lies in memory.
    pub first_address: u32,
    /// Position of the client's address in the frame: the last 4 bytes of an IPv6 address.
    pub address_at: u32,
    /// Position of the client's port.
    pub port_at: u32,
}

impl Workload {
    /// A flow number, drawn at random (Knuth's MMIX generator; its high bits).
    #[inline(always)]
    pub const fn next_flow(&mut self) -> u32 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as u32 & self.flow_mask
    }

    /// The address of a flow's client: 16 flows share one.
    #[inline(always)]
    pub const fn address(&self, flow: u32) -> u32 {
        u32::from_be(self.first_address).wrapping_add(flow >> 4).to_be()
    }

    /// The port of a flow's client.
    #[inline(always)]
    pub const fn port(flow: u32) -> u16 {
        (1024 + (flow & 15) as u16 * 997).to_be()
    }
}
