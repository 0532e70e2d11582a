//! The stages put together: one frame in, one verdict out.
//!
//! The generation is read once; everything that follows is looked up on its side. In the steady state of a
//! service (all slots CLEAN) nothing here needs more than array look-ups: see `exceptions` for the rest.

mod directory;
mod exceptions;
mod forward;
mod reply;

use network_types::eth::EtherType;

use crate::{
    abi::Hop,
    classify::{self, Class},
    net::Transport,
    packet::Packet,
    parse::{self, Headers, V4, V6},
    reason::Reason,
    rewrite::{self, Rewrite},
    slot::BackendId,
    tables::{Live, Tables},
};

/// What becomes of a frame, as one word: an enum with a payload would leave a register unset where there is none,
/// and the verifier refuses to see that copied ("R1 !read_ok").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u32);

/// What becomes of a frame, to be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the kernel's network stack.
    Pass,
    /// Gone.
    Drop,
    /// Back to who sent it.
    Return,
    /// Out on the link of this interface; the one it came in on, or another.
    Send(u32),
}

impl Verdict {
    /// To the kernel's network stack. (No interface has number 0.)
    pub const PASS: Self = Self(0);
    /// Gone. (Interface numbers are positive `int`s.)
    pub const DROP: Self = Self(u32::MAX);
    /// Back to who sent it.
    pub const RETURN: Self = Self(u32::MAX - 1);

    /// Out on the link of an interface.
    #[inline(always)]
    pub const fn send(interface: u32) -> Self {
        Self(interface)
    }

    /// The same, to be matched.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self {
            Self::PASS => Action::Pass,
            Self::DROP => Action::Drop,
            Self::RETURN => Action::Return,
            Self(interface) => Action::Send(interface),
        }
    }
}

/// One frame through all stages.
#[inline(always)]
pub fn process<P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    match parse::ether_type(packet) {
        Some(EtherType::Ipv4) => family::<V4, P, T>(packet, tables),
        Some(EtherType::Ipv6) => family::<V6, P, T>(packet, tables),
        _ => Verdict::PASS,
    }
}

#[inline(always)]
fn family<F: Rewrite, P: Packet + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let reason = match parse::headers::<F, P>(packet) {
        Ok(headers) => match class::<F, T>(tables, live, &headers) {
            Class::Request(service) => {
                return forward::forward::<F, P, T>(packet, tables, live, service, &headers);
            }
            Class::Reply(backend) => return reply::reply::<F, P, T>(packet, tables, live, backend, &headers),
            Class::Loop(service) => {
                tables.count_reason(service, Reason::Loop);
                return Verdict::DROP;
            }
            Class::Other => Reason::OtherTraffic,
        },
        Err(reason) => reason,
    };
    pass_other::<F, P, T>(packet, tables, live, reason)
}

/// A client's packet is known by its destination, a reply by its source.
#[inline(always)]
fn class<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, headers: &Headers<F::Address>) -> Class {
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
fn sender<F: Rewrite, T: Tables>(
    tables: &T,
    live: Live<'_>,
    headers: &Headers<F::Address>,
) -> Option<BackendId> {
    let (source, port, protocol) = (headers.network.source, headers.source_port, headers.transport as u8);
    let entry = directory::endpoint::<F, T>(tables, live, &source, port, protocol);
    classify::reply(entry, &F::addr(&source), port, protocol)
}

/// Passed untouched; counted when it was to a service's address.
#[inline(always)]
fn pass_other<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    live: Live<'_>,
    reason: Reason,
) -> Verdict {
    if let Some(address) = F::destination(packet) {
        let entry = directory::endpoint::<F, T>(tables, live, &address, [0; 2], 0);
        if let Some(service) = classify::service_address(entry, &F::addr(&address)) {
            tables.count_reason(service, reason);
        }
    }
    Verdict::PASS
}

/// A rewritten packet onto its way: onto the link if the next hop is known, else to the kernel, which forwards
/// it and resolves the neighbour (and takes one off the TTL itself).
#[inline(always)]
fn send<F: Rewrite, P: Packet + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    service: u32,
    ttl: u8,
    hop: &Hop,
) -> Verdict {
    if hop.ifindex() == 0 {
        tables.count_reason(service, Reason::NoNextHop);
        return Verdict::PASS;
    }
    match rewrite::onto_link::<F, P>(packet, ttl, hop) {
        Some(()) => Verdict::send(hop.ifindex()),
        None => unfinished(tables, service),
    }
}

/// The packet ended where it was parsed a moment ago: cannot be, but bytes may have changed.
#[inline(always)]
fn unfinished<T: Tables>(tables: &T, service: u32) -> Verdict {
    tables.count_reason(service, Reason::Unfinished);
    Verdict::DROP
}
