//! What an operator asks for: one change, one generation, one line.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use splitter_common::{abi::ServiceTable, hash::SLOTS, slot::BackendId, tables::Exceptions};

use super::{
    Engine,
    deadlines::Cause,
    now_ns,
    service::{Member, Service},
};
use crate::{
    api::model::{Action, Admin, ApiError, Change, ChangeRequest, Deadline, ErrorCode},
    config::{PoolName, Weight},
    dataplane::Error,
    release::{NOTHING_TO_UNDO, Refusal, Release, describe},
};

impl Engine {
    /// Makes one change, or none.
    pub(super) fn change(&mut self, request: &ChangeRequest) -> Result<Change, ApiError> {
        let name = &request.service;
        let index = self.service(name).ok_or_else(|| self.unknown_service(name))?;
        match &request.action {
            Action::Weights { weights } => self.weights(index, weights, &request.reason),
            Action::Switch { pool, deadline } => self.switch(index, *pool, *deadline, &request.reason),
            Action::Rollback => self.rollback(index, &request.reason),
            Action::Admin { backend, state, deadline } => {
                check_deadline(name, *deadline)?;
                self.admin(index, *backend, *state, *deadline, &request.reason)
            }
        }
    }

    fn weights(
        &mut self,
        index: usize,
        weights: &BTreeMap<PoolName, Weight>,
        reason: &str,
    ) -> Result<Change, ApiError> {
        let service = &self.services[index];
        let release = &service.release;
        let next = release.weights(weights).map_err(|refusal| refused(&service.spec.name, &refusal))?;
        let weight =
            |release: &Release, pool| release.current().weights.get(&pool).copied().unwrap_or_default();
        for pool in PoolName::ALL.into_iter().filter(|pool| weight(&next, *pool) > weight(release, *pool)) {
            self.check_has_backend(index, pool)?;
        }
        self.release(index, "weights", next, reason)
    }

    fn rollback(&mut self, index: usize, reason: &str) -> Result<Change, ApiError> {
        let release = &self.services[index].release;
        let next = release.rollback().unwrap_or_else(|| release.clone());
        let change = self.release(index, "rollback", next, reason)?;
        if change.generation != change.generation_before {
            self.drop_deadlines(index, "rolled back", |deadline, _| deadline.of_a_switch());
        }
        Ok(change)
    }

    fn switch(
        &mut self,
        index: usize,
        pool: PoolName,
        deadline: Option<Deadline>,
        reason: &str,
    ) -> Result<Change, ApiError> {
        let Service { release, spec, .. } = &self.services[index];
        let next = release.switch(pool).map_err(|refusal| refused(&spec.name, &refusal))?;
        self.check_has_backend(index, pool)?;
        check_deadline(&spec.name, deadline)?;
        let before = self.services[index].owners();
        let change = self.release(index, "switch", next, reason)?;
        self.drop_deadlines(index, "switched anew", |deadline, _| deadline.of_a_switch());
        let left = self.left_by_switch(&self.services[index], pool, &before);
        Ok(Change { left: self.leave(index, Cause::Switch(pool), &left, deadline), ..change })
    }

    fn release(&mut self, index: usize, verb: &str, next: Release, reason: &str) -> Result<Change, ApiError> {
        let service = &self.services[index];
        let name = &service.spec.name;
        let what = if verb == "rollback" && service.release.rollback_to().is_none() {
            format!("rollback {name}: {NOTHING_TO_UNDO}")
        } else {
            format!("{verb} {name} {}", describe(service.release.current(), next.current()))
        };
        let back = verb == "rollback";
        let anew = verb == "switch" || (back && next != service.release);
        self.apply(index, &what, reason, move |service, _| {
            service.release = next;
            if back {
                undrain(service);
            }
            if anew {
                keep_again(service);
            }
            Ok(())
        })
    }

    fn admin(
        &mut self,
        index: usize,
        backend: SocketAddr,
        state: Admin,
        deadline: Option<Deadline>,
        reason: &str,
    ) -> Result<Change, ApiError> {
        let service = &self.services[index];
        let name = service.spec.name.clone();
        let position = service
            .members
            .iter()
            .position(|member| member.address == backend)
            .ok_or_else(|| unknown_backend(service, backend))?;
        let member = service.members[position];
        if state != Admin::Ready {
            check_last(service, position)?;
        }
        if state != Admin::Drain && deadline.is_some() {
            return Err(refusal(format!(
                "{name}: {} takes no deadline: it goes with drain or switch",
                word(state)
            )));
        }
        let verb = word(state);
        let what = format!("{verb} {name} {backend} ({}) {} -> {verb}", member.pool, word(member.admin));
        let change = self.apply(index, &what, reason, move |service, _| {
            service.members[position].admin = state;
            service.members[position].reset_no_more();
            Ok(())
        })?;
        self.publish_targets();
        self.drop_deadlines(index, &format!("{verb} {name} {backend}"), |_, id| id == member.id);
        let left = (state == Admin::Drain)
            .then(|| self.leave(index, Cause::Drain(backend), &[member.id].into(), deadline));
        Ok(Change { left: left.flatten(), ..change })
    }

    /// Changes a service with `edit` and makes the outcome live as the next generation. Where the kernel refuses,
    /// all is as it was. What changes nothing makes no generation.
    pub(super) fn apply(
        &mut self,
        index: usize,
        what: &str,
        reason: &str,
        edit: impl FnOnce(&mut Service, u64) -> Result<(), ApiError>,
    ) -> Result<Change, ApiError> {
        let started = Instant::now();
        let before = self.services[index].clone();
        let generation_before = self.generation;
        edit(&mut self.services[index], self.generation)?;
        let service = &mut self.services[index];
        let changed = service.release != before.release || service.members != before.members;
        let slots_moved = service.retarget(&self.order, now_ns());
        let mut connections_moved = 0;
        if changed {
            self.go_live(index, before.clone())?;
            connections_moved = self.bury(index, &before).map_err(|error| failed(&error))?;
        }
        let programmed = self.programmed(index).map_err(|error| failed(&error))?;
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let lost = lost(&before, &self.services[index]);
        let line = line(what, [generation_before, self.generation], slots_moved, connections_moved, &lost);
        if changed {
            let name = &self.services[index].spec.name;
            self.log.push("change", Some(name), self.generation, line.clone(), reason);
            self.drop_deadlines_of_owners(index);
        }
        let service = &self.services[index];
        Ok(Change {
            line,
            service: service.spec.name.clone(),
            generation_before,
            generation: self.generation,
            slots_moved,
            connections_moved,
            took_ms,
            before: before.release.current().clone(),
            after: service.release.current().clone(),
            programmed,
            left: None,
            reason: reason.into(),
        })
    }

    /// Flips to the changed service; on failure it is `before` again.
    fn go_live(&mut self, index: usize, before: Service) -> Result<(), ApiError> {
        let generation = self.generation + 1;
        if let Err(error) = self.commit(generation) {
            self.services[index] = before;
            return Err(failed(&error));
        }
        self.generation = generation;
        let service = &mut self.services[index];
        service.generation = generation;
        service.changed_ns = now_ns();
        self.exceptions = None;
        // The measured share begins here.
        self.sample();
        Ok(())
    }

    /// Removes the entries of backends whose connections cannot be kept any more; returns how many were live.
    fn bury(&mut self, index: usize, before: &Service) -> Result<u64, Error> {
        let service = &self.services[index];
        let dead: Vec<BackendId> = before
            .members
            .iter()
            .zip(&service.members)
            .filter(|(before, after)| before.keeps() && !after.keeps())
            .map(|(_, after)| after.id)
            .collect();
        if dead.is_empty() {
            return Ok(0);
        }
        let (idle_timeout_ns, now) = (service.table().idle_timeout_ns, now_ns());
        let mut live = 0;
        for table in [Exceptions::Embryonic, Exceptions::Flows] {
            for (key, flow) in self.data_plane.recorded(table)? {
                // Looked up again: a SYN may have recorded the 4-tuple anew since the table was read.
                if dead.contains(&flow.backend)
                    && self.data_plane.lookup(table, &key)?.is_some_and(|flow| dead.contains(&flow.backend))
                {
                    live += u64::from(table == Exceptions::Flows && flow.fresh(now, idle_timeout_ns));
                    self.remove(table, &key)?;
                }
            }
        }
        Ok(live)
    }

    /// Share by pool of the live slot table, read from the kernel.
    pub(super) fn programmed(&self, index: usize) -> Result<BTreeMap<PoolName, f64>, Error> {
        let service = &self.services[index];
        let table = self.data_plane.read_back(service.number)?;
        let count = |pool: PoolName| slots_of(service, &table, |member| member == pool);
        Ok(service.spec.pools.keys().map(|pool| (*pool, f64::from(count(*pool)) / SLOTS as f64)).collect())
    }

    /// A pool that is to get everything must have a backend that can take it.
    fn check_has_backend(&self, index: usize, pool: PoolName) -> Result<(), ApiError> {
        let service = &self.services[index];
        if service.members.iter().any(|member| member.pool == pool && member.usable()) {
            return Ok(());
        }
        Err(refusal(format!(
            "{}: {pool} has no backend that is ready and healthy, so every client would be turned away; see `splitter \
             status {}`, bring one up or `ready` one first",
            service.spec.name, service.spec.name
        )))
    }

    pub(super) fn unknown_service(&self, name: &str) -> ApiError {
        let names: Vec<&str> = self.services.iter().map(|service| service.spec.name.as_str()).collect();
        refusal(format!("there is no service `{name}`: the configuration has {}", names.join(", ")))
    }
}

/// Slots of the kernel's table whose current backend is in a pool.
pub(super) fn slots_of(service: &Service, table: &ServiceTable, wanted: impl Fn(PoolName) -> bool) -> u32 {
    let ids: Vec<BackendId> =
        service.members.iter().filter(|member| wanted(member.pool)).map(|m| m.id).collect();
    table.slots.iter().map(|slot| u32::from(ids.contains(&slot.current()))).sum()
}

/// A pool that a rollback gives weight to, and all of whose backends were drained in the release, gets them back: what
/// they were before it.
fn undrain(service: &mut Service) {
    for (pool, weight) in service.release.current().weights.clone() {
        let own = |member: &Member| member.pool == pool;
        if weight > Weight::ZERO && !service.members.iter().any(|member| own(member) && member.usable()) {
            let drained =
                service.members.iter_mut().filter(|member| own(member) && member.admin == Admin::Drain);
            drained.for_each(|member| member.admin = Admin::Ready);
        }
    }
}

/// A new order replaces an older one's end: connections that its deadline began to reset are kept again, but those of
/// backends that were drained one by one.
fn keep_again(service: &mut Service) {
    let of_no_drain = service.members.iter_mut().filter(|member| member.admin != Admin::Drain);
    of_no_drain.for_each(Member::reset_no_more);
}

fn check_deadline(service: &str, deadline: Option<Deadline>) -> Result<(), ApiError> {
    let checked = deadline.map_or(Ok(Duration::ZERO), |deadline| Deadline::check(deadline.after()));
    checked.map(drop).map_err(|wrong| refusal(format!("{service}: {wrong}")))
}

/// Taking out the last usable backend of a pool that has weight would turn its clients away.
fn check_last(service: &Service, position: usize) -> Result<(), ApiError> {
    let member = service.members[position];
    let weight = service.release.current().weights.get(&member.pool).copied().unwrap_or_default();
    let others =
        service.members.iter().enumerate().any(|(other, candidate)| {
            other != position && candidate.pool == member.pool && candidate.usable()
        });
    if weight == Weight::ZERO || others || !member.usable() {
        return Ok(());
    }
    Err(refusal(format!(
        "{}: {} is the last ready and healthy backend of {}, which has {weight}: its clients would be turned away. Take \
         the weight away first (`splitter weights {} {}=0`, or `splitter switch`)",
        service.spec.name, member.address, member.pool, service.spec.name, member.pool
    )))
}

fn unknown_backend(service: &Service, backend: SocketAddr) -> ApiError {
    let known: Vec<String> =
        service.members.iter().map(|member| format!("{} ({})", member.address, member.pool)).collect();
    refusal(format!("{} has no backend {backend}: it has {}", service.spec.name, known.join(", ")))
}

/// Members whose live connections are kept before the change and not after it.
fn lost(before: &Service, after: &Service) -> Vec<SocketAddr> {
    let pairs = before.members.iter().zip(&after.members);
    pairs.filter(|(before, after)| before.keeps() && !after.keeps()).map(|(_, after)| after.address).collect()
}

/// The one line. Where a backend is `lost`, nobody knows how many connections it had: only exceptions are recorded.
fn line(what: &str, [before, after]: [u64; 2], slots: u32, connections: u64, lost: &[SocketAddr]) -> String {
    if before == after {
        return format!("{what} (gen {after}, nothing to change)");
    }
    let slots_word = if slots == 1 { "slot" } else { "slots" };
    let connections = match (lost, connections) {
        ([], 1) => "1 live connection moved".to_owned(),
        ([], _) => format!("{connections} live connections moved"),
        (lost, _) => {
            let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
            format!("live connections of {} are not kept", names.join(", "))
        }
    };
    format!("{what} (gen {before} -> {after}, {slots} {slots_word} moved, {connections})")
}

const fn word(state: Admin) -> &'static str {
    match state {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
    }
}

fn refused(service: &str, refusal: &Refusal) -> ApiError {
    self::refusal(format!("{service}: {refusal}"))
}

fn refusal(message: String) -> ApiError {
    ApiError { code: ErrorCode::Refused, message }
}

/// The kernel refused.
pub(super) fn failed(error: &Error) -> ApiError {
    let message = format!("{error}; see `splitter status` for what is live, and try again");
    ApiError { code: ErrorCode::Failed, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Service {
        crate::engine::samples::service(&crate::table::Order::new("a fleet-wide secret"))
    }

    #[test]
    fn what_a_switch_reset_is_kept_again_and_what_a_drain_did_is_not() {
        let mut service = sample();
        service.members.iter_mut().for_each(|member| member.resetting = true);
        service.members[0].admin = Admin::Drain;
        keep_again(&mut service);
        assert_eq!((service.members[0].resets(), service.members[1].resets()), (true, false));
    }

    #[test]
    fn a_deadline_is_checked() {
        let after = |after_ms| Some(Deadline { after_ms, then: crate::api::model::End::Leave });
        assert!(check_deadline("web", None).is_ok() && check_deadline("web", after(1000)).is_ok());
        let wrong = check_deadline("web", after(0)).unwrap_err();
        assert!(wrong.message.starts_with("web: a deadline of 0s is out of bounds"), "{wrong}");
    }

    #[test]
    fn a_rollback_brings_back_what_was_drained() {
        let mut service = sample();
        service.members[0].admin = Admin::Drain;
        undrain(&mut service);
        assert_eq!(service.members[0].admin, Admin::Ready);
        service.members[0].admin = Admin::Maint;
        undrain(&mut service);
        assert_eq!(service.members[0].admin, Admin::Maint, "what was taken out at once stays out");
    }

    #[test]
    fn the_line_does_not_claim_what_nobody_knows() {
        let backend = "10.0.1.11:8080".parse().unwrap();
        assert_eq!(line("x", [1, 2], 1, 0, &[]), "x (gen 1 -> 2, 1 slot moved, 0 live connections moved)");
        assert_eq!(
            line("x", [1, 2], 5, 0, &[backend]),
            "x (gen 1 -> 2, 5 slots moved, live connections of 10.0.1.11:8080 are not kept)"
        );
        assert_eq!(line("x", [2, 2], 0, 0, &[]), "x (gen 2, nothing to change)");
    }
}
