//! The daemon's half: shifts, timers and sweeps, over [`Slot`]'s own transitions.
//!
//! A sweep is cut into the steps between which packets can come: see the daemon's `engine::upkeep`.

use std::collections::BTreeSet;

use splitter_common::{
    abi::{Flow, FlowKey, ServiceTable},
    slot::{BackendId, Slot, State},
    tables::Exceptions,
};

use super::{
    memory::Memory,
    network::{BACKENDS, SLOTS_IN_PLAY},
};

const SECOND_NS: u64 = 1_000_000_000;
/// The service's idle timeout.
pub const IDLE_NS: u64 = 60 * SECOND_NS;
/// A DIRTY phase is so much longer.
pub const MARGIN_NS: u64 = SECOND_NS;
/// A closed connection's entry is kept so long.
pub const LINGER_NS: u64 = 5 * SECOND_NS;

/// The daemon.
pub struct Daemon {
    slots: [usize; SLOTS_IN_PLAY],
    dirty_until_ns: [u64; SLOTS_IN_PLAY],
    alive: [bool; BACKENDS as usize],
    sweep: Sweep,
}

/// How far a sweep has come.
#[derive(Default)]
enum Sweep {
    #[default]
    Idle,
    /// DIRTY slots whose time had come, if any, are TRACKED.
    Tracked { any: bool },
    /// A table has been read and judged; its entries are not removed yet.
    Judged { any: bool, table: Exceptions, findings: Findings },
    /// The embryonic table is done.
    Embryonic { any: bool, blocked: BTreeSet<usize> },
    /// Both are.
    Flows { any: bool, blocked: BTreeSet<usize> },
}

/// What a table's entries ask for.
#[derive(Default)]
struct Findings {
    remove: Vec<FlowKey>,
    blocked: BTreeSet<usize>,
}

impl Daemon {
    /// A daemon whose slots in play are all of backend 1.
    pub fn new(slots: [usize; SLOTS_IN_PLAY], memory: &mut Memory) -> Self {
        slots.iter().for_each(|slot| memory.service.slots[*slot] = Slot::clean(BackendId::new(1)));
        let (dirty_until_ns, alive) = ([0; SLOTS_IN_PLAY], [true; BACKENDS as usize]);
        Self { slots, dirty_until_ns, alive, sweep: Sweep::Idle }
    }

    /// A slot in play.
    pub fn slot(&self, memory: &Memory, position: usize) -> Slot {
        memory.service.slots[self.slots[position]]
    }

    /// Gives a slot to a backend; a dead one does not get it.
    pub fn shift(&mut self, memory: &mut Memory, position: usize, to: BackendId) {
        self.finish(memory);
        let next = if self.is_alive(to) { to } else { BackendId::NONE };
        self.retarget(memory, position, next);
        self.publish(memory);
    }

    /// A backend dies: its slots go to another, its entries are buried.
    pub fn bury(&mut self, memory: &mut Memory, dead: BackendId) {
        self.finish(memory);
        self.alive[usize::from(dead.get()) - 1] = false;
        memory.set_alive(dead, false);
        let heir = (1..=BACKENDS).map(BackendId::new).find(|id| self.is_alive(*id)).unwrap_or_default();
        for position in 0..SLOTS_IN_PLAY {
            let current = self.slot(memory, position).current();
            self.retarget(memory, position, if current == dead { heir } else { current });
        }
        self.publish(memory);
        for table in [Exceptions::Embryonic, Exceptions::Flows] {
            let mut table = memory.table(table).borrow_mut();
            for (key, flow) in table.all() {
                if flow.backend == dead {
                    table.remove(&key);
                }
            }
        }
    }

    /// A backend is back.
    pub fn revive(&mut self, memory: &mut Memory, backend: BackendId) {
        self.finish(memory);
        self.alive[usize::from(backend.get()) - 1] = true;
        memory.set_alive(backend, true);
    }

    /// True unless the backend is dead, or none.
    pub fn is_alive(&self, id: BackendId) -> bool {
        !id.is_none() && self.alive[usize::from(id.get()) - 1]
    }

    /// Ends the sweep that is under way: the daemon does one thing at a time.
    pub fn finish(&mut self, memory: &mut Memory) {
        while !matches!(self.sweep, Sweep::Idle) {
            self.step(memory);
        }
    }

    /// A whole sweep.
    pub fn sweep(&mut self, memory: &mut Memory) {
        self.finish(memory);
        self.step(memory);
        self.finish(memory);
    }

    /// One step of a sweep.
    pub fn step(&mut self, memory: &mut Memory) {
        self.sweep = match std::mem::take(&mut self.sweep) {
            Sweep::Idle => Sweep::Tracked { any: self.track(memory) },
            Sweep::Tracked { any } => self.judge(memory, any, Exceptions::Embryonic, BTreeSet::new()),
            Sweep::Judged { any, table, findings } => {
                let Findings { remove, blocked } = findings;
                for key in &remove {
                    memory.table(table).borrow_mut().remove(key);
                }
                match table {
                    Exceptions::Embryonic => Sweep::Embryonic { any, blocked },
                    Exceptions::Flows => Sweep::Flows { any, blocked },
                    Exceptions::Previews => unreachable!("the model has no preview listener"),
                }
            }
            Sweep::Embryonic { any, blocked } => self.judge(memory, any, Exceptions::Flows, blocked),
            Sweep::Flows { any, blocked } => {
                if !any {
                    self.settle(memory, &blocked);
                }
                Sweep::Idle
            }
        };
    }

    fn retarget(&mut self, memory: &mut Memory, position: usize, next: BackendId) {
        let slot = &mut memory.service.slots[self.slots[position]];
        let shifted = slot.shift(next, |id| self.is_alive(id));
        if shifted != *slot {
            *slot = shifted;
            self.dirty_until_ns[position] = memory.now_ns + IDLE_NS + MARGIN_NS;
        }
    }

    fn track(&mut self, memory: &mut Memory) -> bool {
        let mut any = false;
        for (number, until) in self.slots.iter().zip(self.dirty_until_ns) {
            let slot = &mut memory.service.slots[*number];
            if matches!(slot.state(), State::Dirty { .. }) && until <= memory.now_ns {
                *slot = slot.track();
                any = true;
            }
        }
        any
    }

    fn judge(&self, memory: &Memory, any: bool, table: Exceptions, blocked: BTreeSet<usize>) -> Sweep {
        let mut findings = Findings { blocked, ..Findings::default() };
        for (key, flow) in memory.table(table).borrow().all() {
            self.judge_one(memory, &mut findings, &key, &flow);
        }
        Sweep::Judged { any, table, findings }
    }

    fn judge_one(&self, memory: &Memory, findings: &mut Findings, key: &FlowKey, flow: &Flow) {
        let number = memory.service.key.slot(key.client(), key.client_port());
        let slot = memory.service.slots[number];
        let lingers = flow.closed() && memory.now_ns.saturating_sub(flow.seen_ns) <= LINGER_NS;
        let needed = self.is_alive(flow.backend) && (flow.fresh(memory.now_ns, IDLE_NS) || lingers);
        match slot.state() {
            State::Clean => findings.remove.push(*key),
            State::Tracked if !needed || flow.backend == slot.current() => findings.remove.push(*key),
            State::Tracked => drop(findings.blocked.insert(number)),
            // Not even a stale one: a SYN may record it anew between this and the removal.
            State::Dirty { .. } => {}
        }
    }

    fn settle(&self, memory: &mut Memory, blocked: &BTreeSet<usize>) {
        for number in self.slots.iter().filter(|number| !blocked.contains(number)) {
            let slot = &mut memory.service.slots[*number];
            *slot = slot.settle();
        }
        self.publish(memory);
    }

    fn publish(&self, memory: &mut Memory) {
        let settled = self.slots.iter().all(|slot| memory.service.slots[*slot].is_clean());
        memory.service.flags = ServiceTable::REJECT | if settled { 0 } else { ServiceTable::UNSETTLED };
    }
}
