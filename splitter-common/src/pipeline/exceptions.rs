//! Connections of slots that are not CLEAN: the tables are asked, the state machine decides, its note is written.
//!
//! Not inlined: the steady state should not pay for code and registers it does not use.

use crate::{
    abi::{Flow, FlowKey},
    net::TcpFlags,
    select::{self, Clock},
    slot::{Answer, BackendId, Entry, Note, Slot},
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
    /// No answers are seen: what belongs to `previous` is recorded at once, as far as the allowance goes.
    pub one_way: bool,
}

/// Places a client's packet; none when its slot has no backend.
#[inline(never)]
pub fn place<T: Tables>(tables: &T, connection: &Connection) -> BackendId {
    let Connection { key, side, slot, flags, idle_timeout_ns, .. } = connection;
    let now_ns = tables.now_ns();
    let clock = Clock { now_ns, idle_timeout_ns: *idle_timeout_ns };
    let flow = tables.flow(Exceptions::Flows, key);
    let embryonic = match &flow {
        Some(_) if !flags.opens() => None,
        _ => tables.flow(Exceptions::Embryonic, key),
    };
    let placement = select::place(
        *slot,
        *flags,
        entry(tables, *side, clock, flow.as_ref()),
        entry(tables, *side, clock, embryonic.as_ref()),
    );
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
            let known = embryonic.as_ref().map(FlowRef::read);
            let embryonic = known.unwrap_or(Flow::new(placement.backend, now_ns));
            promote(tables, key, &embryonic.touched(now_ns, Sender::Client, flags.fin(), flags.rst()));
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
        Note::Miss => miss(tables, connection, Flow::new(placement.backend, now_ns)),
    }
    placement.backend
}

/// The client's word alone shows no connection, and is not recorded, lest a flood fill the flow table. But its FIN is:
/// when all that follows is the backend's last answer, that must not look like a connection in the midst of its life.
#[inline(always)]
fn miss<T: Tables>(tables: &T, connection: &Connection, flow: Flow) {
    let Connection { key, flags, one_way, .. } = connection;
    let flow = flow.ending(Sender::Client, flags.fin());
    if *one_way && tables.allowed(flow.seen_ns) {
        record(tables, Exceptions::Flows, key, &flow, TableEvent::Recorded);
    } else if flags.fin() {
        record(tables, Exceptions::Embryonic, key, &flow, TableEvent::Embryonic);
    } else {
        tables.count_table(TableEvent::Missed);
    }
}

/// Where a client's connection is, without a note of it: for what is about the connection and not of it.
#[inline(never)]
pub fn find<T: Tables>(tables: &T, connection: &Connection) -> BackendId {
    let Connection { key, side, slot, flags, idle_timeout_ns, .. } = connection;
    let clock = Clock { now_ns: tables.now_ns(), idle_timeout_ns: *idle_timeout_ns };
    let flow = entry(tables, *side, clock, tables.flow(Exceptions::Flows, key).as_ref());
    let embryonic = entry(tables, *side, clock, tables.flow(Exceptions::Embryonic, key).as_ref());
    select::place(*slot, *flags, flow, embryonic).backend
}

/// What a table's entry says now.
#[inline(always)]
fn entry<T: Tables>(tables: &T, side: u32, clock: Clock, flow: Option<&T::Flow>) -> Entry {
    match flow {
        Some(flow) => {
            let alive = |id| tables.backend(side, id).is_some_and(crate::abi::Backend::alive);
            select::entry(flow.read(), clock, alive)
        }
        None => Entry::NONE,
    }
}

/// Notes a packet of `backend` to the connection's client.
#[inline(never)]
pub fn answer<T: Tables>(tables: &T, connection: &Connection, backend: BackendId) {
    let Connection { key, slot, flags, .. } = connection;
    let flow = tables.flow(Exceptions::Flows, key);
    let entry = flow.as_ref().map_or(Entry::NONE, |flow| Entry::new(flow.read().backend, true));
    match select::answer(*slot, backend, *flags, entry) {
        Answer::Nothing => {}
        Answer::Touch => {
            if let Some(entry) = flow {
                entry.touch(tables.now_ns(), Sender::Backend, flags.fin(), flags.rst());
            }
        }
        Answer::Record => match tables.flow(Exceptions::Embryonic, key) {
            // Its client has sent FIN; the answer shows that there is a connection.
            Some(entry) if entry.read().end == Flow::ENDING => {
                let flow = entry.read().touched(tables.now_ns(), Sender::Backend, flags.fin(), flags.rst());
                promote(tables, key, &flow);
            }
            // A SYN has come since: the backend speaks of an older connection.
            Some(_) => {}
            None => {
                let flow = Flow::new(backend, tables.now_ns()).ending(Sender::Backend, flags.fin());
                record(tables, Exceptions::Flows, key, &flow, TableEvent::Recorded);
            }
        },
        Answer::ForgetFlow => forget_in(tables, Exceptions::Flows, key),
        Answer::ForgetEmbryonic => refuse(tables, key, backend),
    }
}

#[inline(always)]
fn promote<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow) {
    if record(tables, Exceptions::Flows, key, flow, TableEvent::Promoted) {
        tables.forget(Exceptions::Embryonic, key);
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
            Exceptions::Embryonic | Exceptions::Previews => TableEvent::ForgottenEmbryonic,
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
