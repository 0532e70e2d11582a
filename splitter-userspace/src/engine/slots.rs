//! One slot table as the daemon keeps it: its slots, and until when they are DIRTY. Pure.

use std::collections::{BTreeMap, BTreeSet};

use splitter_common::{
    abi::ServiceTable,
    hash::{HashKey, SLOTS},
    slot::{BackendId, Slot, State},
};

use crate::api::model::SlotCounts;

/// The slots of a table.
#[derive(Clone)]
pub struct Slots {
    slots: Box<[Slot]>,
    /// Until when each slot is DIRTY, nanoseconds of `CLOCK_MONOTONIC`.
    dirty_until_ns: Box<[u64]>,
}

impl Slots {
    /// Every slot CLEAN and without a backend.
    pub fn new() -> Self {
        Self { slots: vec![Slot::default(); SLOTS].into(), dirty_until_ns: vec![0; SLOTS].into() }
    }

    /// All of them.
    pub const fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// Shifts each slot to the backend that is wanted; those that become DIRTY are so until `until_ns`. Returns how many
    /// got another backend.
    pub fn shift(&mut self, wanted: &[BackendId], until_ns: u64, keeps: impl Fn(BackendId) -> bool) -> u32 {
        let mut moved = 0;
        for ((slot, next), dirty_until) in self.slots.iter_mut().zip(wanted).zip(&mut self.dirty_until_ns) {
            let shifted = slot.shift(*next, &keeps);
            if shifted == *slot {
                continue;
            }
            moved += u32::from(shifted.current() != slot.current());
            // From the first shift on, whoever is younger is recorded: a later one does not begin the wait anew.
            if matches!(shifted.state(), State::Dirty { .. }) && !matches!(slot.state(), State::Dirty { .. })
            {
                *dirty_until = until_ns;
            }
            *slot = shifted;
        }
        moved
    }

    /// DIRTY slots whose time has come become TRACKED; returns how many.
    pub fn track(&mut self, now_ns: u64) -> u32 {
        let mut tracked = 0;
        for (slot, until) in self.slots.iter_mut().zip(&self.dirty_until_ns) {
            if matches!(slot.state(), State::Dirty { .. }) && *until <= now_ns {
                *slot = slot.track();
                tracked += 1;
            }
        }
        tracked
    }

    /// TRACKED slots without exceptions become CLEAN.
    pub fn settle(&mut self, slots: &[usize]) {
        for slot in slots {
            self.slots[*slot] = self.slots[*slot].settle();
        }
    }

    /// How many slots are in each state.
    pub fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts { total: SLOTS as u32, ..SlotCounts::default() };
        for slot in &self.slots {
            match slot.state() {
                State::Clean => counts.clean += 1,
                State::Dirty { .. } => counts.dirty += 1,
                State::Tracked => counts.tracked += 1,
            }
        }
        counts
    }

    /// Who gets new connections.
    pub fn owners(&self) -> BTreeSet<BackendId> {
        self.slots.iter().map(|slot| slot.current()).filter(|id| !id.is_none()).collect()
    }

    /// Adds until when each backend may have connections that are recorded nowhere.
    pub fn unseen_until_ns(&self, unseen: &mut BTreeMap<BackendId, u64>) {
        for (slot, until) in self.slots.iter().zip(&self.dirty_until_ns) {
            if let State::Dirty { previous } = slot.state() {
                let latest = unseen.entry(previous).or_default();
                *latest = (*until).max(*latest);
            }
        }
    }

    /// Every slot is CLEAN.
    pub fn settled(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_clean())
    }

    /// The table for the kernel.
    pub fn table(&self, key: HashKey, idle_timeout_ns: u64, flags: u32, mtu: u32) -> ServiceTable {
        let mut slots = [Slot::default(); SLOTS];
        slots.copy_from_slice(&self.slots);
        ServiceTable::new(key, idle_timeout_ns, flags, mtu, slots)
    }
}
