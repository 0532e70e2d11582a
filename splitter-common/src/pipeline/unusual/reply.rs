//! Backend to client.

use super::{fragments, preview, refuse};
use crate::{
    abi::{Fragment, ServiceTable},
    complaint::Complain,
    packet::Resize,
    parse::{Headers, Network},
    pipeline::{
        Room, Stage, Verdict, choose, deliver,
        hop::{WayBack, way_back},
        room,
    },
    reason::Reason,
    rewrite,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A backend's packet that is out of the ordinary.
#[inline(always)]
pub fn outbound<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(headers) = room::headers::<F, P>(packet, &mut room.headers) else { return Verdict::PASS };
    match choose::sender::<F, T>(tables, live, headers) {
        Some(backend) => reply::<F, P, T>(packet, tables, live, backend, headers),
        None => Verdict::PASS,
    }
}

/// A packet from the address and port of backend `id`.
#[inline(always)]
fn reply<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    id: BackendId,
    headers: &Headers<F::Address>,
) -> Verdict {
    let (network, side) = (&headers.network, live.side);
    let Some(backend) = tables.backend(side, id) else { return Verdict::PASS };
    let service = backend.service();
    let Some(table) = tables.service(side, service) else { return Verdict::PASS };
    if table.has(ServiceTable::TRANSLATE) {
        return Verdict::hand_on::<F>(Stage::TranslatedOut);
    }
    let Some(way) = way_back::<F, T>(tables, live, &network.destination) else { return Verdict::PASS };
    if network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Verdict::PASS;
    }
    if backend.resetting() {
        return refuse::reset(tables, service, headers.transport, headers.flags);
    }
    let number = choose::table_number::<F, T>(tables, side, service, table, &network.destination);
    if let Some(table) = tables.service(side, number) {
        choose::note_answer::<F, T>(tables, side, number, table, id, headers);
    }
    let (id, backend) = if table.has(ServiceTable::PREVIEWED) {
        preview::answering::<F, T>(tables, side, service, (id, backend), headers)
    } else {
        (id, backend)
    };
    fragments::first::<F, T>(tables, network, Fragment::REPLY, id, [0; 2]);
    back::<F, P, T>(packet, tables, service, network, (id, &way), |packet| {
        rewrite::to_client::<F, P>(packet, headers, backend)
    })
}

/// Back to a client.
#[inline(always)]
pub fn back<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    network: &Network<F::Address>,
    (id, way): (BackendId, &WayBack),
    rewrite: impl FnOnce(&mut P) -> Option<()>,
) -> Verdict {
    let fits = network.total <= way.mtu;
    if !fits && F::whole_only(packet, network.at) {
        // Untouched: the kernel's own complaint then quotes what the backend has sent.
        tables.count_reason(service, Reason::TooBigToKernel);
        return Verdict::PASS;
    }
    tables.count_out(id, packet.length() as u64);
    if rewrite(packet).is_none() {
        return deliver::unfinished(tables, service);
    }
    if !fits {
        tables.count_reason(service, Reason::TooBigToKernel);
        return Verdict::PASS;
    }
    deliver::send::<F, P, T>(packet, tables, service, network, &way.hop)
}
