//! What changes in a packet on its way: addresses, ports, checksums, TTL and Ethernet addresses.

use core::mem::offset_of;

use network_types::{
    eth::EtherType,
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};

use crate::{
    abi::{Backend, Hop},
    checksum::{self, Delta},
    net::{Addr, Port, Transport},
    packet::{Packet, Resize},
    parse::{Family, Headers, Network, V4, V6, checksum_offset},
};

const IPV4_CHECKSUM: usize = offset_of!(Ipv4Hdr, check);
const SOURCE_PORT: usize = offset_of!(TcpHdr, source);
const DESTINATION_PORT: usize = offset_of!(TcpHdr, dest);

/// TTL and hop limit of packets that begin here.
pub const TTL: u8 = 64;

/// A network header to be written.
pub struct NewHeader<'a> {
    /// Source address.
    pub source: &'a Addr,
    /// Destination address.
    pub destination: &'a Addr,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Bytes that follow.
    pub payload: usize,
    /// Type of service or traffic class.
    pub class: u8,
    /// IPv4's identification; in the IPv6 flow label's low bits.
    pub id: [u8; 2],
    /// IPv4: not to be fragmented.
    pub whole: bool,
}

impl<'a> NewHeader<'a> {
    /// As packets that the data plane answers with have it.
    pub const fn answer(source: &'a Addr, destination: &'a Addr, protocol: u8, payload: usize) -> Self {
        Self { source, destination, protocol, payload, class: 0, id: [0; 2], whole: true }
    }
}

/// Where the family's own header is changed.
pub trait Rewrite: Family {
    /// The family's EtherType, in memory order.
    const ETHER_TYPE: [u8; 2];
    /// Its protocol number inside another packet (RFC 2003, RFC 2473).
    const INSIDE: u8;

    /// Writes an address at position `field` of the header at `at`, and updates the header's own checksum, if it has
    /// one, by `delta`.
    fn set_address<P: Packet + ?Sized>(
        packet: &mut P,
        at: usize,
        field: usize,
        address: &Addr,
        delta: Delta,
    ) -> Option<()>;
    /// One hop less, in the header at `at`.
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, at: usize, ttl: u8) -> Option<()>;
    /// Another TTL in the header at `at`.
    fn set_ttl<P: Packet + ?Sized>(packet: &mut P, at: usize, old: u8, new: u8) -> Option<()>;
    /// Writes a header without options at `at`.
    fn write_header<P: Packet + ?Sized>(packet: &mut P, at: usize, header: &NewHeader<'_>) -> Option<()>;
    /// Type of service or traffic class, and what tells the packet's flow from others.
    fn class_and_id<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<(u8, [u8; 2])>;
}

impl Rewrite for V4 {
    const ETHER_TYPE: [u8; 2] = (EtherType::Ipv4 as u16).to_ne_bytes();
    const INSIDE: u8 = IpProto::Ipv4 as u8;

    #[inline(always)]
    fn set_address<P: Packet + ?Sized>(
        packet: &mut P,
        at: usize,
        field: usize,
        address: &Addr,
        delta: Delta,
    ) -> Option<()> {
        let checksum = packet.load::<2>(at + IPV4_CHECKSUM)?;
        packet.store(at + IPV4_CHECKSUM, delta.apply(checksum))?;
        packet.store(at + field, address.v4())
    }

    #[inline(always)]
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, at: usize, ttl: u8) -> Option<()> {
        let checksum = packet.load::<2>(at + IPV4_CHECKSUM)?;
        packet.store(at + IPV4_CHECKSUM, Delta::TTL_LESS_ONE.apply(checksum))?;
        packet.store(at + Self::TTL, [ttl.wrapping_sub(1)])
    }

    #[inline(always)]
    fn set_ttl<P: Packet + ?Sized>(packet: &mut P, at: usize, old: u8, new: u8) -> Option<()> {
        let checksum = packet.load::<2>(at + IPV4_CHECKSUM)?;
        packet.store(at + IPV4_CHECKSUM, Delta::of_word([old, 0], [new, 0]).apply(checksum))?;
        packet.store(at + Self::TTL, [new])
    }

    #[inline(always)]
    fn write_header<P: Packet + ?Sized>(packet: &mut P, at: usize, header: &NewHeader<'_>) -> Option<()> {
        let NewHeader { source, destination, protocol, payload, class, id, whole } = header;
        let length = (Ipv4Hdr::LEN + payload) as u16;
        let flags: u16 = if *whole { 0x4000 } else { 0 };
        let fixed = 0x4500 + u32::from(*class) + u32::from(length) + u32::from(u16::from_be_bytes(*id));
        let fixed = fixed + u32::from(flags) + u32::from(u16::from_be_bytes([TTL, *protocol]));
        // The mapped form's 0xffff, once in each address, is 0 in one's complement.
        let [c0, c1] = checksum::of_sum(fixed + source.sum() + destination.sum());
        let ([l0, l1], [i0, i1], [f0, f1]) = (length.to_be_bytes(), *id, flags.to_be_bytes());
        packet.store(at + Self::DESTINATION, destination.v4())?;
        packet.store(at, [0x45, *class, l0, l1])?;
        packet.store(at + offset_of!(Ipv4Hdr, id), [i0, i1, f0, f1])?;
        packet.store(at + Self::TTL, [TTL, *protocol, c0, c1])?;
        packet.store(at + Self::SOURCE, source.v4())
    }

    #[inline(always)]
    fn class_and_id<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<(u8, [u8; 2])> {
        let [class] = packet.load::<1>(at + 1)?;
        Some((class, packet.load::<2>(at + offset_of!(Ipv4Hdr, id))?))
    }
}

impl Rewrite for V6 {
    const ETHER_TYPE: [u8; 2] = (EtherType::Ipv6 as u16).to_ne_bytes();
    const INSIDE: u8 = IpProto::Ipv6 as u8;

    #[inline(always)]
    fn set_address<P: Packet + ?Sized>(
        packet: &mut P,
        at: usize,
        field: usize,
        address: &Addr,
        _: Delta,
    ) -> Option<()> {
        let at = at + field;
        packet.store(at + 12, address.word(3))?;
        packet.store(at, address.word(0))?;
        packet.store(at + 4, address.word(1))?;
        packet.store(at + 8, address.word(2))
    }

    #[inline(always)]
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, at: usize, ttl: u8) -> Option<()> {
        packet.store(at + Self::TTL, [ttl.wrapping_sub(1)])
    }

    #[inline(always)]
    fn set_ttl<P: Packet + ?Sized>(packet: &mut P, at: usize, _: u8, new: u8) -> Option<()> {
        packet.store(at + Self::TTL, [new])
    }

    #[inline(always)]
    fn write_header<P: Packet + ?Sized>(packet: &mut P, at: usize, header: &NewHeader<'_>) -> Option<()> {
        let NewHeader { source, destination, protocol, payload, class, id, .. } = header;
        let ([l0, l1], [i0, i1]) = ((*payload as u16).to_be_bytes(), *id);
        Self::set_address(packet, at, Self::DESTINATION, destination, Delta::NONE)?;
        Self::set_address(packet, at, Self::SOURCE, source, Delta::NONE)?;
        packet.store(at, [0x60 | class >> 4, class << 4, i0, i1])?;
        packet.store(at + offset_of!(Ipv6Hdr, payload_len), [l0, l1, *protocol, TTL])
    }

    #[inline(always)]
    fn class_and_id<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<(u8, [u8; 2])> {
        let [a, b, i0, i1] = packet.load::<4>(at)?;
        Some((a << 4 | b >> 4, [i0, i1]))
    }
}

/// Client to backend: the destination becomes the backend's.
#[inline(always)]
pub fn to_backend<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    backend: &Backend,
) -> Option<()> {
    F::set_address(packet, headers.network.at, F::DESTINATION, backend.address(), backend.network_delta())?;
    transport(packet, headers, DESTINATION_PORT, backend.port(), backend.transport_delta())
}

/// Backend to client: the source becomes the service's again.
#[inline(always)]
pub fn to_client<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    backend: &Backend,
) -> Option<()> {
    let delta = backend.network_delta().reversed();
    F::set_address(packet, headers.network.at, F::SOURCE, backend.virtual_address(), delta)?;
    let delta = backend.transport_delta().reversed();
    transport(packet, headers, SOURCE_PORT, backend.virtual_port(), delta)
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: Addr,
    /// Its port.
    pub port: Port,
}

impl End {
    /// The sum of its words.
    #[inline(always)]
    pub const fn sum(&self) -> u32 {
        self.address.sum() + u16::from_be_bytes(self.port) as u32
    }
}

/// Both ends become others.
///
/// A call of its own: its variables need not lie on the caller's stack.
#[inline(never)]
pub fn ends<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    source: &End,
    destination: &End,
) -> Option<()> {
    let network = &headers.network;
    let (old_source, old_destination) = (F::addr(&network.source), F::addr(&network.destination));
    addresses::<F, P>(packet, network, &source.address, &destination.address)?;
    let old = End { address: old_source, port: headers.source_port }.sum()
        + End { address: old_destination, port: headers.destination_port }.sum();
    let delta = Delta::of_sums(old, source.sum() + destination.sum());
    transport(packet, headers, SOURCE_PORT, source.port, delta)?;
    packet.store(network.payload_at + DESTINATION_PORT, destination.port)
}

/// Both addresses become others; what follows the network header stays.
///
/// A call of its own: its variables need not lie on the caller's stack.
#[inline(never)]
pub fn addresses<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    network: &Network<F::Address>,
    source: &Addr,
    destination: &Addr,
) -> Option<()> {
    let delta = |old: &F::Address, new: &Addr| Delta::of_sums(F::addr(old).sum(), new.sum());
    let (from, to) = (delta(&network.source, source), delta(&network.destination, destination));
    F::set_address(packet, network.at, F::SOURCE, source, from)?;
    F::set_address(packet, network.at, F::DESTINATION, destination, to)
}

#[inline(always)]
fn transport<A, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<A>,
    port_offset: usize,
    port: Port,
    delta: Delta,
) -> Option<()> {
    let at = headers.network.payload_at;
    let checksum_at = at + checksum_offset(headers.transport);
    let checksum = packet.load::<2>(checksum_at)?;
    let updated = match headers.transport {
        Transport::Tcp => delta.apply(checksum),
        Transport::Udp => delta.apply_udp(checksum),
    };
    packet.store(checksum_at, updated)?;
    packet.store(at + port_offset, port)
}

/// Onto the link: Ethernet addresses.
#[inline(always)]
pub fn ethernet<P: Packet + ?Sized>(packet: &mut P, hop: &Hop) -> Option<()> {
    let [a, b, c] = hop.ethernet();
    packet.store(8, c)?;
    packet.store(0, a)?;
    packet.store(4, b)
}

/// Onto the link: Ethernet addresses, and one hop less.
#[inline(always)]
pub fn onto_link<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    network: &Network<F::Address>,
    hop: &Hop,
) -> Option<()> {
    ethernet(packet, hop)?;
    F::hop_less(packet, network.at, network.ttl)
}

/// Addresses and two VLAN tags, bytes.
const LINK: usize = 20;

/// Makes room for `bytes` in front of the network header at `at`; Ethernet addresses and tags stay in front.
#[inline(always)]
pub fn open<P: Resize + ?Sized>(packet: &mut P, at: usize, bytes: usize) -> Option<()> {
    packet.grow_front(bytes)?;
    // Word by word: addresses, then tags. (Twelve bytes at once become a call of `memmove` on the BPF target.)
    let mut moved = 0;
    while moved + 4 < at && moved < LINK {
        let word = packet.load::<4>(bytes + moved)?;
        packet.store(moved, word)?;
        moved += 4;
    }
    Some(())
}

/// Puts a packet into another one from `source` to `destination`, of either family: what it carries stays as it is.
///
/// The outer header has the inner one's type of service (RFC 2983, RFC 6040) and may be fragmented where that may.
#[inline(always)]
pub fn encapsulate<F: Rewrite, P: Resize + ?Sized>(
    packet: &mut P,
    network: &Network<F::Address>,
    source: &Addr,
    destination: &Addr,
) -> Option<()> {
    let (class, id) = F::class_and_id(packet, network.at)?;
    let whole = F::whole_only(packet, network.at);
    let (protocol, payload) = (F::INSIDE, network.total);
    let header = NewHeader { source, destination, protocol, payload, class, id, whole };
    if destination.is_v4() {
        outer::<V4, P>(packet, network.at, &header)
    } else {
        outer::<V6, P>(packet, network.at, &header)
    }
}

#[inline(always)]
fn outer<O: Rewrite, P: Resize + ?Sized>(packet: &mut P, at: usize, header: &NewHeader<'_>) -> Option<()> {
    open(packet, at, O::LEN)?;
    packet.store(at - 2, O::ETHER_TYPE)?;
    O::write_header(packet, at, header)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        abi::Way,
        parse::{NETWORK, bare},
    };

    const VIP: [u8; 4] = [192, 0, 2, 10];

    fn frame_v4(source: [u8; 4], port: u16, ttl: u8, udp: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(source, VIP, ttl);
        if udp {
            ip.udp(port, 443).write(&mut frame, payload).unwrap();
        } else {
            ip.tcp(port, 443, 7, 1024).ack(9).write(&mut frame, payload).unwrap();
        }
        frame
    }

    fn frame_v6(source: [u8; 16], destination: [u8; 16], port: u16, udp: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6(source, destination, 64);
        if udp {
            ip.udp(port, 443).write(&mut frame, payload).unwrap();
        } else {
            ip.tcp(port, 443, 7, 1024).ack(9).write(&mut frame, payload).unwrap();
        }
        frame
    }

    /// Recomputes both checksums from scratch with an independent library.
    fn checksums_are_right(frame: &[u8]) -> bool {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let net = sliced.net.unwrap();
        let v4 = net
            .ipv4_ref()
            .map(|ip| (ip.header().to_header(), ip.header().to_header().calc_header_checksum()));
        let v6 = net.ipv6_ref().map(|ip| ip.header().to_header());
        let network = v4.as_ref().is_none_or(|(header, sum)| header.header_checksum == *sum);
        let transport = match (sliced.transport.unwrap(), &v4, &v6) {
            (TransportSlice::Tcp(tcp), Some((ip, _)), _) => {
                tcp.to_header().calc_checksum_ipv4(ip, tcp.payload()).unwrap() == tcp.checksum()
            }
            (TransportSlice::Tcp(tcp), None, Some(ip)) => {
                tcp.to_header().calc_checksum_ipv6(ip, tcp.payload()).unwrap() == tcp.checksum()
            }
            (TransportSlice::Udp(udp), Some((ip, _)), _) => {
                udp.to_header().calc_checksum_ipv4(ip, udp.payload()).unwrap() == udp.checksum()
            }
            (TransportSlice::Udp(udp), None, Some(ip)) => {
                udp.to_header().calc_checksum_ipv6(ip, udp.payload()).unwrap() == udp.checksum()
            }
            _ => false,
        };
        network && transport
    }

    fn backend(virtual_address: Addr, address: Addr, port: u16) -> Backend {
        let way = Way { hop: Hop::new(1, [3; 6], [4; 6]), ..Way::UNKNOWN };
        Backend::new(0, (virtual_address, [1, 187]), (address, port.to_be_bytes()), way, Backend::ALIVE)
    }

    /// There and back: what the backend gets is right, and the way back is the inverse.
    fn there_and_back<F: Rewrite>(original: &[u8], backend: &Backend) -> Result<(), TestCaseError> {
        let mut there = original.to_vec();
        let parsed = bare::<F, _>(&there[..]).unwrap();
        to_backend::<F, _>(&mut there[..], &parsed, backend).unwrap();
        onto_link::<F, _>(&mut there[..], &parsed.network, &backend.hop).unwrap();
        prop_assert!(checksums_are_right(&there));
        let seen = bare::<F, _>(&there[..]).unwrap();
        prop_assert!(F::addr(&seen.network.destination).is(backend.address()));
        prop_assert_eq!(seen.destination_port, backend.port());
        prop_assert_eq!(seen.network.ttl, parsed.network.ttl - 1);
        prop_assert_eq!(&there[..12], &[4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3]);

        let mut answer = swapped::<F>(&there);
        let parsed = bare::<F, _>(&answer[..]).unwrap();
        to_client::<F, _>(&mut answer[..], &parsed, backend).unwrap();
        prop_assert!(checksums_are_right(&answer));
        let seen = bare::<F, _>(&answer[..]).unwrap();
        prop_assert!(F::addr(&seen.network.source).is(backend.virtual_address()));
        prop_assert_eq!(seen.source_port, backend.virtual_port());
        Ok(())
    }

    /// The same frame with source and destination exchanged: checksums stay right.
    fn swapped<F: Family>(frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let length = F::DESTINATION - F::SOURCE;
        let (source, destination) =
            frame[NETWORK + F::SOURCE..NETWORK + F::SOURCE + 2 * length].split_at_mut(length);
        source.swap_with_slice(destination);
        let (source, destination) = frame[NETWORK + F::LEN..NETWORK + F::LEN + 4].split_at_mut(2);
        source.swap_with_slice(destination);
        frame
    }

    proptest! {
        #[test]
        fn ipv4(source: [u8; 4], address: [u8; 4], port: u16, backend_port: u16, ttl in 2u8.., udp: bool, payload: Vec<u8>) {
            let frame = frame_v4(source, port, ttl, udp, &payload);
            there_and_back::<V4>(&frame, &backend(Addr::from_v4(VIP), Addr::from_v4(address), backend_port))?;
        }

        #[test]
        fn ipv6(source: [u8; 16], vip: [u8; 16], address: [u8; 16], port: u16, backend_port: u16, udp: bool, payload: Vec<u8>) {
            let frame = frame_v6(source, vip, port, udp, &payload);
            there_and_back::<V6>(&frame, &backend(Addr::from_bytes(vip), Addr::from_bytes(address), backend_port))?;
        }
    }

    #[test]
    fn a_udp_datagram_without_checksum_keeps_none() {
        let mut frame = frame_v4([10, 0, 0, 1], 5, 64, true, b"x");
        frame[NETWORK + V4::LEN + 6..NETWORK + V4::LEN + 8].copy_from_slice(&[0, 0]);
        let parsed = bare::<V4, _>(&frame[..]).unwrap();
        let backend = backend(Addr::from_v4(VIP), Addr::from_v4([10, 9, 9, 9]), 53);
        to_backend::<V4, _>(&mut frame[..], &parsed, &backend).unwrap();
        assert_eq!(frame[NETWORK + V4::LEN + 6..NETWORK + V4::LEN + 8], [0, 0]);
    }
}
