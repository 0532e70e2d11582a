//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes, and errors about connections.

use crate::{
    checksum::Delta,
    complaint::Complain,
    net::{Addr, Port, Transport},
    packet::Packet,
    parse::{Network, Piece, V4, V6, checksum_offset},
    reset::turn_around,
    rewrite::{self, End, TTL},
};

/// Bytes of an ICMP header.
const LEN: usize = 8;
/// Position of its checksum.
const CHECKSUM: usize = 2;

/// What a message is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Message {
    /// An echo request.
    Echo,
    /// An error about a packet that it quotes.
    Error,
    /// Anything else.
    Other,
}

/// How the families number their messages.
pub trait Icmp: Complain {
    /// Types of echo request and reply.
    const ECHO: [u8; 2];
    /// Whether a type is that of an error about a packet.
    fn is_error(kind: u8) -> bool;
    /// The header's own checksum; IPv6 has none.
    fn own_checksum<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<[u8; 2]>;
    /// What the addresses in front of a message add to its checksum.
    fn pseudo(delta: Delta) -> Delta;
}

impl Icmp for V4 {
    const ECHO: [u8; 2] = [8, 0];

    /// Destination unreachable, time exceeded, parameter problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn own_checksum<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<[u8; 2]> {
        packet.load(at + core::mem::offset_of!(network_types::ip::Ipv4Hdr, check))
    }

    #[inline(always)]
    fn pseudo(_: Delta) -> Delta {
        Delta::NONE
    }
}

impl Icmp for V6 {
    const ECHO: [u8; 2] = [128, 129];

    /// Destination unreachable, packet too big, time exceeded, parameter problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn own_checksum<P: Packet + ?Sized>(_: &P, _: usize) -> Option<[u8; 2]> {
        Some([0; 2])
    }

    #[inline(always)]
    fn pseudo(delta: Delta) -> Delta {
        delta
    }
}

/// What the message behind a network header is.
#[inline(always)]
pub fn message<F: Icmp, P: Packet + ?Sized>(packet: &P, network: &Network<F::Address>) -> Message {
    let Some([kind, code]) = packet.load::<2>(network.payload_at) else { return Message::Other };
    if network.payload() < LEN {
        Message::Other
    } else if kind == F::ECHO[0] && code == 0 {
        Message::Echo
    } else if F::is_error(kind) {
        Message::Error
    } else {
        Message::Other
    }
}

/// Turns an echo request into its reply.
#[inline(always)]
pub fn echo<F: Icmp, P: Packet + ?Sized>(packet: &mut P, network: &Network<F::Address>) -> Option<()> {
    let (sender, receiver) = (F::addr(&network.source), F::addr(&network.destination));
    turn_around(packet)?;
    rewrite::addresses::<F, P>(packet, network, &receiver, &sender)?;
    F::set_ttl(packet, network.at, network.ttl, TTL)?;
    let [kind, _, c0, c1] = packet.load::<4>(network.payload_at)?;
    let [_, reply] = F::ECHO;
    let [c0, c1] = Delta::of_word([kind, 0], [reply, 0]).apply([c0, c1]);
    packet.store(network.payload_at, [reply, 0, c0, c1])
}

/// The packet that an error is about, as far as it is quoted.
#[derive(Clone, Copy)]
pub struct Quoted<A> {
    /// Its network header.
    pub network: Network<A>,
    /// Its protocol.
    pub transport: Transport,
    /// Its source port.
    pub source_port: Port,
    /// Its destination port.
    pub destination_port: Port,
}

/// The packet that an error quotes; `None` if that is no TCP or UDP, or its ports are not there.
#[inline(always)]
pub fn quoted<F: Icmp, P: Packet + ?Sized>(
    packet: &P,
    outer: &Network<F::Address>,
) -> Option<Quoted<F::Address>> {
    let network = F::inner(packet, outer.payload_at + LEN, usize::MAX).ok()?;
    let transport = Transport::from_number(network.protocol)?;
    let ports_at = network.payload_at;
    if matches!(network.piece, Piece::Later) || ports_at + 4 > outer.at + outer.total {
        return None;
    }
    let [s0, s1, d0, d1] = packet.load::<4>(ports_at)?;
    Some(Quoted { network, transport, source_port: [s0, s1], destination_port: [d0, d1] })
}

/// What an error's addresses and ports become.
pub struct Names {
    /// Source and destination of the error.
    pub outer: [Addr; 2],
    /// Source and destination of the packet that it is about.
    pub inner: [End; 2],
}

/// Renames both ends of an error and of the packet that it quotes.
///
/// A call of its own: it stands in several places.
#[inline(never)]
pub fn rename<F: Icmp, P: Packet + ?Sized>(
    packet: &mut P,
    outer: &Network<F::Address>,
    quoted: &Quoted<F::Address>,
    names: &Names,
) -> Option<()> {
    let Names { outer: [source, destination], inner: [from, to] } = names;
    let inner = &quoted.network;
    let ends = ends_delta::<F>(quoted, from, to);
    let before = F::own_checksum(packet, inner.at)?;
    rewrite::addresses::<F, P>(packet, inner, &from.address, &to.address)?;
    let after = F::own_checksum(packet, inner.at)?;
    let transport = transport(packet, quoted, outer.at + outer.total, ends)?;
    let [a, b] = from.port;
    let [c, d] = to.port;
    packet.store(inner.payload_at, [a, b, c, d])?;
    let quoted_delta = ends.and(Delta::of_word(before, after)).and(transport);
    let addresses = Delta::of_sums(
        F::addr(&outer.source).sum() + F::addr(&outer.destination).sum(),
        source.sum() + destination.sum(),
    );
    let checksum = packet.load::<2>(outer.payload_at + CHECKSUM)?;
    let updated = quoted_delta.and(F::pseudo(addresses)).apply(checksum);
    packet.store(outer.payload_at + CHECKSUM, updated)?;
    rewrite::addresses::<F, P>(packet, outer, source, destination)
}

/// How the sum of the quoted packet's addresses and ports changes.
///
/// A call of its own: its variables need not lie on the caller's stack.
#[inline(never)]
fn ends_delta<F: Icmp>(quoted: &Quoted<F::Address>, from: &End, to: &End) -> Delta {
    let end = |address: &F::Address, port: Port| End { address: F::addr(address), port }.sum();
    let old = end(&quoted.network.source, quoted.source_port)
        + end(&quoted.network.destination, quoted.destination_port);
    Delta::of_sums(old, from.sum() + to.sum())
}

/// Updates the quoted transport checksum, if it is quoted; returns how its word changed.
#[inline(always)]
fn transport<A, P: Packet + ?Sized>(
    packet: &mut P,
    quoted: &Quoted<A>,
    end: usize,
    ends: Delta,
) -> Option<Delta> {
    let at = quoted.network.payload_at + checksum_offset(quoted.transport);
    if at + 2 > end {
        return Some(Delta::NONE);
    }
    let old = packet.load::<2>(at)?;
    let new = match quoted.transport {
        Transport::Tcp => ends.apply(old),
        Transport::Udp => ends.apply_udp(old),
    };
    packet.store(at, new)?;
    Some(Delta::of_word(old, new))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{Icmpv4Slice, Icmpv6Slice, PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;
    use crate::parse::{Family as _, NETWORK};

    fn packet(from: [u8; 4], port: u16, to: [u8; 4], to_port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(from, to, 9).tcp(port, to_port, 1, 2).write(&mut packet, b"data").unwrap();
        packet
    }

    fn error_v4(quoted: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 9, 9, 9], [192, 0, 2, 10], 9)
            .icmpv4_raw(3, 4, [0, 0, 5, 0])
            .write(&mut frame, quoted)
            .unwrap();
        frame
    }

    #[test]
    fn an_error_is_renamed_with_all_its_checksums() {
        let (vip, client, backend) = ([192, 0, 2, 10], [198, 51, 100, 7], [10, 0, 1, 11]);
        for quoted_bytes in [28, 38, 44] {
            let mut frame = error_v4(&packet(vip, 443, client, 40000)[..quoted_bytes]);
            let outer = V4::network(&frame[..], NETWORK).ok().unwrap();
            let quoted = quoted::<V4, _>(&frame[..], &outer).unwrap();
            let end = |address, port: u16| End { address: Addr::from_v4(address), port: port.to_be_bytes() };
            let names = Names {
                outer: [Addr::from_v4([10, 9, 9, 9]), Addr::from_v4(backend)],
                inner: [end(backend, 8443), end(client, 40000)],
            };
            rename::<V4, _>(&mut frame[..], &outer, &quoted, &names).unwrap();
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("not ICMP") };
            assert_eq!(icmp.payload(), &packet(backend, 8443, client, 40000)[..quoted_bytes]);
            assert_eq!(icmp.checksum(), checksum_v4(icmp));
        }
    }

    fn checksum_v4(icmp: &Icmpv4Slice<'_>) -> u16 {
        icmp.header().icmp_type.calc_checksum(icmp.payload())
    }

    #[test]
    fn an_ipv6_error_is_renamed_with_all_its_checksums() {
        let packet = |from: [u8; 16], port, to: [u8; 16], to_port| {
            let mut packet = Vec::new();
            PacketBuilder::ipv6(from, to, 9).udp(port, to_port).write(&mut packet, b"data").unwrap();
            packet
        };
        let (vip, client, backend, router) = ([1; 16], [2; 16], [3; 16], [4; 16]);
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6(router, vip, 9)
            .icmpv6_raw(2, 0, [0, 0, 5, 0])
            .write(&mut frame, &packet(vip, 53, client, 40000))
            .unwrap();
        let outer = V6::network(&frame[..], NETWORK).ok().unwrap();
        let quoted = quoted::<V6, _>(&frame[..], &outer).unwrap();
        let end = |address, port: u16| End { address: Addr::from_bytes(address), port: port.to_be_bytes() };
        let names = Names {
            outer: [Addr::from_bytes(router), Addr::from_bytes(backend)],
            inner: [end(backend, 5353), end(client, 40000)],
        };
        rename::<V6, _>(&mut frame[..], &outer, &quoted, &names).unwrap();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("not ICMPv6") };
        assert_eq!(icmp.payload(), packet(backend, 5353, client, 40000));
        assert!(is_right(icmp, router, backend));
    }

    fn is_right(icmp: &Icmpv6Slice<'_>, source: [u8; 16], destination: [u8; 16]) -> bool {
        icmp.icmp_type().calc_checksum(source, destination, icmp.payload()).unwrap() == icmp.checksum()
    }

    #[test]
    fn an_echo_is_answered() {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([198, 51, 100, 7], [192, 0, 2, 10], 9)
            .icmpv4_echo_request(7, 8)
            .write(&mut frame, b"ping")
            .unwrap();
        let network = V4::network(&frame[..], NETWORK).ok().unwrap();
        assert_eq!(message::<V4, _>(&frame[..], &network), Message::Echo);
        echo::<V4, _>(&mut frame[..], &network).unwrap();
        let mut expected = Vec::new();
        PacketBuilder::ethernet2([2; 6], [1; 6])
            .ipv4([192, 0, 2, 10], [198, 51, 100, 7], 64)
            .icmpv4_echo_reply(7, 8)
            .write(&mut expected, b"ping")
            .unwrap();
        assert_eq!(frame[NETWORK..], expected[NETWORK..]);
        assert_eq!((&frame[..6], &frame[6..12]), (&[1; 6][..], &[2; 6][..]));
    }
}
