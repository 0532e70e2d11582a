//! Counters, of one CPU each.

use crate::{reason::REASONS, tables::TableEvent};

/// Counters of a backend, of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Their bytes, whole frames.
    pub bytes_in: u64,
    /// Packets from the backend.
    pub packets_out: u64,
    /// Their bytes, whole frames.
    pub bytes_out: u64,
    /// Connections begun: SYNs without ACK.
    pub connections: u64,
}

/// Packets of a service by [`crate::reason::Reason`], of one CPU.
pub type ReasonCounters = [u64; REASONS];

/// What happened to the tables of exceptions, of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct TableCounters {
    /// Connections recorded because their backend answered.
    pub recorded: u64,
    /// SYNs recorded as embryonic.
    pub embryonic: u64,
    /// Embryonic entries promoted.
    pub promoted: u64,
    /// Entries of the flow table removed by a SYN or a reset.
    pub forgotten_flows: u64,
    /// Entries of the embryonic table removed by a SYN or a reset.
    pub forgotten_embryonic: u64,
    /// Packets of unrecorded connections in DIRTY slots.
    pub missed: u64,
    /// Records that the kernel refused (table full, or busy).
    pub failed: u64,
}

impl TableCounters {
    /// The counter of an event.
    #[inline(always)]
    pub const fn of(&mut self, event: TableEvent) -> &mut u64 {
        match event {
            TableEvent::Recorded => &mut self.recorded,
            TableEvent::Embryonic => &mut self.embryonic,
            TableEvent::Promoted => &mut self.promoted,
            TableEvent::ForgottenFlow => &mut self.forgotten_flows,
            TableEvent::ForgottenEmbryonic => &mut self.forgotten_embryonic,
            TableEvent::Missed => &mut self.missed,
            TableEvent::Failed => &mut self.failed,
        }
    }
}
