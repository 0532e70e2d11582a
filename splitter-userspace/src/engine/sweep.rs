//! What the tables of exceptions hold, judged: who lives, who may go, which slots can become CLEAN. Pure.

use std::collections::{BTreeMap, BTreeSet};

use splitter_common::{
    abi::{Flow, FlowKey},
    slot::{BackendId, Slot, State},
};

use super::{
    ledger::Tally,
    service::{Member, Service},
};

/// A closed connection's entry is kept this long, for its last packets.
const LINGER_NS: u64 = 5_000_000_000;

/// A slot of a table, by the table's number.
pub type SlotRef = (u32, usize);

/// What is to be done about one table, and what it shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Entries in the table.
    pub entries: u64,
    /// Entries that may go: dead, closed, stale, or of no use because their slot's `current` is their backend.
    pub remove: Vec<FlowKey>,
    /// TRACKED slots that a live exception keeps from becoming CLEAN.
    pub blocked: BTreeSet<SlotRef>,
    /// Live exceptions by the backend they stay with.
    pub exceptions: BTreeMap<BackendId, u64>,
    /// Live entries by backend, whatever their slot's `current` is.
    pub live: BTreeMap<BackendId, Tally>,
}

/// Judges a table's entries at `now_ns`.
pub fn judge(entries: &[(FlowKey, Flow)], services: &[Service], now_ns: u64) -> Findings {
    let tables =
        |service| Service::slot_tables(service).map(move |(number, slots)| (number, (service, slots)));
    let by_number: BTreeMap<u32, (&Service, &[Slot])> = services.iter().flat_map(tables).collect();
    let mut findings = Findings { entries: entries.len() as u64, ..Findings::default() };
    for (key, flow) in entries {
        match by_number.get(&key.service()) {
            Some(table) => judge_one(&mut findings, *table, key, flow, now_ns),
            None => findings.remove.push(*key),
        }
    }
    findings
}

fn judge_one(
    findings: &mut Findings,
    (service, slots): (&Service, &[Slot]),
    key: &FlowKey,
    flow: &Flow,
    now_ns: u64,
) {
    let number = service.slot_of(key.client(), key.client_port());
    let slot = slots[number];
    let member = service.member(flow.backend);
    let (alive, id) = (member.is_some_and(Member::keeps), member.map_or(flow.backend, |member| member.id));
    let fresh = flow.fresh(now_ns, service.table().idle_timeout_ns);
    let lingers = flow.closed() && now_ns.saturating_sub(flow.seen_ns) <= LINGER_NS;
    let needed = alive && (fresh || lingers);
    match slot.state() {
        // No table is consulted.
        State::Clean => findings.remove.push(*key),
        // Who is not recorded belongs to `current`: so may those that do.
        State::Tracked if !needed || flow.backend == slot.current() => findings.remove.push(*key),
        State::Tracked => {
            findings.blocked.insert((key.service(), number));
        }
        // An entry tells a young connection from one of `previous`. Even one of no use stays: since it was read, a SYN
        // may have recorded the 4-tuple anew, and the removal would take that.
        State::Dirty { .. } => {}
    }
    if alive && fresh && !slot.is_clean() {
        findings.live.entry(id).or_default().add(flow.since_ns);
    }
    // One that has just closed counts too: anybody can forge the reset that closed it.
    if needed && flow.backend != slot.current() && !slot.is_clean() {
        *findings.exceptions.entry(id).or_default() += 1;
    }
}

/// TRACKED slots that nothing blocks.
pub fn settleable(services: &[Service], blocked: &BTreeSet<SlotRef>) -> Vec<SlotRef> {
    let tracked = |service: &Service| -> Vec<SlotRef> {
        let of_table = |(table, slots): (u32, &[Slot])| -> Vec<SlotRef> {
            let tracked = slots.iter().enumerate().filter(|(_, slot)| matches!(slot.state(), State::Tracked));
            tracked.map(|(slot, _)| (table, slot)).collect()
        };
        service.slot_tables().flat_map(of_table).collect()
    };
    services.iter().flat_map(tracked).filter(|slot| !blocked.contains(slot)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::samples,
        table::{Order, SLOTS},
    };

    const NOW_NS: u64 = 1_000_000_000_000;

    /// A client port whose slot of `service` is of pool blue (member 0) and moves to green (member 1).
    fn key(service: &Service, port: u16) -> FlowKey {
        FlowKey::new(
            service.number,
            splitter_common::net::Transport::Tcp,
            "198.51.100.7".parse::<std::net::IpAddr>().unwrap().into(),
            port.to_be_bytes(),
        )
    }

    fn tracked() -> Service {
        let order = Order::new("a fleet-wide secret");
        let mut service = samples::service(&order);
        service.release = service.release.switch(crate::config::PoolName::Green).unwrap();
        assert_eq!(service.retarget(&order, 0) as usize, SLOTS);
        assert_eq!(service.track(u64::MAX) as usize, SLOTS);
        service
    }

    fn findings(service: &Service, flow: Flow) -> Findings {
        judge(&[(key(service, 1), flow)], std::slice::from_ref(service), NOW_NS)
    }

    #[test]
    fn a_live_exception_blocks_and_counts() {
        let service = tracked();
        let blue = service.members[0].id;
        let found = findings(&service, Flow::new(blue, NOW_NS));
        assert_eq!((found.blocked.len(), found.exceptions.get(&blue)), (1, Some(&1)));
        assert!(found.remove.is_empty());
        assert_eq!(found.live, [(blue, Tally { connections: 1, oldest_ns: NOW_NS })].into());
        assert_eq!(settleable(std::slice::from_ref(&service), &found.blocked).len(), SLOTS - 1);
    }

    #[test]
    fn what_is_stale_or_closed_for_long_or_says_what_the_slot_says_goes() {
        let service = tracked();
        let (blue, green) = (service.members[0].id, service.members[1].id);
        let closed = |seen_ns| {
            let mut flow = Flow::new(blue, seen_ns);
            flow.end = Flow::RESET;
            flow
        };
        for (flow, goes) in [
            (Flow::new(green, NOW_NS), true),
            (Flow::new(blue, 0), true),
            (closed(NOW_NS), false),
            (closed(NOW_NS - LINGER_NS - 1), true),
            (Flow::new(BackendId::new(99), NOW_NS), true),
        ] {
            let found = findings(&service, flow);
            assert_eq!((found.remove.len() == 1, found.blocked.is_empty()), (goes, goes), "{flow:?}");
            assert!(!found.live.contains_key(&blue), "{flow:?}");
        }
    }

    #[test]
    fn a_dirty_slot_keeps_what_tells_young_from_old() {
        let order = Order::new("a fleet-wide secret");
        let mut service = samples::service(&order);
        service.release = service.release.switch(crate::config::PoolName::Green).unwrap();
        service.retarget(&order, 0);
        let green = service.members[1].id;
        assert!(findings(&service, Flow::new(green, NOW_NS)).remove.is_empty());
        assert!(findings(&service, Flow::new(green, 0)).remove.is_empty(), "a SYN may be recording it anew");
    }

    #[test]
    fn entries_of_no_service_go() {
        let found = judge(&[(FlowKey::default(), Flow::new(BackendId::new(1), NOW_NS))], &[], NOW_NS);
        assert_eq!(found.remove.len(), 1);
    }
}
