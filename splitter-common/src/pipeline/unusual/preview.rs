//! Preview listeners in mode `dnat`: a second endpoint of a service that always reaches one pool.
//!
//! Its backends are entries of their own for the same servers, with the listener's endpoint as the one that replies come
//! from. A server's reply does not tell which of its two entries it belongs to, so each connection to a listener is
//! recorded, by its client and the number of the service that replies are known by.

use crate::{
    abi::{Backend, Flow, FlowKey, ServiceTable},
    parse::Headers,
    rewrite::Rewrite,
    select,
    slot::BackendId,
    tables::{Exceptions, FlowRef as _, Sender, Tables},
};

/// How old an entry may be before it is written again: not every packet need write.
const TOUCH_NS: u64 = 1_000_000_000;

/// The backend of a client's packet to the listener.
#[inline(always)]
pub fn choose<F: Rewrite, T: Tables>(
    tables: &T,
    side: u32,
    table: &ServiceTable,
    headers: &Headers<F::Address>,
) -> BackendId {
    let (client, port, now_ns) = (&headers.network.source, headers.source_port, tables.now_ns());
    let key = FlowKey::new(table.owner(), headers.transport, F::addr(client), port);
    if let Some(entry) = tables.flow(Exceptions::Previews, &key) {
        let flow = entry.read();
        if (!headers.flags.opens() || flow.fresh(now_ns, table.idle_timeout_ns))
            && tables.backend(side, flow.backend).is_some_and(|backend| listens::<F>(backend, headers))
        {
            if headers.flags.rst() || headers.flags.fin() || now_ns.saturating_sub(flow.seen_ns) > TOUCH_NS {
                entry.touch(now_ns, Sender::Client, headers.flags.fin(), headers.flags.rst());
            }
            return flow.backend;
        }
    }
    let id = select::slot_at(table, F::slot(&table.key, client, port)).current();
    if !id.is_none() {
        tables.record(Exceptions::Previews, &key, &Flow::new(id, now_ns));
    }
    id
}

/// A live entry of the listener that the packet is for.
#[inline(always)]
fn listens<F: Rewrite>(backend: &Backend, headers: &Headers<F::Address>) -> bool {
    backend.alive()
        && backend.virtual_address().is(&F::addr(&headers.network.destination))
        && backend.virtual_port() == headers.destination_port
}

/// The entry of the server that answers: the listener's, if the client's connection is recorded, else its ordinary one.
#[inline(always)]
pub fn answering<'a, F: Rewrite, T: Tables>(
    tables: &'a T,
    side: u32,
    service: u32,
    ordinary: (BackendId, &'a Backend),
    headers: &Headers<F::Address>,
) -> (BackendId, &'a Backend) {
    let (client, port) = (F::addr(&headers.network.destination), headers.destination_port);
    let key = FlowKey::new(service, headers.transport, client, port);
    let Some(entry) = tables.flow(Exceptions::Previews, &key) else { return ordinary };
    let id = entry.read().backend;
    let Some(backend) = tables.backend(side, id) else { return ordinary };
    let (_, own) = ordinary;
    if !backend.address().is(own.address()) || backend.port() != own.port() {
        return ordinary;
    }
    if headers.flags.fin() || headers.flags.rst() {
        entry.touch(tables.now_ns(), Sender::Backend, headers.flags.fin(), headers.flags.rst());
    }
    (id, backend)
}
