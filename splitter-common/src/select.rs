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

/// Places a client's packet of a slot that is not CLEAN. `alive` tells whether a backend is.
#[inline(always)]
pub fn place(
    slot: Slot,
    flags: TcpFlags,
    [flow, embryonic]: [Option<Flow>; 2],
    clock: Clock,
    alive: impl Fn(BackendId) -> bool,
) -> Placement {
    let entry = |flow: Flow| entry(flow, clock, &alive);
    slot::place(slot, flags.opens(), flow.map(entry), embryonic.map(entry))
}

/// What the tables must learn from a backend's packet of a slot that is not CLEAN.
#[inline(always)]
pub fn answer(slot: Slot, backend: BackendId, flags: TcpFlags, flow: Option<Flow>) -> Answer {
    slot::answer(slot, backend, flags, flow.map(|flow| Entry { backend: flow.backend, live: true }))
}

#[inline(always)]
fn entry(flow: Flow, clock: Clock, alive: impl Fn(BackendId) -> bool) -> Entry {
    let live = flow.fresh(clock.now_ns, clock.idle_timeout_ns) && alive(flow.backend);
    Entry { backend: flow.backend, live }
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
            place(slot, syn, [Some(Flow::new(a, 0)), None], clock, |_| alive)
        };
        assert_eq!(at(10, true), Placement { backend: a, note: Note::RenewFlow });
        assert_eq!(at(11, true), Placement { backend: b, note: Note::Forget });
        assert_eq!(at(10, false), Placement { backend: b, note: Note::Forget });
    }
}
