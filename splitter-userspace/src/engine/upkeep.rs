//! What time, network and health checks ask of the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use splitter_common::{abi::FlowKey, slot::BackendId, tables::Exceptions};

use super::{Engine, fill::Fill, now_ns, service::Service, sweep};
use crate::{
    api::model::Health,
    dataplane::{Attachment, Error, Recorded},
    health::Verdict,
    net::{NextHop, Snapshot},
};

/// Time between samples of the counters.
const SAMPLE_NS: u64 = 1_000_000_000;

/// Least time between sweeps while a service is not settled.
const SWEEP_NS: u64 = 1_000_000_000;

/// A sweep may take one part in this many of the engine's time.
const SWEEP_SHARE: u64 = 20;

/// A table of exceptions is called full from this share of its entries on, in percent.
const NEARLY_FULL: u64 = 90;

/// When the next things are due, nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub struct Due {
    sample_ns: u64,
    sweep_ns: u64,
    /// A table was reported as filling up.
    full_reported: bool,
}

impl Engine {
    /// Whatever is due now.
    pub(super) fn upkeep(&mut self) {
        let now = now_ns();
        if now >= self.due.sample_ns {
            self.due.sample_ns = now + SAMPLE_NS;
            self.sample();
        }
        self.end_overdue();
        let unsettled = self.services.iter().any(|service| !service.settled());
        if now >= self.due.sweep_ns && (unsettled || self.translates()) {
            let started = Instant::now();
            self.report("sweep", Self::sweep);
            let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.due.sweep_ns = now_ns() + SWEEP_NS.max(took.saturating_mul(SWEEP_SHARE));
        }
    }

    /// Does something nobody waits for; what fails is an event, and is tried again when it is due.
    fn report(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<(), Error>) {
        if let Err(error) = work(self) {
            self.log.push(
                "warning",
                None,
                self.generation,
                format!("{what} failed: {error}; it will be tried again"),
                "",
            );
        }
    }

    /// Reads the backends' counters.
    pub(super) fn sample(&mut self) {
        self.report("reading the counters", |engine| {
            let ids: Vec<BackendId> =
                engine.services.iter().flat_map(|s| s.members.iter().map(|m| m.id)).collect();
            let counters = engine.data_plane.backend_counters(ids.into_iter())?;
            engine.meter.sample(now_ns(), counters);
            Ok(())
        });
    }

    /// DIRTY slots whose time has come become TRACKED; tables are judged; TRACKED slots without exceptions become
    /// CLEAN.
    ///
    /// The order is what makes it right. Embryonic entries first: one may be promoted meanwhile, and then stands in
    /// the flow table, which is read later. Between the two, a grace period: no packet still promotes an entry that
    /// has been removed.
    pub(super) fn sweep(&mut self) -> Result<(), Error> {
        self.track()?;
        let embryonic = self.judge(Exceptions::Embryonic)?;
        self.data_plane.wait();
        let flows = self.judge(Exceptions::Flows)?;
        let mut exceptions = flows.exceptions;
        for (id, count) in embryonic.exceptions {
            *exceptions.entry(id).or_default() += count;
        }
        self.exceptions = Some(exceptions);
        self.report_filling();
        let blocked: BTreeSet<_> = embryonic.blocked.union(&flows.blocked).copied().collect();
        let settled = self.settle(&sweep::settleable(&self.services, &blocked));
        let mut live = flows.live;
        if self.translates() {
            live.extend(self.sweep_translations()?);
        }
        self.record_live(live);
        settled
    }

    /// Counts the exceptions unless that was done since the last change: what was none before can be one now.
    pub(super) fn count_exceptions(&mut self) -> Result<(), Error> {
        if self.exceptions.is_none() { self.sweep() } else { Ok(()) }
    }

    /// DIRTY slots whose time has come; live before the tables are read.
    fn track(&mut self) -> Result<(), Error> {
        let now = now_ns();
        self.advance(|service| service.track(now) > 0)
    }

    /// Reads a table, removes what may go, and notes how full it is.
    fn judge(&mut self, table: Exceptions) -> Result<sweep::Findings, Error> {
        let before = self.data_plane.table_counters()?;
        let entries: Vec<Recorded> = self.data_plane.recorded(table)?;
        let after = self.data_plane.table_counters()?;
        let findings = sweep::judge(&entries, &self.services, now_ns());
        let evicted = self.fill(table).read(table, findings.entries, &before, &after);
        if evicted > 0 && table == Exceptions::Flows {
            let line = format!(
                "flow table full: at least {evicted} exceptions were thrown out, their connections may move (raise \
                 flow_table under [daemon])"
            );
            self.log.push("table", None, self.generation, line, "");
        }
        for key in &findings.remove {
            self.remove(table, key)?;
        }
        Ok(findings)
    }

    /// Removes an entry, and keeps count.
    pub(super) fn remove(&mut self, table: Exceptions, key: &FlowKey) -> Result<(), Error> {
        if self.data_plane.remove(table, key)? {
            self.fill(table).removed();
        }
        Ok(())
    }

    const fn fill(&mut self, table: Exceptions) -> &mut Fill {
        match table {
            Exceptions::Flows => &mut self.flows,
            Exceptions::Embryonic | Exceptions::Previews => &mut self.embryonic,
        }
    }

    fn settle(&mut self, slots: &[sweep::SlotRef]) -> Result<(), Error> {
        let mut own: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (number, slot) in slots {
            own.entry(*number).or_default().push(*slot);
        }
        self.advance(|service| {
            let tables: Vec<u32> = service.slot_tables().map(|(number, _)| number).collect();
            let due = tables.into_iter().filter_map(|number| Some((number, own.get(&number)?)));
            due.map(|(number, slots)| service.settle(number, slots)).count() > 0
        })
    }

    /// Takes every service that is not settled a step on and makes them live under the present generation; where the
    /// kernel refuses, they are as before. `step` says whether it changed anything.
    fn advance(&mut self, step: impl Fn(&mut Service) -> bool) -> Result<(), Error> {
        let mut before = Vec::new();
        for (index, service) in self.services.iter_mut().enumerate().filter(|(_, service)| !service.settled())
        {
            let old = service.clone();
            if step(service) {
                before.push((index, old));
            }
        }
        if before.is_empty() {
            return Ok(());
        }
        let changed: Vec<usize> = before.iter().map(|(index, _)| *index).collect();
        let generation = self.generation;
        self.commit(generation).inspect_err(|_| {
            before.into_iter().for_each(|(index, old)| self.services[index] = old);
        })?;
        self.report_settled(&changed);
        Ok(())
    }

    fn report_settled(&self, changed: &[usize]) {
        for service in changed.iter().map(|index| &self.services[*index]).filter(|service| service.settled())
        {
            let name = &service.spec.name;
            let line =
                format!("settled {name} (gen {}, every slot CLEAN, no exception left)", self.generation);
            self.log.push("slots", Some(name), self.generation, line, "");
        }
    }

    fn report_filling(&mut self) {
        let capacities = (self.config.daemon.flow_table, self.config.daemon.embryonic_table);
        let full = |fill: Fill, capacity: u32| fill.entries * 100 >= u64::from(capacity) * NEARLY_FULL;
        let filling = full(self.flows, capacities.0) || full(self.embryonic, capacities.1);
        if filling && !self.due.full_reported {
            let line = format!(
                "tables filling up: flow {} of {}, embryonic {} of {}; beyond that the oldest entries are lost and their \
                 connections may move (raise flow_table or embryonic_table under [daemon])",
                self.flows.entries, capacities.0, self.embryonic.entries, capacities.1
            );
            self.log.push("table", None, self.generation, line, "");
        }
        self.due.full_reported = filling;
    }

    /// The network has changed: the ways are written anew, under the present generation.
    pub(super) fn network_changed(&mut self, snapshot: Arc<Snapshot>) {
        let before = std::mem::replace(&mut self.snapshot, snapshot);
        self.report_hops(&before);
        self.follow_interfaces();
        self.report("writing the next hops", |engine| {
            engine.take_network()?;
            let generation = engine.generation;
            engine.commit(generation)
        });
    }

    /// Interfaces that came back as another one get the program; those that are gone keep their line in the status.
    fn follow_interfaces(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        for found in &snapshot.interfaces {
            let bare = |attachment: &Attachment| {
                // One that was made anew may have the number of the old one.
                attachment.interface == found.name
                    && (attachment.index != found.index || found.program.is_none())
            };
            let Some(position) = self.attachments.iter().position(bare) else { continue };
            let attachment = self.attachments[position].clone();
            match self.reattach(position) {
                Ok(()) => {}
                // The snapshot is from before it was attached.
                Err(Error::Occupied(_)) if attachment.index == found.index => {
                    self.attachments.push(attachment);
                }
                Err(error) => {
                    let line =
                        format!("{} is not attached: {error}; restart splitterd when it can be", found.name);
                    self.log.push("warning", None, self.generation, line, "");
                    self.follow_later(attachment);
                }
            }
        }
    }

    /// Keeps an interface that could not be attached, for the status to say so.
    fn follow_later(&mut self, mut attachment: Attachment) {
        attachment.why = "lost: it came back as another interface, and did not take the program".into();
        self.attachments.push(attachment);
    }

    /// One line for every backend whose next hop came or went.
    fn report_hops(&self, before: &Snapshot) {
        let resolved = |snapshot: &Snapshot, address| {
            matches!(snapshot.targets.get(address), Some(NextHop::Resolved { .. }))
        };
        for (address, hop) in &self.snapshot.targets {
            if resolved(before, address) != resolved(&self.snapshot, address) {
                self.log.push("next_hop", None, self.generation, format!("next hop of {address}: {hop}"), "");
            }
        }
    }

    /// A backend's health has changed: its slots go to others, or come back.
    pub(super) fn health_changed(&mut self, verdict: &Verdict) {
        let health = if verdict.up { Health::Up } else { Health::Down };
        for index in 0..self.services.len() {
            let found =
                self.services[index].members.iter().position(|member| member.address == verdict.address);
            let Some(position) = found else { continue };
            if self.services[index].spec.health.is_none()
                || self.services[index].members[position].health == health
            {
                continue;
            }
            let what =
                format!("health {} {} {}", self.services[index].spec.name, verdict.address, verdict.why);
            let outcome = self.apply(index, &what, "", |service, _| {
                service.members[position].health = health;
                Ok(())
            });
            if let Err(error) = outcome {
                self.log.push("warning", None, self.generation, error.message, "");
            }
        }
    }
}
