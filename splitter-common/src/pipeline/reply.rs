//! Backend to client: the source becomes the service's again, without state.

use super::{
    Verdict, directory,
    exceptions::{self, Connection},
    send, unfinished,
};
use crate::{
    abi::{Backend, FlowKey, Hop, Route, ServiceTable},
    classify,
    packet::Packet,
    parse::Headers,
    reason::Reason,
    rewrite::{self, Rewrite},
    select,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A packet from the address and port of backend `id`.
#[inline(always)]
pub fn reply<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    id: BackendId,
    headers: &Headers<F::Address>,
) -> Verdict {
    let Some(hop) = way_back::<F, T>(tables, live, &headers.network.destination) else {
        return Verdict::PASS;
    };
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    let service = backend.service();
    if headers.network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Verdict::PASS;
    }
    note::<F, T>(tables, live.side, id, backend, headers);
    tables.count_out(id, packet.length() as u64);
    match rewrite::to_client::<F, P>(packet, headers, backend) {
        Some(()) => send::<F, P, T>(packet, tables, service, headers.network.ttl, &hop),
        None => unfinished(tables, service),
    }
}

/// The next hop to a client, unresolved if the kernel must find it; `None` for one that is no client of a
/// service: an address of this host, or a `direct` prefix.
#[inline(always)]
fn way_back<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, client: &F::Address) -> Option<Hop> {
    let route = tables.routes(live.side, F::INDEX).and_then(|table| classify::route(table, &F::addr(client)));
    match route {
        Some(route) if route.action == Route::DIRECT => None,
        Some(route) if route.action == Route::VIA => Some(route.hop),
        Some(route) if route.action == Route::ON_LINK => {
            Some(directory::neighbour::<F, T>(tables, live, client))
        }
        _ => Some(Hop::UNRESOLVED),
    }
}

/// While the service is not settled, an answer may have to be recorded.
#[inline(always)]
fn note<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    id: BackendId,
    backend: &Backend,
    headers: &Headers<F::Address>,
) {
    let Some(table) = tables.service(side, backend.service()) else { return };
    if table.flags & ServiceTable::UNSETTLED == 0 {
        return;
    }
    let (client, port) = (&headers.network.destination, headers.destination_port);
    let slot = select::slot_at(table, F::slot(&table.key, client, port));
    if !slot.is_clean() {
        let key = FlowKey::new(backend.service(), F::addr(client), port);
        let idle_timeout_ns = table.idle_timeout_ns;
        exceptions::answer(
            tables,
            &Connection { key, side, slot, flags: headers.flags, idle_timeout_ns },
            id,
        );
    }
}
