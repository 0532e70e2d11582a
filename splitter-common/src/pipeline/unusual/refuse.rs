//! What cannot be delivered, and how it is answered.

use crate::{
    abi::ServiceTable,
    complaint::Complain,
    net::{TcpFlags, Transport},
    packet::Packet,
    parse::{Family as _, Headers, Network, V6},
    pipeline::{Answer, Verdict, directory},
    reason::Reason,
    tables::{Live, Tables},
};

/// Refused by the service's policy: TCP reset or ICMP port unreachable, or nothing. The reasons are those of a drop and
/// of an answer.
#[inline(always)]
pub fn refuse<F: Complain, T: Tables>(
    tables: &T,
    live: Live<'_>,
    (service, table): (u32, &ServiceTable),
    headers: &Headers<F::Address>,
    (dropped, answered): (Reason, Reason),
) -> Verdict {
    if !table.has(ServiceTable::REJECT) || headers.flags.rst() {
        tables.count_reason(service, dropped);
        return Verdict::DROP;
    }
    if directory::own::<F, T>(tables, live, &headers.network.source) {
        tables.count_reason(service, Reason::StrangeSource);
        return Verdict::DROP;
    }
    tables.count_reason(service, answered);
    Verdict::answer(match headers.transport {
        Transport::Tcp => Answer::RESET,
        Transport::Udp => Answer::UNREACHABLE,
    })
}

/// Of a connection that is being reset: whoever speaks is told so.
#[inline(always)]
pub fn reset<T: Tables>(tables: &T, service: u32, transport: Transport, flags: TcpFlags) -> Verdict {
    tables.count_reason(service, Reason::ResetAtDeadline);
    if matches!(transport, Transport::Udp) || flags.rst() {
        return Verdict::DROP;
    }
    Verdict::answer(Answer::RESET)
}

/// IPv6's least link MTU (RFC 8200, 5): nobody need send less.
const IPV6_MTU: usize = 1280;

/// Larger than the way to its backend takes, and not to be fragmented: its sender is told.
#[inline(always)]
pub fn too_big<F: Complain, P: Packet + ?Sized, T: Tables>(
    packet: &P,
    tables: &T,
    service: u32,
    network: &Network<F::Address>,
    mtu: usize,
) -> Verdict {
    let least = if F::INDEX == V6::INDEX { IPV6_MTU } else { 0 };
    let mtu = if mtu < least { least } else { mtu };
    if network.total <= mtu || !F::whole_only(packet, network.at) {
        tables.count_reason(service, Reason::TooBigDropped);
        return Verdict::DROP;
    }
    tables.count_reason(service, Reason::TooBig);
    Verdict::answer(Answer::too_big(mtu as u16))
}
