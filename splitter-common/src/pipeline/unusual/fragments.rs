//! Fragments: the first one decides and is remembered, later ones follow.

use network_types::{ip::IpProto, tcp::TcpHdr};

use super::{reply::back, request::forward, snat};
use crate::{
    abi::{Backend, Fragment, FragmentKey, ServiceTable},
    complaint::Complain,
    net::Port,
    packet::Resize,
    parse::{Network, Piece},
    pipeline::{Room, Verdict, directory, hop::way_back, room},
    reason::Reason,
    rewrite::{self, Rewrite},
    slot::BackendId,
    tables::{Live, Tables},
};

/// Remembers what was decided of a first fragment; of a whole packet, nothing.
#[inline(always)]
pub fn first<F: Rewrite, T: Tables>(
    tables: &T,
    network: &Network<F::Address>,
    kind: u8,
    id: BackendId,
    port: Port,
) {
    if matches!(network.piece, Piece::First) {
        tables.remember(&key::<F>(network), &Fragment::new(kind, id, port, tables.now_ns()));
    }
}

#[inline(always)]
fn key<F: Rewrite>(network: &Network<F::Address>) -> FragmentKey {
    let (source, destination) = (F::addr(&network.source), F::addr(&network.destination));
    FragmentKey::new(source, destination, network.id, network.protocol)
}

/// A later fragment.
#[inline(always)]
pub fn later<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(network) = room::network::<F, P>(packet, &mut room.network) else { return Verdict::PASS };
    let Some(found) = tables.fragment(&key::<F>(network)).filter(|found| found.fresh(tables.now_ns())) else {
        return without_first::<F, T>(tables, live, network);
    };
    if found.kind == Fragment::PASS {
        return Verdict::PASS;
    }
    let Some(backend) = tables.backend(live.side, found.backend) else { return Verdict::PASS };
    let service = backend.service();
    if overlaps(network.protocol, network.offset) {
        tables.count_reason(service, Reason::FragmentOverlap);
        return Verdict::DROP;
    }
    if network.ttl <= 1 {
        tables.count_reason(service, Reason::TtlExpired);
        return Verdict::PASS;
    }
    if found.kind == Fragment::REQUEST {
        request::<F, P, T>(packet, tables, live, network, (&found, backend))
    } else {
        reply::<F, P, T>(packet, tables, live, network, (&found, backend))
    }
}

/// To a service's address, nobody knows which service: dropped. Else it is none of our business.
#[inline(always)]
fn without_first<F: Rewrite, T: Tables>(
    tables: &T,
    live: Live<'_>,
    network: &Network<F::Address>,
) -> Verdict {
    match directory::service_address::<F, T>(tables, live, &network.destination) {
        Some(service) => {
            tables.count_reason(service, Reason::FragmentWithoutFirst);
            Verdict::DROP
        }
        None => Verdict::PASS,
    }
}

/// Whether it would overwrite the TCP header that has been looked at (RFC 1858, RFC 3128). UDP's ends where the first
/// later fragment can begin.
#[inline(always)]
const fn overlaps(protocol: u8, offset: u16) -> bool {
    protocol == IpProto::Tcp as u8 && (offset as usize) * 8 < TcpHdr::LEN
}

#[inline(always)]
fn request<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    network: &Network<F::Address>,
    (found, backend): (&Fragment, &Backend),
) -> Verdict {
    let service = backend.service();
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    let translated = table.has(ServiceTable::TRANSLATE);
    let counted = (backend, (found.backend, false));
    forward::<F, P, T>(packet, tables, (service, table), network, counted, |packet| {
        if translated {
            return rewrite::addresses::<F, P>(packet, network, backend.source(), backend.address());
        }
        F::set_address(packet, network.at, F::DESTINATION, backend.address(), backend.network_delta())
    })
}

#[inline(always)]
fn reply<F: Complain, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    network: &Network<F::Address>,
    (found, backend): (&Fragment, &Backend),
) -> Verdict {
    let service = backend.service();
    let client = if found.port == [0; 2] {
        network.destination
    } else {
        let Some(client) = snat::client(tables, found.port) else { return Verdict::PASS };
        F::address(&client)
    };
    let Some(way) = way_back::<F, T>(tables, live, &client) else { return Verdict::PASS };
    back::<F, P, T>(packet, tables, service, network, (found.backend, &way), |packet| {
        rewrite::addresses::<F, P>(packet, network, backend.virtual_address(), &F::addr(&client))
    })
}
