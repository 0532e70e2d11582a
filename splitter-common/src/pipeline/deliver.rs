//! The last step: rewritten, and onto the way.

use super::Verdict;
use crate::{
    abi::{Backend, Hop},
    packet::{Packet, Resize},
    parse::{Headers, Network},
    reason::Reason,
    rewrite::{self, Rewrite},
    tables::Tables,
};

/// `dnat`: to the backend's address and port.
#[inline(always)]
pub fn rewritten<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    headers: &Headers<F::Address>,
    backend: &Backend,
) -> Verdict {
    match rewrite::to_backend::<F, P>(packet, headers, backend) {
        Some(()) => send::<F, P, T>(packet, tables, service, &headers.network, &backend.hop),
        None => unfinished(tables, service),
    }
}

/// `dnat`, the way back: from the service's address and port.
#[inline(always)]
pub fn answered<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    headers: &Headers<F::Address>,
    backend: &Backend,
    hop: &Hop,
) -> Verdict {
    match rewrite::to_client::<F, P>(packet, headers, backend) {
        Some(()) => send::<F, P, T>(packet, tables, service, &headers.network, hop),
        None => unfinished(tables, service),
    }
}

/// `dsr-l2`: the Ethernet addresses alone. The kernel could not deliver it: the address is the service's.
#[inline(always)]
pub fn on_link<P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    hop: &Hop,
) -> Verdict {
    if hop.ifindex() == 0 {
        tables.count_reason(service, Reason::NoNextHopDropped);
        return Verdict::DROP;
    }
    match rewrite::ethernet(packet, hop) {
        Some(()) => Verdict::send(hop.ifindex()),
        None => unfinished(tables, service),
    }
}

/// `dsr-ipip`: inside a packet to the backend.
#[inline(always)]
pub fn tunnelled<F: Rewrite, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    network: &Network<F::Address>,
    backend: &Backend,
) -> Verdict {
    match rewrite::encapsulate::<F, P>(packet, network, backend.source(), backend.address()) {
        Some(()) => inside(packet, tables, service, &backend.hop),
        None => unfinished(tables, service),
    }
}

/// A packet that is inside of one to a backend: onto its way.
#[inline(always)]
pub fn inside<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T, service: u32, hop: &Hop) -> Verdict {
    if hop.ifindex() == 0 {
        tables.count_reason(service, Reason::NoNextHop);
        return Verdict::PASS;
    }
    match rewrite::ethernet(packet, hop) {
        Some(()) => Verdict::send(hop.ifindex()),
        None => unfinished(tables, service),
    }
}

/// A rewritten packet onto its way: onto the link if the next hop is known, else to the kernel, which forwards
/// it and resolves the neighbour (and takes one off the TTL itself).
#[inline(always)]
pub fn send<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    network: &Network<F::Address>,
    hop: &Hop,
) -> Verdict {
    if hop.ifindex() == 0 {
        tables.count_reason(service, Reason::NoNextHop);
        return Verdict::PASS;
    }
    match rewrite::onto_link::<F, P>(packet, network, hop) {
        Some(()) => Verdict::send(hop.ifindex()),
        None => unfinished(tables, service),
    }
}

/// The packet ended where it was parsed a moment ago: cannot be, but bytes may have changed.
#[inline(always)]
pub fn unfinished<T: Tables>(tables: &T, service: u32) -> Verdict {
    tables.count_reason(service, Reason::Unfinished);
    Verdict::DROP
}
