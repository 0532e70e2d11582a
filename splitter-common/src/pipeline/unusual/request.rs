//! Client to backend.

use super::{fragments, preview, refuse};
use crate::{
    abi::{Backend, Fragment, ServiceTable},
    classify,
    complaint::Complain,
    packet::Resize,
    parse::{Headers, Network},
    pipeline::{Room, Stage, Verdict, choose, deliver, directory, room},
    reason::Reason,
    rewrite,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A client's packet that is out of the ordinary.
#[inline(always)]
pub fn inbound<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(headers) = room::headers::<F, P>(packet, &mut room.headers) else { return Verdict::PASS };
    match service::<F, T>(tables, live, headers) {
        Some(service) => request::<F, P, T>(packet, tables, live, service, headers),
        None => Verdict::PASS,
    }
}

/// The service that a packet is for.
#[inline(always)]
pub fn service<F: Complain, T: Tables>(
    tables: &T,
    live: Live<'_>,
    headers: &Headers<F::Address>,
) -> Option<u32> {
    let (address, port, protocol) =
        (headers.network.destination, headers.destination_port, headers.transport as u8);
    let entry = directory::endpoint::<F, T>(tables, live, &address, port, protocol);
    classify::request(entry, &F::addr(&address), port, protocol)
}

/// A packet to service number `service`.
#[inline(always)]
fn request<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    service: u32,
    headers: &Headers<F::Address>,
) -> Verdict {
    let (network, side) = (&headers.network, live.side);
    let Some(table) = tables.service(side, service) else { return Verdict::PASS };
    if table.has(ServiceTable::TRANSLATE) {
        return Verdict::hand_on::<F>(Stage::TranslatedIn);
    }
    if let Some(verdict) = turned_away::<F, T>(tables, live, service, headers) {
        return verdict;
    }
    let number = choose::table_number::<F, T>(tables, side, service, table, &network.source);
    let Some(table) = tables.service(side, number) else { return Verdict::PASS };
    let id = if table.has(ServiceTable::PREVIEW) {
        preview::choose::<F, T>(tables, side, table, headers)
    } else {
        choose::choose::<F, T>(tables, side, number, table, headers)
    };
    to::<F, P, T>(packet, tables, live, (service, table), headers, id)
}

/// Whatever the mode: what the kernel answers, and what no client sends.
#[inline(always)]
pub fn turned_away<F: Complain, T: Tables>(
    tables: &T,
    live: Live<'_>,
    service: u32,
    headers: &Headers<F::Address>,
) -> Option<Verdict> {
    if headers.network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Some(Verdict::PASS);
    }
    if choose::strange::<F, T>(tables, live, headers) {
        tables.count_reason(service, Reason::StrangeSource);
        return Some(Verdict::DROP);
    }
    None
}

/// To backend `id`, or to none.
#[inline(always)]
fn to<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    (service, table): (u32, &ServiceTable),
    headers: &Headers<F::Address>,
    id: BackendId,
) -> Verdict {
    if id.is_none() {
        let reasons = (Reason::NoBackend, Reason::Rejected);
        return refuse::refuse::<F, T>(tables, live, (service, table), headers, reasons);
    }
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    if backend.resetting() {
        return refuse::reset(tables, service, headers.transport, headers.flags);
    }
    fragments::first::<F, T>(tables, &headers.network, Fragment::REQUEST, id, [0; 2]);
    let counted = (id, headers.flags.opens());
    forward::<F, P, T>(packet, tables, (service, table), &headers.network, (backend, counted), |packet| {
        rewrite::to_backend::<F, P>(packet, headers, backend)
    })
}

/// To a backend by the service's mode; `rewrite` is for the modes that rewrite. `counted`: what the counters learn.
#[inline(always)]
pub fn forward<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    (service, table): (u32, &ServiceTable),
    network: &Network<F::Address>,
    (backend, (id, opens)): (&Backend, (BackendId, bool)),
    rewrite: impl FnOnce(&mut P) -> Option<()>,
) -> Verdict {
    let fits = network.total <= backend.mtu();
    let tunnel = table.has(ServiceTable::TUNNEL);
    if !fits && !divisible::<F, P>(packet, network, table, backend) {
        return refuse::too_big::<F, P, T>(packet, tables, service, network, backend.mtu());
    }
    tables.count_in(id, packet.length() as u64, opens);
    if table.has(ServiceTable::LINK) {
        return deliver::on_link(packet, tables, service, &backend.hop);
    }
    let done = if tunnel {
        rewrite::encapsulate::<F, P>(packet, network, backend.source(), backend.address())
    } else {
        rewrite(packet)
    };
    if done.is_none() {
        return deliver::unfinished(tables, service);
    }
    if !fits {
        return to_kernel(tables, service);
    }
    if tunnel {
        deliver::inside(packet, tables, service, &backend.hop)
    } else {
        deliver::send::<F, P, T>(packet, tables, service, network, &backend.hop)
    }
}

/// Whether the kernel may fragment what goes to a backend. It does not forward what is for the service's own address,
/// and no router fragments IPv6.
#[inline(always)]
fn divisible<F: Complain, P: Resize + ?Sized>(
    packet: &P,
    network: &Network<F::Address>,
    table: &ServiceTable,
    backend: &Backend,
) -> bool {
    !F::whole_only(packet, network.at) && !table.has(ServiceTable::LINK) && backend.address().is_v4()
}

/// Rewritten and too big: the kernel fragments it on its way.
#[inline(always)]
fn to_kernel<T: Tables>(tables: &T, service: u32) -> Verdict {
    tables.count_reason(service, Reason::TooBigToKernel);
    Verdict::PASS
}
