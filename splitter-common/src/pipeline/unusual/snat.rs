//! Mode `snat`: the source becomes this host's too, with a port of its own for each connection.

use core::mem::MaybeUninit;

use super::{
    fragments, refuse,
    reply::back,
    request::{forward, service, turned_away},
};
use crate::{
    abi::{Backend, FlowKey, Fragment, ServiceTable, Translation},
    complaint::Complain,
    net::{Addr, Port, TcpFlags, Transport},
    packet::Resize,
    parse::Headers,
    pipeline::{Room, Verdict, choose, hop::way_back, room},
    reason::Reason,
    rewrite::{self, End},
    select,
    slot::BackendId,
    tables::{Live, Tables, TranslationRef},
};

/// A connection's port and entry.
pub struct Known<R> {
    /// Its port.
    pub port: u16,
    /// Its entry.
    pub entry: R,
}

/// The connection of a client, open or closed lately.
#[inline(always)]
pub fn known<T: Tables>(tables: &T, key: &FlowKey) -> Option<Known<T::Translation>> {
    let port = tables.port_of(key)?;
    let entry = tables.translation(port)?;
    if entry.state() & Translation::USED == 0 || !entry.key().is(key) {
        return None;
    }
    Some(Known { port, entry })
}

/// The client of the connection at a port.
#[inline(always)]
pub fn client<T: Tables>(tables: &T, port: Port) -> Option<Addr> {
    let entry = tables.translation(u16::from_be_bytes(port))?;
    (entry.state() & Translation::USED != 0).then(|| entry.key().client())
}

/// A client's packet to a service in mode `snat`.
#[inline(always)]
pub fn translated_in<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Room { headers, ends, .. } = room;
    let Some(headers) = room::headers::<F, P>(packet, headers) else { return Verdict::PASS };
    match service::<F, T>(tables, live, headers) {
        Some(service) => request::<F, P, T>(packet, tables, live, service, (headers, ends)),
        None => Verdict::PASS,
    }
}

/// A packet of a backend of such a service.
#[inline(always)]
pub fn translated_out<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Room { headers, ends, .. } = room;
    let Some(headers) = room::headers::<F, P>(packet, headers) else { return Verdict::PASS };
    match choose::sender::<F, T>(tables, live, headers) {
        Some(backend) => reply::<F, P, T>(packet, tables, live, backend, (headers, ends)),
        None => Verdict::PASS,
    }
}

/// A client's packet to `service`.
#[inline(always)]
fn request<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    service: u32,
    (headers, ends): (&Headers<F::Address>, &mut MaybeUninit<[End; 2]>),
) -> Verdict {
    let network = &headers.network;
    if let Some(verdict) = turned_away::<F, T>(tables, live, service, headers) {
        return verdict;
    }
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    let number = choose::table_number::<F, T>(tables, live.side, service, table, &network.source);
    let Some(table) = tables.service(live.side, number) else { return Verdict::PASS };
    let key = FlowKey::new(number, headers.transport, F::addr(&network.source), headers.source_port);
    let now_ns = tables.now_ns();
    let place = match continued(tables, live.side, &key, headers, (table.idle_timeout_ns, now_ns)) {
        Some(place) => Ok(place),
        None if matches!(headers.transport, Transport::Tcp) && !headers.flags.opens() => {
            Err((Reason::NoConnection, Reason::NoConnection))
        }
        None => begin::<F, T>(tables, table, &key, headers, now_ns),
    };
    let (id, port) = match place {
        Ok(place) => place,
        Err(reasons) => {
            return refuse::refuse::<F, T>(tables, live, (service, table), headers, reasons);
        }
    };
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    if backend.resetting() {
        return refuse::reset(tables, service, headers.transport, headers.flags);
    }
    let port = port.to_be_bytes();
    fragments::first::<F, T>(tables, network, Fragment::REQUEST, id, port);
    let counted = (backend, (id, headers.flags.opens()));
    forward::<F, P, T>(packet, tables, (service, table), network, counted, |packet| {
        let [source, destination] = ends.write([
            End { address: *backend.source(), port },
            End { address: *backend.address(), port: backend.port() },
        ]);
        rewrite::ends::<F, P>(packet, headers, source, destination)
    })
}

/// Backend and port of a connection that goes on; what the packet shows is noted.
#[inline(always)]
fn continued<A, T: Tables>(
    tables: &T,
    side: u32,
    key: &FlowKey,
    headers: &Headers<A>,
    (idle_timeout_ns, now_ns): (u64, u64),
) -> Option<(BackendId, u16)> {
    let Known { port, entry } = known(tables, key)?;
    let (id, state, silent_ns) = (entry.backend(), entry.state(), now_ns.saturating_sub(entry.seen_ns()));
    let alive = tables.backend(side, id).is_some_and(Backend::alive);
    // A client's FIN alone anybody may have sent.
    let again = headers.flags.opens() && state & Translation::BACKEND_FIN != 0;
    let begins = matches!(headers.transport, Transport::Udp) || headers.flags.opens();
    let over = !Translation::open(state) || Translation::idle(state, silent_ns, idle_timeout_ns);
    if !alive || again || (begins && over) {
        close(tables, port, &entry, now_ns);
        return None;
    }
    entry.touch(now_ns);
    // Without ACK no backend answers, not even by a reset.
    if headers.flags.acknowledges() && state & Translation::ESTABLISHED == 0 {
        entry.mark(Translation::ESTABLISHED);
    }
    finished(tables, port, &entry, headers.flags, (Translation::CLIENT_FIN, now_ns));
    Some((id, port))
}

/// FIN both ways closes the connection; an RST is noted.
#[inline(always)]
fn finished<T: Tables>(
    tables: &T,
    port: u16,
    entry: &T::Translation,
    flags: TcpFlags,
    (fin, now_ns): (u64, u64),
) {
    if flags.rst() {
        entry.mark(Translation::RESET);
    }
    if flags.fin() {
        let both = Translation::CLIENT_FIN | Translation::BACKEND_FIN;
        if (entry.mark(fin) | fin) & both == both {
            close(tables, port, entry, now_ns);
        }
    }
}

/// The port goes to the end of its queue, once.
#[inline(always)]
fn close<T: Tables>(tables: &T, port: u16, entry: &T::Translation, now_ns: u64) {
    if entry.mark(Translation::CLOSED) & (Translation::CLOSED | Translation::USED) == Translation::USED {
        entry.rest(now_ns);
        tables.give_port(entry.cpu(), port);
    }
}

/// A connection begins: backend of its slot, and a port.
///
/// # Errors
/// The reasons of a drop and of an answer.
#[inline(always)]
fn begin<F: Complain, T: Tables>(
    tables: &T,
    table: &ServiceTable,
    key: &FlowKey,
    headers: &Headers<F::Address>,
    now_ns: u64,
) -> Result<(BackendId, u16), (Reason, Reason)> {
    let slot = select::slot_at(table, F::slot(&table.key, &headers.network.source, headers.source_port));
    let id = slot.current();
    if id.is_none() {
        return Err((Reason::NoBackend, Reason::Rejected));
    }
    match allot(tables, key, id, now_ns) {
        0 => Err((Reason::NoPort, Reason::NoPort)),
        port => Ok((id, port)),
    }
}

/// A port for a connection to backend `id`; 0 when there is none.
///
/// A call of its own: its variables need not lie on the caller's stack.
#[inline(never)]
fn allot<T: Tables>(tables: &T, key: &FlowKey, id: BackendId, now_ns: u64) -> u16 {
    let Some((port, entry)) = take(tables, now_ns) else { return 0 };
    let state = match key.transport() {
        Transport::Tcp => Translation::USED,
        Transport::Udp => Translation::USED | Translation::ESTABLISHED,
    };
    entry.begin(key, id, state, now_ns);
    if !tables.set_port_of(key, port) {
        close(tables, port, &entry, now_ns);
        return 0;
    }
    port
}

/// The port at the front; the connection that had it is forgotten.
#[inline(always)]
fn take<T: Tables>(tables: &T, now_ns: u64) -> Option<(u16, T::Translation)> {
    let port = tables.take_port(now_ns)?;
    let entry = tables.translation(port)?;
    // The same client may have another port by now.
    let old = entry.key();
    if entry.state() & Translation::USED != 0 && tables.port_of(&old) == Some(port) {
        tables.forget_port_of(&old);
    }
    Some((port, entry))
}

/// Closes a connection that has been silent for longer than `idle_timeout_ns`; false when it was not.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, port: u16, idle_timeout_ns: u64) -> bool {
    let now_ns = tables.now_ns();
    let Some(entry) = tables.translation(port) else { return false };
    let (state, silent_ns) = (entry.state(), now_ns.saturating_sub(entry.seen_ns()));
    if !Translation::open(state) || !Translation::idle(state, silent_ns, idle_timeout_ns) {
        return false;
    }
    close(tables, port, &entry, now_ns);
    true
}

/// A packet of backend `id` to one of this host's ports.
#[inline(always)]
fn reply<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    id: BackendId,
    (headers, ends): (&Headers<F::Address>, &mut MaybeUninit<[End; 2]>),
) -> Verdict {
    let (network, port) = (&headers.network, u16::from_be_bytes(headers.destination_port));
    let ordinary = tables.backend(live.side, id).map(Backend::service);
    let table = ordinary.and_then(|service| tables.service(live.side, service));
    if !table.is_some_and(|table| table.has(ServiceTable::TRANSLATE)) {
        return Verdict::PASS;
    }
    let Some(entry) = tables.translation(port) else { return Verdict::PASS };
    let (key, id) = (entry.key(), entry.backend());
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    let service = backend.service();
    let answers = entry.state() & Translation::USED != 0
        && key.transport() as u8 == headers.transport as u8
        && backend.address().is(&F::addr(&network.source))
        && backend.port() == headers.source_port
        && backend.source().is(&F::addr(&network.destination));
    // Perhaps to this host itself: its health checks.
    if !answers {
        return Verdict::PASS;
    }
    if network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Verdict::PASS;
    }
    if backend.resetting() {
        return refuse::reset(tables, service, headers.transport, headers.flags);
    }
    let client = End { address: key.client(), port: key.client_port() };
    let Some(way) = way_back::<F, T>(tables, live, &F::address(&client.address)) else {
        return Verdict::PASS;
    };
    let now_ns = tables.now_ns();
    entry.touch(now_ns);
    finished(tables, port, &entry, headers.flags, (Translation::BACKEND_FIN, now_ns));
    fragments::first::<F, T>(tables, network, Fragment::REPLY, id, headers.destination_port);
    back::<F, P, T>(packet, tables, service, network, (id, &way), |packet| {
        let listener = End { address: *backend.virtual_address(), port: backend.virtual_port() };
        let [source, destination] = ends.write([listener, client]);
        rewrite::ends::<F, P>(packet, headers, source, destination)
    })
}
