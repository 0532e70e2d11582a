//! Deadlines of drains and switches: which are under way, which are due, and what they are given up for. Pure.

use std::{collections::BTreeSet, net::SocketAddr};

use splitter_common::slot::BackendId;

use crate::{
    api::model::{DeadlineStatus, End},
    config::PoolName,
};

/// The command that set a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `drain` of a backend.
    Drain(SocketAddr),
    /// `switch` to a pool, away from the others.
    Switch(PoolName),
}

impl Cause {
    /// The command's first word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drain(_) => "drain",
            Self::Switch(_) => "switch",
        }
    }

    /// The command as it was given, e.g. `drain web 10.0.1.11:8443`.
    pub fn of(self, service: &str) -> String {
        match self {
            Self::Drain(backend) => format!("{} {service} {backend}", self.word()),
            Self::Switch(pool) => format!("{} {service} {pool}", self.word()),
        }
    }
}

/// A deadline under way, or one that has passed and whose end goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Number of the service.
    pub service: u32,
    /// Who set it; a service has one of each.
    pub cause: Cause,
    /// Whose connections have time until then. Nobody has two deadlines.
    pub members: BTreeSet<BackendId>,
    /// When it is, nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What happens then.
    pub then: End,
    /// That was done.
    pub applied: bool,
}

impl Deadline {
    /// Set by a switch.
    pub const fn of_a_switch(&self) -> bool {
        matches!(self.cause, Cause::Switch(_))
    }

    /// As the status shows it.
    pub fn status(&self, now_ns: u64) -> DeadlineStatus {
        let in_s = if self.applied { 0.0 } else { self.at_ns.saturating_sub(now_ns) as f64 / 1e9 };
        DeadlineStatus { in_s, then: self.then, applied: self.applied }
    }
}

/// A deadline that some backends have no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Who had set it.
    pub cause: Cause,
    /// Who has it no more.
    pub members: BTreeSet<BackendId>,
    /// Nobody has it any more.
    pub whole: bool,
}

/// All deadlines.
#[derive(Clone, Debug, Default)]
pub struct Deadlines(Vec<Deadline>);

impl Deadlines {
    /// Adds one, for those of its members who have none.
    pub fn set(&mut self, mut deadline: Deadline) {
        deadline.members.retain(|id| self.of(*id).is_none());
        if !deadline.members.is_empty() {
            self.0.push(deadline);
        }
    }

    /// Takes the backends that `which` picks out of a service's deadlines; returns the deadlines that had not passed.
    pub fn drop(&mut self, service: u32, which: impl Fn(&Deadline, BackendId) -> bool) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for deadline in self.0.iter_mut().filter(|deadline| deadline.service == service) {
            let (members, rest): (BTreeSet<_>, _) =
                deadline.members.iter().partition(|id| which(deadline, **id));
            deadline.members = rest;
            if !members.is_empty() && !deadline.applied {
                let whole = deadline.members.is_empty();
                dropped.push(Dropped { cause: deadline.cause, members, whole });
            }
        }
        self.0.retain(|deadline| !deadline.members.is_empty());
        dropped
    }

    /// One whose time has come.
    pub fn due(&self, now_ns: u64) -> Option<&Deadline> {
        self.0.iter().find(|deadline| !deadline.applied && deadline.at_ns <= now_ns)
    }

    /// The deadline of a service's command.
    pub fn by(&mut self, service: u32, cause: Cause) -> Option<&mut Deadline> {
        self.0.iter_mut().find(|deadline| deadline.service == service && deadline.cause == cause)
    }

    /// A backend's deadline.
    pub fn of(&self, id: BackendId) -> Option<&Deadline> {
        self.0.iter().find(|deadline| deadline.members.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BackendId = BackendId::new(1);
    const B: BackendId = BackendId::new(2);

    fn drain() -> Cause {
        Cause::Drain("10.0.1.11:8443".parse().unwrap())
    }

    fn deadline(cause: Cause, members: &[BackendId], at_ns: u64) -> Deadline {
        let members = members.iter().copied().collect();
        Deadline { service: 0, cause, members, at_ns, then: End::Reset, applied: false }
    }

    #[test]
    fn it_is_due_once() {
        let mut deadlines = Deadlines::default();
        deadlines.set(deadline(drain(), &[A], 3_000_000_000));
        assert_eq!(deadlines.due(2_999_999_999), None);
        assert_eq!(deadlines.of(A).unwrap().status(1_000_000_000).in_s, 2.0);
        let due = deadlines.due(3_000_000_000).unwrap().cause;
        deadlines.by(0, due).unwrap().applied = true;
        assert_eq!(deadlines.due(u64::MAX), None);
        let status = deadlines.of(A).unwrap().status(0);
        assert_eq!(status, DeadlineStatus { in_s: 0.0, then: End::Reset, applied: true });
    }

    #[test]
    fn a_switch_leaves_a_drained_backend_its_own() {
        let mut deadlines = Deadlines::default();
        deadlines.set(deadline(drain(), &[A], 5));
        deadlines.set(deadline(Cause::Switch(PoolName::Green), &[A, B], 9));
        assert_eq!((deadlines.of(A).unwrap().at_ns, deadlines.of(B).unwrap().at_ns), (5, 9));
        deadlines.set(deadline(Cause::Switch(PoolName::Green), &[A], 9));
        assert_eq!(deadlines.0.len(), 2, "one without backends is none");
    }

    #[test]
    fn who_is_dropped_is_told_unless_it_has_passed() {
        let mut deadlines = Deadlines::default();
        let switch = Cause::Switch(PoolName::Green);
        deadlines.set(deadline(switch, &[A, B], 5));
        assert_eq!(deadlines.drop(1, |_, _| true), [], "another service's");
        let part = Dropped { cause: switch, members: [A].into(), whole: false };
        assert_eq!(deadlines.drop(0, |_, id| id == A), [part]);
        let rest = Dropped { cause: switch, members: [B].into(), whole: true };
        assert_eq!(deadlines.drop(0, |deadline, _| deadline.of_a_switch()), [rest]);
        let mut passed = deadline(switch, &[A], 5);
        passed.applied = true;
        deadlines.set(passed);
        assert_eq!(deadlines.drop(0, |_, _| true), []);
        assert_eq!(deadlines.of(A), None);
    }

    #[test]
    fn it_is_named_as_it_was_asked_for() {
        assert_eq!(drain().of("web"), "drain web 10.0.1.11:8443");
        assert_eq!(Cause::Switch(PoolName::Green).of("web"), "switch web green");
    }
}
