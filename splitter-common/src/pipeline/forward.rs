//! Client to backend.

use super::{
    Verdict,
    exceptions::{self, Connection},
    send, unfinished,
};
use crate::{
    abi::{FlowKey, ServiceTable},
    net::Transport,
    packet::Packet,
    parse::Headers,
    reason::Reason,
    reset,
    rewrite::{self, Rewrite},
    select,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A packet to service number `service`.
#[inline(always)]
pub fn forward<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    service: u32,
    headers: &Headers<F::Address>,
) -> Verdict {
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    if headers.network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Verdict::PASS;
    }
    let id = choose::<F, T>(tables, live.side, service, table, headers);
    if id.is_none() {
        return no_backend::<F, P, T>(packet, tables, service, table, headers);
    }
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    tables.count_in(id, packet.length() as u64, headers.flags.opens());
    match rewrite::to_backend::<F, P>(packet, headers, backend) {
        Some(()) => send::<F, P, T>(packet, tables, service, headers.network.ttl, &backend.hop),
        None => unfinished(tables, service),
    }
}

#[inline(always)]
fn choose<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    service: u32,
    table: &ServiceTable,
    headers: &Headers<F::Address>,
) -> BackendId {
    let (client, port) = (&headers.network.source, headers.source_port);
    let slot = select::slot_at(table, F::slot(&table.key, client, port));
    if slot.is_clean() {
        return slot.current();
    }
    let key = FlowKey::new(service, F::addr(client), port);
    let idle_timeout_ns = table.idle_timeout_ns;
    exceptions::place(tables, &Connection { key, side, slot, flags: headers.flags, idle_timeout_ns })
}

/// The slot has no backend: the service's policy.
#[inline(always)]
fn no_backend<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    table: &ServiceTable,
    headers: &Headers<F::Address>,
) -> Verdict {
    if table.flags & ServiceTable::REJECT == 0
        || !matches!(headers.transport, Transport::Tcp)
        || headers.flags.rst()
    {
        tables.count_reason(service, Reason::NoBackend);
        return Verdict::DROP;
    }
    match reset::answer::<F, P>(packet, headers) {
        Some(()) => {
            tables.count_reason(service, Reason::Rejected);
            Verdict::RETURN
        }
        None => unfinished(tables, service),
    }
}
