//! Backends that get no new connections: what is left on them, and the deadlines of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use splitter_common::slot::BackendId;

use super::{
    Engine,
    change::failed,
    deadlines::{Cause, Deadline, Dropped},
    ledger::{Ledger, Tally},
    now_ns,
    service::{Member, Service},
};
use crate::{
    api::model::{self, ApiError, End, Left, Live},
    config::{ForwardMode, PoolName},
};

/// After this long an end that failed is tried again, nanoseconds.
const AGAIN_NS: u64 = 1_000_000_000;

impl Engine {
    /// Takes in what a sweep has counted. Of a service that is settled no connection is recorded.
    pub(super) fn record_live(&mut self, mut latest: BTreeMap<BackendId, Tally>) {
        let mut left = BTreeSet::new();
        for service in &self.services {
            let members: BTreeSet<_> = service.members.iter().map(|member| member.id).collect();
            // In mode `snat` every connection is recorded, whatever its slot.
            if service.settled() && service.spec.mode != ForwardMode::Snat {
                latest.retain(|id, _| !members.contains(id));
            } else {
                left.extend(&members - &service.owners());
            }
        }
        self.ledger.record(now_ns(), latest, &left);
    }

    /// What is left on each backend of a service that gets no new connections.
    pub(super) fn live(&self, service: &Service) -> BTreeMap<BackendId, Live> {
        live(service, &self.ledger, now_ns())
    }

    /// Who has something left after a switch to `pool`, or may have. `before`: who got new connections before it.
    pub(super) fn left_by_switch(
        &self,
        service: &Service,
        pool: PoolName,
        before: &BTreeSet<BackendId>,
    ) -> BTreeSet<BackendId> {
        let live = self.live(service);
        let has = |member: &Member| {
            member.pool != pool
                && live.get(&member.id).is_some_and(|live| before.contains(&member.id) || !live.nothing())
        };
        service.members.iter().filter(|member| has(member)).map(|member| member.id).collect()
    }

    /// Sets the deadline of a drain or a switch, if there is one, and says what is left.
    pub(super) fn leave(
        &mut self,
        index: usize,
        cause: Cause,
        members: &BTreeSet<BackendId>,
        deadline: Option<model::Deadline>,
    ) -> Option<Left> {
        if members.is_empty() {
            return None;
        }
        if let Some(model::Deadline { after_ms, then }) = deadline {
            let (name, generation) = (&self.services[index].spec.name, self.generation);
            let after = humantime::format_duration(Duration::from_millis(after_ms));
            let line = format!("deadline {}: in {after}, then {then}", cause.of(name));
            self.log.push("deadline", Some(name), generation, line, "");
            let at_ns = now_ns() + after_ms * 1_000_000;
            let (service, members) = (self.services[index].number, members.clone());
            self.deadlines.set(Deadline { service, cause, members, at_ns, then, applied: false });
        }
        Some(self.left(index, cause, members))
    }

    fn left(&self, index: usize, cause: Cause, members: &BTreeSet<BackendId>) -> Left {
        let service = &self.services[index];
        let own: Vec<&Member> =
            service.members.iter().filter(|member| members.contains(&member.id)).collect();
        let what = match cause {
            Cause::Drain(backend) => backend.to_string(),
            Cause::Switch(_) => pools(&own),
        };
        let deadline = own.iter().find_map(|member| self.deadlines.of(member.id));
        Left {
            cause: cause.word().into(),
            what,
            backends: own.iter().map(|member| member.address).collect(),
            live: together(&self.live(service), members),
            deadline: deadline.map(|deadline| deadline.status(now_ns())),
        }
    }

    /// Gives up deadlines that `which` picks, and says so and why.
    pub(super) fn drop_deadlines(
        &mut self,
        index: usize,
        why: &str,
        which: impl Fn(&Deadline, BackendId) -> bool,
    ) {
        let service = &self.services[index];
        for dropped in self.deadlines.drop(service.number, which) {
            let line = format!(
                "deadline {} is dropped{}: {why}",
                dropped.cause.of(&service.spec.name),
                of(&dropped, service)
            );
            self.log.push("deadline", Some(&service.spec.name), self.generation, line, "");
        }
    }

    /// Whoever gets new connections has no deadline any more.
    pub(super) fn drop_deadlines_of_owners(&mut self, index: usize) {
        let owners = self.services[index].owners();
        self.drop_deadlines(index, "new connections come again", |_, id| owners.contains(&id));
    }

    /// Does what the deadlines say whose time has come. What fails is tried again.
    pub(super) fn end_overdue(&mut self) {
        while let Some(deadline) = self.deadlines.due(now_ns()).cloned() {
            let ended = self.end(&deadline);
            let Some(kept) = self.deadlines.by(deadline.service, deadline.cause) else { continue };
            kept.applied = ended.is_ok();
            if let Err(error) = ended {
                kept.at_ns = now_ns() + AGAIN_NS;
                self.log.push("warning", None, self.generation, error.message, "");
            }
        }
    }

    fn end(&mut self, deadline: &Deadline) -> Result<(), ApiError> {
        // Counted anew: the line says how many there are now.
        self.sweep().map_err(|error| failed(&error))?;
        let found = self.services.iter().position(|service| service.number == deadline.service);
        let index = found.expect("a service is never removed");
        let service = &self.services[index];
        let live = together(&self.live(service), &deadline.members);
        let line =
            format!("deadline {}: {}", deadline.cause.of(&service.spec.name), ending(&live, deadline.then));
        match deadline.then {
            End::Leave => {
                self.log.push("deadline", Some(&service.spec.name), self.generation, line, "");
                Ok(())
            }
            End::Reset => self.reset(index, &line, &deadline.members),
        }
    }

    fn reset(&mut self, index: usize, line: &str, members: &BTreeSet<BackendId>) -> Result<(), ApiError> {
        let edit = |service: &mut Service, _| {
            let own = service.members.iter_mut().filter(|member| members.contains(&member.id));
            own.for_each(|member| member.resetting = true);
            Ok(())
        };
        self.apply(index, line, "", edit).map(drop)
    }
}

/// What is left on each backend that gets no new connections. Of one whose connections are not kept, nothing.
fn live(service: &Service, ledger: &Ledger, now_ns: u64) -> BTreeMap<BackendId, Live> {
    let (owners, unseen) = (service.owners(), service.unseen_until_ns());
    let seconds = |ns: u64| ns as f64 / 1e9;
    let of = |member: &Member| {
        if member.resets() || !member.keeps() {
            return Live::NOTHING;
        }
        let (tally, unseen_until) = (ledger.tally(member.id), unseen.get(&member.id));
        let known = tally.connections > 0;
        Live {
            connections: tally.connections,
            oldest_s: if known { seconds(now_ns.saturating_sub(tally.oldest_ns)) } else { 0.0 },
            decline_per_s: ledger.decline_per_s(member.id),
            complete: unseen_until.is_none(),
            complete_in_s: unseen_until.map_or(0.0, |until| seconds(until.saturating_sub(now_ns))),
        }
    };
    let left = service.members.iter().filter(|member| !owners.contains(&member.id));
    left.map(|member| (member.id, of(member))).collect()
}

/// What is left on some backends together.
fn together(live: &BTreeMap<BackendId, Live>, members: &BTreeSet<BackendId>) -> Live {
    members.iter().filter_map(|id| live.get(id)).fold(Live::NOTHING, |sum, one| sum.and(*one))
}

/// The pools of some backends.
fn pools(members: &[&Member]) -> String {
    let pools: BTreeSet<PoolName> = members.iter().map(|member| member.pool).collect();
    let names: Vec<&str> = pools.iter().map(|pool| pool.as_str()).collect();
    names.join(", ")
}

/// ` for 10.0.1.11:8443` where a deadline holds for others still.
fn of(dropped: &Dropped, service: &Service) -> String {
    if dropped.whole {
        return String::new();
    }
    let own = service.members.iter().filter(|member| dropped.members.contains(&member.id));
    let names: Vec<String> = own.map(|member| member.address.to_string()).collect();
    format!(" for {}", names.join(", "))
}

/// What a deadline finds, and does about it.
fn ending(live: &Live, then: End) -> String {
    let (connections, are) =
        if live.connections == 1 { ("connection", "is") } else { ("connections", "are") };
    let done = match (live.nothing(), then) {
        (true, _) => return "no live connection is left".into(),
        (false, End::Leave) => "left alone".to_owned(),
        (false, End::Reset) => format!("{are} reset"),
    };
    let unseen = match (live.complete, then) {
        (true, _) => "",
        (false, End::Leave) => ", and those that have been silent all the time",
        (false, End::Reset) => ", and those that have been silent all the time when they speak",
    };
    format!("{} live {connections} {done}{unseen}", live.connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::model::Admin, engine::samples, table::Order};

    const SECOND_NS: u64 = 1_000_000_000;

    /// Blue (number 1) left for green (number 2) at 0; the idle timeout is 60 s.
    fn switched() -> Service {
        let order = Order::new("a fleet-wide secret");
        let mut service = samples::service(&order);
        service.release = service.release.switch(PoolName::Green).unwrap();
        service.retarget(&order, 0);
        service
    }

    fn counted(blue: u64) -> Ledger {
        let mut ledger = Ledger::default();
        let blue = (BackendId::new(1), Tally { connections: blue, oldest_ns: 2 * SECOND_NS });
        ledger.record(10 * SECOND_NS, [blue, (BackendId::new(2), Tally::default())].into(), &[blue.0].into());
        ledger
    }

    #[test]
    fn only_who_gets_nothing_new_has_something_left() {
        let live = live(&switched(), &counted(37), 12 * SECOND_NS);
        let blue = Live {
            connections: 37,
            oldest_s: 10.0,
            decline_per_s: 0.0,
            complete: false,
            complete_in_s: 49.0,
        };
        assert_eq!(live, [(BackendId::new(1), blue)].into());
    }

    #[test]
    fn all_are_counted_when_no_slot_is_dirty() {
        let mut service = switched();
        service.track(u64::MAX);
        let live = live(&service, &counted(0), 70 * SECOND_NS);
        assert_eq!(live[&BackendId::new(1)], Live::NOTHING);
    }

    #[test]
    fn what_is_not_kept_is_not_left() {
        let blue = BackendId::new(1);
        let mut service = switched();
        service.members[0].resetting = true;
        assert_eq!(live(&service, &counted(37), 0)[&blue], Live::NOTHING);
        service.members[0].reset_no_more();
        assert_eq!(live(&service, &counted(37), 0)[&blue].connections, 37);
        service.members[0].admin = Admin::Maint;
        assert_eq!(live(&service, &counted(37), 0)[&blue], Live::NOTHING);
    }

    #[test]
    fn the_line_says_how_many_and_what_becomes_of_them() {
        let of = |connections, complete, then| ending(&Live { connections, complete, ..Live::NOTHING }, then);
        assert_eq!(of(37, true, End::Leave), "37 live connections left alone");
        assert_eq!(of(37, true, End::Reset), "37 live connections are reset");
        assert_eq!(of(1, true, End::Reset), "1 live connection is reset");
        assert_eq!(of(0, true, End::Reset), "no live connection is left");
        assert_eq!(
            of(0, false, End::Leave),
            "0 live connections left alone, and those that have been silent all the time"
        );
    }

    #[test]
    fn who_is_dropped_is_named_if_others_are_not() {
        let service = switched();
        let mut dropped = Dropped {
            cause: Cause::Switch(PoolName::Green),
            members: [BackendId::new(1)].into(),
            whole: false,
        };
        assert_eq!(of(&dropped, &service), " for 10.0.1.11:8080");
        dropped.whole = true;
        assert_eq!(of(&dropped, &service), "");
    }
}
