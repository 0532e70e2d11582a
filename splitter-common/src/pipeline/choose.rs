//! From a client to the table that it is placed by, and to its backend.

use super::{
    directory,
    exceptions::{self, Connection},
};
use crate::{
    abi::{FlowKey, ServiceTable},
    classify::{self, Class},
    net::{Port, TcpFlags, Transport},
    parse::Headers,
    rewrite::Rewrite,
    select,
    slot::BackendId,
    tables::{Live, Tables},
};

/// What a packet is to us. A client's packet is known by its destination, a reply by its source.
#[inline(always)]
pub fn class<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, headers: &Headers<F::Address>) -> Class {
    let protocol = headers.transport as u8;
    let (destination, port) = (headers.network.destination, headers.destination_port);
    let entry = directory::endpoint::<F, T>(tables, live, &destination, port, protocol);
    if let Some(service) = classify::request(entry, &F::addr(&destination), port, protocol) {
        // A datagram that claims to be from a backend would be answered to that backend, which answers in turn, for
        // ever: the kernel's own check of sources comes after XDP. A TCP connection does not begin that way.
        let loops =
            matches!(headers.transport, Transport::Udp) && sender::<F, T>(tables, live, headers).is_some();
        return if loops { Class::Loop(service) } else { Class::Request(service) };
    }
    match sender::<F, T>(tables, live, headers) {
        Some(backend) => Class::Reply(backend),
        None => Class::Other,
    }
}

/// The backend whose address and port the packet comes from.
#[inline(always)]
pub fn sender<F: Rewrite, T: Tables>(
    tables: &T,
    live: Live<'_>,
    headers: &Headers<F::Address>,
) -> Option<BackendId> {
    let (source, port, protocol) = (headers.network.source, headers.source_port, headers.transport as u8);
    let entry = directory::endpoint::<F, T>(tables, live, &source, port, protocol);
    classify::reply(entry, &F::addr(&source), port, protocol)
}

/// From an address that no client has. Whether it is our own is asked of packets that begin something.
#[inline(always)]
pub fn strange<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, headers: &Headers<F::Address>) -> bool {
    let source = &headers.network.source;
    let begins = matches!(headers.transport, Transport::Udp) || headers.flags.opens();
    F::strange(source)
        || F::same(source, &headers.network.destination)
        || (begins && directory::own::<F, T>(tables, live, source))
}

/// The number of the table that a client of a service is placed by.
#[inline(always)]
pub fn table_number<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    service: u32,
    table: &ServiceTable,
    client: &F::Address,
) -> u32 {
    if table.has(ServiceTable::ROUTED)
        && let Some(number) = tables.rule(side, service, &F::addr(client))
    {
        return number;
    }
    service
}

/// A connection of service table `number`; the slot is its client's.
#[inline(always)]
pub fn connection<F: Rewrite>(
    side: u32,
    number: u32,
    table: &ServiceTable,
    transport: Transport,
    (client, port): (&F::Address, Port),
    flags: TcpFlags,
) -> Connection {
    Connection {
        key: FlowKey::new(number, transport, F::addr(client), port),
        side,
        slot: select::slot_at(table, F::slot(&table.key, client, port)),
        flags,
        idle_timeout_ns: table.idle_timeout_ns,
        one_way: table.has(ServiceTable::ONE_WAY),
    }
}

/// The backend of a client's packet; what the tables must learn of it is noted.
#[inline(always)]
pub fn choose<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    number: u32,
    table: &ServiceTable,
    headers: &Headers<F::Address>,
) -> BackendId {
    let client = (&headers.network.source, headers.source_port);
    let slot = select::slot_at(table, F::slot(&table.key, client.0, client.1));
    if slot.is_clean() {
        return slot.current();
    }
    let connection = connection::<F>(side, number, table, headers.transport, client, headers.flags);
    exceptions::place(tables, &connection)
}

/// While the service is not settled, an answer of backend `id` may have to be recorded.
#[inline(always)]
pub fn note_answer<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    number: u32,
    table: &ServiceTable,
    id: BackendId,
    headers: &Headers<F::Address>,
) {
    if !table.has(ServiceTable::UNSETTLED) {
        return;
    }
    let client = (&headers.network.destination, headers.destination_port);
    let connection = connection::<F>(side, number, table, headers.transport, client, headers.flags);
    if !connection.slot.is_clean() {
        exceptions::answer(tables, &connection, id);
    }
}
