//! Connections of slots that are not CLEAN: the tables are asked, the state machine decides, its note is written.
//!
//! Not inlined: the steady state should not pay for code and registers it does not use.

use crate::{
    abi::{Flow, FlowKey},
    net::TcpFlags,
    select::{self, Clock},
    slot::{Answer, BackendId, Note, Slot},
    tables::{Exceptions, FlowRef, Sender, TableEvent, Tables},
};

/// A packet's connection, and what its slot says.
pub struct Connection {
    /// Its key in the tables.
    pub key: FlowKey,
    /// The live side.
    pub side: u32,
    /// Its slot.
    pub slot: Slot,
    /// The packet's TCP flags.
    pub flags: TcpFlags,
    /// The service's idle timeout, nanoseconds.
    pub idle_timeout_ns: u64,
}

/// Places a client's packet; none when its slot has no backend.
#[inline(never)]
pub fn place<T: Tables>(tables: &T, connection: &Connection) -> BackendId {
    let Connection { key, side, slot, flags, idle_timeout_ns } = connection;
    let now_ns = tables.now_ns();
    let clock = Clock { now_ns, idle_timeout_ns: *idle_timeout_ns };
    let flow = tables.flow(Exceptions::Flows, key);
    let embryonic = match &flow {
        Some(_) if !flags.opens() => None,
        _ => tables.flow(Exceptions::Embryonic, key),
    };
    let entries = [flow.as_ref().map(FlowRef::read), embryonic.as_ref().map(FlowRef::read)];
    let alive = |id| tables.backend(*side, id).is_some_and(crate::abi::Backend::alive);
    let placement = select::place(*slot, *flags, entries, clock, alive);
    let touch = |entry: Option<T::Flow>| {
        if let Some(entry) = entry {
            entry.touch(now_ns, Sender::Client, flags.fin(), flags.rst());
        }
    };
    match placement.note {
        Note::Nothing => {}
        Note::TouchFlow => touch(flow),
        Note::RenewFlow => {
            if !tables.record(Exceptions::Flows, key, &Flow::new(placement.backend, now_ns)) {
                tables.count_table(TableEvent::Failed);
            }
        }
        Note::TouchEmbryonic => touch(embryonic),
        Note::Promote => {
            let mut flow = Flow::new(placement.backend, now_ns);
            flow.since_ns = entries[1].map_or(now_ns, |embryonic| embryonic.since_ns);
            promote(tables, connection, flow);
        }
        Note::Forget => forget(tables, key),
        Note::ForgetAndRecord => {
            forget(tables, key);
            record(
                tables,
                Exceptions::Embryonic,
                key,
                &Flow::new(placement.backend, now_ns),
                TableEvent::Embryonic,
            );
        }
        Note::Miss => tables.count_table(TableEvent::Missed),
    }
    placement.backend
}

/// Notes a packet of `backend` to the connection's client.
#[inline(never)]
pub fn answer<T: Tables>(tables: &T, connection: &Connection, backend: BackendId) {
    let Connection { key, slot, flags, .. } = connection;
    let flow = tables.flow(Exceptions::Flows, key);
    match select::answer(*slot, backend, *flags, flow.as_ref().map(FlowRef::read)) {
        Answer::Nothing => {}
        Answer::Touch => {
            if let Some(entry) = flow {
                entry.touch(tables.now_ns(), Sender::Backend, flags.fin(), flags.rst());
            }
        }
        // Where the connection is embryonic a SYN has come since: the backend speaks of an older one.
        Answer::Record if tables.flow(Exceptions::Embryonic, key).is_some() => {}
        Answer::Record => {
            let mut flow = Flow::new(backend, tables.now_ns());
            flow.backend_fin = flags.fin().into();
            record(tables, Exceptions::Flows, key, &flow, TableEvent::Recorded);
        }
        Answer::ForgetFlow => forget_in(tables, Exceptions::Flows, key),
        Answer::ForgetEmbryonic => refuse(tables, key, backend),
    }
}

#[inline(always)]
fn promote<T: Tables>(tables: &T, connection: &Connection, mut flow: Flow) {
    flow.client_fin = connection.flags.fin().into();
    flow.reset = connection.flags.rst().into();
    if record(tables, Exceptions::Flows, &connection.key, &flow, TableEvent::Promoted) {
        tables.forget(Exceptions::Embryonic, &connection.key);
    }
}

/// Records, and counts how that went; false when the table refused.
#[inline(always)]
fn record<T: Tables>(tables: &T, table: Exceptions, key: &FlowKey, flow: &Flow, event: TableEvent) -> bool {
    let done = tables.record(table, key, flow);
    tables.count_table(if done { event } else { TableEvent::Failed });
    done
}

/// Both tables, unseen: an entry may have come since they were asked.
#[inline(always)]
fn forget<T: Tables>(tables: &T, key: &FlowKey) {
    forget_in(tables, Exceptions::Flows, key);
    forget_in(tables, Exceptions::Embryonic, key);
}

#[inline(always)]
fn forget_in<T: Tables>(tables: &T, table: Exceptions, key: &FlowKey) {
    if tables.forget(table, key) {
        tables.count_table(match table {
            Exceptions::Flows => TableEvent::ForgottenFlow,
            Exceptions::Embryonic => TableEvent::ForgottenEmbryonic,
        });
    }
}

/// The backend refused the connection that it is recorded for.
#[inline(always)]
fn refuse<T: Tables>(tables: &T, key: &FlowKey, backend: BackendId) {
    let recorded =
        tables.flow(Exceptions::Embryonic, key).is_some_and(|entry| entry.read().backend == backend);
    if recorded {
        forget_in(tables, Exceptions::Embryonic, key);
    }
}
