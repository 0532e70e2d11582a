//! The usual path: whole TCP and UDP packets in bare frames, modes `dnat` and `dsr-l2`.

use super::{Stage, Verdict, choose, deliver, directory, hop::way_back};
use crate::{
    abi::{Backend, ServiceTable},
    classify::Class,
    packet::Packet,
    parse::{self, Carries, Headers, V4, V6},
    reason::Reason,
    rewrite::Rewrite,
    select,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A frame that has just come in.
#[inline(always)]
pub fn usual<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    match parse::ether_type(packet) {
        Carries::V4 => family::<V4, P, T>(packet, tables),
        Carries::V6 => family::<V6, P, T>(packet, tables),
        Carries::Tag => match parse::link(packet) {
            (Carries::V4, _) => Verdict::hand_on::<V4>(Stage::Sort),
            (Carries::V6, _) => Verdict::hand_on::<V6>(Stage::Sort),
            _ => Verdict::PASS,
        },
        Carries::Other => Verdict::PASS,
    }
}

#[inline(always)]
fn family<F: Rewrite, P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let Some(headers) = parse::bare::<F, P>(packet) else { return Verdict::hand_on::<F>(Stage::Sort) };
    let Some(live) = tables.live() else { return Verdict::PASS };
    match choose::class::<F, T>(tables, live, &headers) {
        Class::Request(service) => request::<F, P, T>(packet, tables, live, service, &headers),
        Class::Reply(backend) => reply::<F, P, T>(packet, tables, live, backend, &headers),
        Class::Loop(_) => Verdict::hand_on::<F>(Stage::Sort),
        Class::Other => {
            if let Some(service) =
                directory::service_address::<F, T>(tables, live, &headers.network.destination)
            {
                tables.count_reason(service, Reason::OtherTraffic);
            }
            Verdict::PASS
        }
    }
}

/// Client to backend. What is unusual shows before a table is written.
#[inline(always)]
fn request<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    service: u32,
    headers: &Headers<F::Address>,
) -> Verdict {
    let network = &headers.network;
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    if table.has(ServiceTable::TRANSLATE) {
        return Verdict::hand_on::<F>(Stage::TranslatedIn);
    }
    let unusual = table.has(ServiceTable::UNUSUAL) || network.ttl <= 1 || network.total > table.mtu as usize;
    if unusual || choose::strange::<F, T>(tables, live, headers) {
        return Verdict::hand_on::<F>(Stage::Inbound);
    }
    let slot = select::slot_at(table, F::slot(&table.key, &network.source, headers.source_port));
    if slot.current().is_none() {
        return Verdict::hand_on::<F>(Stage::Inbound);
    }
    let id = choose::choose::<F, T>(tables, live.side, service, table, headers);
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    tables.count_in(id, packet.length() as u64, headers.flags.opens());
    if table.has(ServiceTable::LINK) {
        deliver::on_link(packet, tables, service, &backend.hop)
    } else {
        deliver::rewritten::<F, P, T>(packet, tables, service, headers, backend)
    }
}

/// Backend to client: the source becomes the service's again, without state.
#[inline(always)]
fn reply<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    id: BackendId,
    headers: &Headers<F::Address>,
) -> Verdict {
    let network = &headers.network;
    let Some(way) = way_back::<F, T>(tables, live, &network.destination) else {
        // Perhaps to one of our own ports.
        return foreign::<F, T>(tables, live, id);
    };
    let Some(backend) = tables.backend(live.side, id) else { return Verdict::PASS };
    let service = backend.service();
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    if table.has(ServiceTable::TRANSLATE) {
        return Verdict::hand_on::<F>(Stage::TranslatedOut);
    }
    if table.has(ServiceTable::UNUSUAL_REPLY) || network.ttl <= 1 || network.total > way.mtu {
        return Verdict::hand_on::<F>(Stage::Outbound);
    }
    if table.has(ServiceTable::UNSETTLED) {
        if table.has(ServiceTable::ROUTED) {
            return Verdict::hand_on::<F>(Stage::Outbound);
        }
        choose::note_answer::<F, T>(tables, live.side, service, table, id, headers);
    }
    tables.count_out(id, packet.length() as u64);
    deliver::answered::<F, P, T>(packet, tables, service, headers, backend, &way.hop)
}

/// A backend's packet to this host: a reply only in mode `snat`.
#[inline(always)]
fn foreign<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, id: BackendId) -> Verdict {
    let service = tables.backend(live.side, id).map(Backend::service);
    let table = service.and_then(|service| tables.service(live.side, service));
    if table.is_some_and(|table| table.has(ServiceTable::TRANSLATE)) {
        Verdict::hand_on::<F>(Stage::TranslatedOut)
    } else {
        Verdict::PASS
    }
}
