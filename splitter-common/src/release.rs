//! How the daemon asks the kernel half to close a connection of mode `snat` that has been silent for too long: by a
//! frame that is run through a program of its own, so that no packet of the connection can come in between.

use crate::packet::Packet;

/// Bytes of an order: at least an Ethernet header, or the kernel does not run it.
const LENGTH: usize = 64;
/// Position of the port, in network order.
const PORT: usize = 14;
/// Position of the time, nanoseconds.
const IDLE: usize = 16;

/// What the program returns for a connection that was closed: `XDP_DROP`.
pub const RELEASED: u32 = 1;
/// What it returns for one that was not: `XDP_PASS`.
pub const KEPT: u32 = 2;

/// The frame that orders it.
pub fn order(port: u16, idle_timeout_ns: u64) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    frame[PORT..IDLE].copy_from_slice(&port.to_be_bytes());
    frame[IDLE..IDLE + 8].copy_from_slice(&idle_timeout_ns.to_be_bytes());
    frame
}

/// Port and time of an order.
#[inline(always)]
pub fn read<P: Packet + ?Sized>(frame: &P) -> Option<(u16, u64)> {
    let idle = frame.load::<8>(IDLE)?;
    Some((u16::from_be_bytes(frame.load::<2>(PORT)?), u64::from_be_bytes(idle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_what_was_asked() {
        assert_eq!(read(&order(40_000, 7)[..]), Some((40_000, 7)));
    }
}
