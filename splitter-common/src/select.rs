//! From a client's slot to its backend: [`crate::slot`]'s rules, applied to what the tables hold.

use crate::{
    abi::{Flow, ServiceTable},
    net::TcpFlags,
    slot::{self, Answer, BackendId, Entry, Placement, Slot},
};

/// The slot by number; the number is below [`crate::hash::SLOTS`] by construction, and 0 stands in for any other.
#[inline(always)]
pub fn slot_at(table: &ServiceTable, number: usize) -> Slot {
    table.slots.get(number).copied().unwrap_or_default()
}

/// By what an entry's life is judged.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
    /// The service's idle timeout, nanoseconds.
    pub idle_timeout_ns: u64,
}

/// Places a client's packet of a slot that is not CLEAN.
#[inline(always)]
pub fn place(slot: Slot, flags: TcpFlags, flow: Entry, embryonic: Entry) -> Placement {
    slot::place(slot, flags.opens(), flow, embryonic)
}

/// What the tables must learn from a backend's packet of a slot that is not CLEAN.
#[inline(always)]
pub fn answer(slot: Slot, backend: BackendId, flags: TcpFlags, flow: Entry) -> Answer {
    slot::answer(slot, backend, flags, flow)
}

/// What a recorded flow says now. `alive` tells whether a backend is. A SYN never belongs to one that was recorded by a FIN:
/// it could only be an old one that was delayed on its way.
#[inline(always)]
pub fn entry(flow: Flow, clock: Clock, alive: impl Fn(BackendId) -> bool) -> Entry {
    let fresh = flow.fresh(clock.now_ns, clock.idle_timeout_ns);
    let live = fresh && flow.end != Flow::ENDING && alive(flow.backend);
    Entry::new(flow.backend, live)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{Note, State};

    #[test]
    fn a_syn_ignores_entries_that_are_stale_or_whose_backend_is_dead() {
        let (a, b) = (BackendId::new(1), BackendId::new(2));
        let slot = Slot::new(b, State::Tracked);
        let syn = TcpFlags::from_byte(0x02);
        let at = |now_ns, alive: bool| {
            let clock = Clock { now_ns, idle_timeout_ns: 10 };
            place(slot, syn, entry(Flow::new(a, 0), clock, |_| alive), Entry::NONE)
        };
        assert_eq!(at(10, true), Placement { backend: a, note: Note::RenewFlow });
        assert_eq!(at(11, true), Placement { backend: b, note: Note::Forget });
        assert_eq!(at(10, false), Placement { backend: b, note: Note::Forget });
    }
}
