//! The path of what is out of the ordinary: VLAN tags, IPv4 options, IPv6 extension headers, fragments, frames in several
//! buffers, packets that do not fit or cannot be delivered, clients with rules, previews, and the modes `dsr-ipip` and
//! `snat`. It takes usual packets too, and comes to the same as the usual path.
//!
//! [`sort`] sees which stage takes a frame.
//!
//! - `request`, `reply`: the two directions; `snat`: both, where the source is translated too
//! - `fragments`: what the first one decided; `preview`: whose replies are told apart
//! - `refuse`: answers to what cannot be delivered

pub mod fragments;
mod preview;
mod refuse;
pub mod reply;
pub mod request;
pub mod snat;

use super::{Room, Stage, Verdict, choose, directory};
use crate::{
    abi::Fragment,
    classify::Class,
    complaint::Complain,
    packet::Packet,
    parse::{self, Network, Piece},
    reason::Reason,
    slot::BackendId,
    tables::{Live, Tables},
};

/// A frame of a family that the usual path has not looked into: on to the stage that takes it.
#[inline(always)]
pub fn sort<F: Complain, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    _: &mut Room<F>,
) -> Verdict {
    let packet = &*packet;
    let (_, at) = parse::link(packet);
    let Some(live) = tables.live() else { return Verdict::PASS };
    let network = match F::network(packet, at) {
        Ok(network) => network,
        Err(reason) => return pass_unread::<F, P, T>(packet, tables, live, at, reason),
    };
    match network.piece {
        Piece::Later => return Verdict::hand_on::<F>(Stage::Later),
        Piece::Whole if network.protocol == F::ICMP => return Verdict::hand_on::<F>(Stage::Icmp),
        Piece::Whole | Piece::First => {}
    }
    let headers = match parse::transport::<F, P>(packet, network) {
        Ok(headers) => headers,
        Err(reason) => return pass::<F, T>(tables, live, &network, reason),
    };
    match choose::class::<F, T>(tables, live, &headers) {
        Class::Request(_) => Verdict::hand_on::<F>(Stage::Inbound),
        Class::Reply(_) => Verdict::hand_on::<F>(Stage::Outbound),
        Class::Loop(service) => {
            tables.count_reason(service, Reason::Loop);
            Verdict::DROP
        }
        Class::Other => pass::<F, T>(tables, live, &headers.network, Reason::OtherTraffic),
    }
}

/// Passed untouched; counted, and of a first fragment remembered, when it is to a service's address.
#[inline(always)]
fn pass<F: Complain, T: Tables>(
    tables: &T,
    live: Live<'_>,
    network: &Network<F::Address>,
    reason: Reason,
) -> Verdict {
    if let Some(service) = directory::service_address::<F, T>(tables, live, &network.destination) {
        tables.count_reason(service, reason);
        fragments::first::<F, T>(tables, network, Fragment::PASS, BackendId::NONE, [0; 2]);
    }
    Verdict::PASS
}

/// The same for a packet whose network header cannot be read.
#[inline(always)]
fn pass_unread<F: Complain, P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    live: Live<'_>,
    at: usize,
    reason: Reason,
) -> Verdict {
    if let Some(address) = F::destination(packet, at)
        && let Some(service) = directory::service_address::<F, T>(tables, live, &address)
    {
        tables.count_reason(service, reason);
    }
    Verdict::PASS
}
