//! What changes in a packet on its way: addresses, ports, checksums, TTL and Ethernet addresses.

use core::mem::offset_of;

use network_types::{eth::EthHdr, ip::Ipv4Hdr, tcp::TcpHdr};

use crate::{
    abi::{Backend, Hop},
    checksum::Delta,
    net::{Addr, Port, Transport},
    packet::Packet,
    parse::{Family, Headers, V4, V6, checksum_offset},
    reset::ResetHeader,
};

const NETWORK: usize = EthHdr::LEN;
const IPV4_CHECKSUM: usize = NETWORK + offset_of!(Ipv4Hdr, check);
const SOURCE_PORT: usize = offset_of!(TcpHdr, source);
const DESTINATION_PORT: usize = offset_of!(TcpHdr, dest);

/// Where the family's own header is changed.
pub trait Rewrite: ResetHeader {
    /// Writes an address at `at` and updates the header's own checksum, if it has one, by `delta`.
    fn address<P: Packet + ?Sized>(packet: &mut P, at: usize, address: &Addr, delta: Delta) -> Option<()>;
    /// One hop less.
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, ttl: u8) -> Option<()>;
}

impl Rewrite for V4 {
    #[inline(always)]
    fn address<P: Packet + ?Sized>(packet: &mut P, at: usize, address: &Addr, delta: Delta) -> Option<()> {
        let checksum = packet.load::<2>(IPV4_CHECKSUM)?;
        packet.store(IPV4_CHECKSUM, delta.apply(checksum))?;
        packet.store(at, address.v4())
    }

    #[inline(always)]
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, ttl: u8) -> Option<()> {
        let checksum = packet.load::<2>(IPV4_CHECKSUM)?;
        packet.store(IPV4_CHECKSUM, Delta::TTL_LESS_ONE.apply(checksum))?;
        packet.store(Self::TTL, [ttl.wrapping_sub(1)])
    }
}

impl Rewrite for V6 {
    #[inline(always)]
    fn address<P: Packet + ?Sized>(packet: &mut P, at: usize, address: &Addr, _: Delta) -> Option<()> {
        packet.store(at + 12, address.word(3))?;
        packet.store(at, address.word(0))?;
        packet.store(at + 4, address.word(1))?;
        packet.store(at + 8, address.word(2))
    }

    #[inline(always)]
    fn hop_less<P: Packet + ?Sized>(packet: &mut P, ttl: u8) -> Option<()> {
        packet.store(Self::TTL, [ttl.wrapping_sub(1)])
    }
}

/// Client to backend: the destination becomes the backend's.
#[inline(always)]
pub fn to_backend<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    backend: &Backend,
) -> Option<()> {
    F::address(packet, F::DESTINATION, backend.address(), backend.network_delta())?;
    transport::<F, P>(packet, headers.transport, DESTINATION_PORT, backend.port(), backend.transport_delta())
}

/// Backend to client: the source becomes the service's again.
#[inline(always)]
pub fn to_client<F: Rewrite, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    backend: &Backend,
) -> Option<()> {
    F::address(packet, F::SOURCE, backend.virtual_address(), backend.network_delta().reversed())?;
    let delta = backend.transport_delta().reversed();
    transport::<F, P>(packet, headers.transport, SOURCE_PORT, backend.virtual_port(), delta)
}

#[inline(always)]
fn transport<F: Family, P: Packet + ?Sized>(
    packet: &mut P,
    transport: Transport,
    port_offset: usize,
    port: Port,
    delta: Delta,
) -> Option<()> {
    let at = F::TRANSPORT + checksum_offset(transport);
    let checksum = packet.load::<2>(at)?;
    let updated = match transport {
        Transport::Tcp => delta.apply(checksum),
        Transport::Udp => delta.apply_udp(checksum),
    };
    packet.store(at, updated)?;
    packet.store(F::TRANSPORT + port_offset, port)
}

/// Onto the link: Ethernet addresses, and one hop less.
#[inline(always)]
pub fn onto_link<F: Rewrite, P: Packet + ?Sized>(packet: &mut P, ttl: u8, hop: &Hop) -> Option<()> {
    let [a, b, c] = hop.ethernet();
    packet.store(8, c)?;
    packet.store(0, a)?;
    packet.store(4, b)?;
    F::hop_less(packet, ttl)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::parse::headers;

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
        let hop = Hop::new(1, [3; 6], [4; 6]);
        Backend::new(0, (virtual_address, [1, 187]), (address, port.to_be_bytes()), hop, true)
    }

    /// There and back: what the backend gets is right, and the way back is the inverse.
    fn there_and_back<F: Rewrite>(original: &[u8], backend: &Backend) -> Result<(), TestCaseError> {
        let mut there = original.to_vec();
        let parsed = headers::<F, _>(&there[..]).ok().unwrap();
        to_backend::<F, _>(&mut there[..], &parsed, backend).unwrap();
        onto_link::<F, _>(&mut there[..], parsed.network.ttl, &backend.hop).unwrap();
        prop_assert!(checksums_are_right(&there));
        let seen = headers::<F, _>(&there[..]).ok().unwrap();
        prop_assert!(F::addr(&seen.network.destination).is(backend.address()));
        prop_assert_eq!(seen.destination_port, backend.port());
        prop_assert_eq!(seen.network.ttl, parsed.network.ttl - 1);
        prop_assert_eq!(&there[..12], &[4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3]);

        let mut answer = swapped::<F>(&there);
        let parsed = headers::<F, _>(&answer[..]).ok().unwrap();
        to_client::<F, _>(&mut answer[..], &parsed, backend).unwrap();
        prop_assert!(checksums_are_right(&answer));
        let seen = headers::<F, _>(&answer[..]).ok().unwrap();
        prop_assert!(F::addr(&seen.network.source).is(backend.virtual_address()));
        prop_assert_eq!(seen.source_port, backend.virtual_port());
        Ok(())
    }

    /// The same frame with source and destination exchanged: checksums stay right.
    fn swapped<F: Family>(frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let length = F::DESTINATION - F::SOURCE;
        let (source, destination) = frame[F::SOURCE..F::SOURCE + 2 * length].split_at_mut(length);
        source.swap_with_slice(destination);
        let (source, destination) = frame[F::TRANSPORT..F::TRANSPORT + 4].split_at_mut(2);
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
        frame[V4::TRANSPORT + 6..V4::TRANSPORT + 8].copy_from_slice(&[0, 0]);
        let parsed = headers::<V4, _>(&frame[..]).ok().unwrap();
        let backend = backend(Addr::from_v4(VIP), Addr::from_v4([10, 9, 9, 9]), 53);
        to_backend::<V4, _>(&mut frame[..], &parsed, &backend).unwrap();
        assert_eq!(frame[V4::TRANSPORT + 6..V4::TRANSPORT + 8], [0, 0]);
    }
}
