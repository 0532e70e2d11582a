//! From bytes to addresses, ports and flags: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), TCP and UDP.

use core::mem::offset_of;

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::{
    hash::{HashKey, Spot},
    net::{Addr, Port, TcpFlags, Transport},
    packet::Packet,
    reason::Reason,
};

/// What differs between IPv4 and IPv6. One pipeline is compiled for each.
pub trait Family {
    /// An address as the header has it.
    type Address: Copy;
    /// 0 for IPv4, 1 for IPv6: index of its route table.
    const INDEX: u32;
    /// Start of the transport header in a frame without VLAN tags, options and extension headers.
    const TRANSPORT: usize;
    /// Position of TTL or hop limit.
    const TTL: usize;
    /// Position of the source address.
    const SOURCE: usize;
    /// Position of the destination address.
    const DESTINATION: usize;

    /// Reads and checks the network header.
    ///
    /// # Errors
    /// Why no service can take the packet as it is.
    fn network<P: Packet + ?Sized>(packet: &P) -> Result<Network<Self::Address>, Reason>;
    /// The destination, of a packet that may be anything else.
    fn destination<P: Packet + ?Sized>(packet: &P) -> Option<Self::Address>;
    /// Where an address stands in a directory.
    fn spot(seed: u64, address: &Self::Address, rest: u32) -> Spot;
    /// The slot of a client.
    fn slot(key: &HashKey, client: &Self::Address, port: Port) -> usize;
    /// The address as the maps have it.
    fn addr(address: &Self::Address) -> Addr;
}

/// What a network header says.
pub struct Network<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes of the packet after the network header.
    pub payload: usize,
}

/// Addresses, ports and flags of a TCP segment or UDP datagram.
pub struct Headers<A> {
    /// The network header.
    pub network: Network<A>,
    /// Transport protocol.
    pub transport: Transport,
    /// Source port.
    pub source_port: Port,
    /// Destination port.
    pub destination_port: Port,
    /// TCP flags; none for UDP.
    pub flags: TcpFlags,
}

/// IPv4.
pub enum V4 {}

/// IPv6.
pub enum V6 {}

const NETWORK: usize = EthHdr::LEN;

impl Family for V4 {
    type Address = [u8; 4];
    const INDEX: u32 = 0;
    const TRANSPORT: usize = NETWORK + Ipv4Hdr::LEN;
    const TTL: usize = NETWORK + offset_of!(Ipv4Hdr, ttl);
    const SOURCE: usize = NETWORK + offset_of!(Ipv4Hdr, src_addr);
    const DESTINATION: usize = NETWORK + offset_of!(Ipv4Hdr, dst_addr);

    #[inline(always)]
    fn network<P: Packet + ?Sized>(packet: &P) -> Result<Network<[u8; 4]>, Reason> {
        // The last field first: when it is inside, so are the others.
        let Some(destination) = packet.load::<4>(Self::DESTINATION) else { return Err(Reason::Malformed) };
        let Some(source) = packet.load::<4>(Self::SOURCE) else { return Err(Reason::Malformed) };
        let Some([version, _, l0, l1]) = packet.load::<4>(NETWORK) else { return Err(Reason::Malformed) };
        let Some(fragment) = packet.load::<2>(NETWORK + offset_of!(Ipv4Hdr, frags)) else {
            return Err(Reason::Malformed);
        };
        let Some([ttl, protocol]) = packet.load::<2>(Self::TTL) else { return Err(Reason::Malformed) };
        if version != 0x45 {
            return Err(if version >> 4 == 4 && version > 0x45 {
                Reason::Options
            } else {
                Reason::Malformed
            });
        }
        // All but the flags "reserved" and "don't fragment".
        if u16::from_be_bytes(fragment) & 0x3fff != 0 {
            return Err(Reason::Fragment);
        }
        let total = u16::from_be_bytes([l0, l1]) as usize;
        if total < Ipv4Hdr::LEN || total > packet.length() - NETWORK {
            return Err(Reason::Malformed);
        }
        Ok(Network { source, destination, protocol, ttl, payload: total - Ipv4Hdr::LEN })
    }

    #[inline(always)]
    fn destination<P: Packet + ?Sized>(packet: &P) -> Option<[u8; 4]> {
        packet.load(Self::DESTINATION)
    }

    #[inline(always)]
    fn spot(seed: u64, address: &[u8; 4], rest: u32) -> Spot {
        Spot::of_v4(seed, *address, rest)
    }

    #[inline(always)]
    fn slot(key: &HashKey, client: &[u8; 4], port: Port) -> usize {
        key.slot_v4(*client, port)
    }

    #[inline(always)]
    fn addr(address: &[u8; 4]) -> Addr {
        Addr::from_v4(*address)
    }
}

impl Family for V6 {
    type Address = Addr;
    const INDEX: u32 = 1;
    const TRANSPORT: usize = NETWORK + Ipv6Hdr::LEN;
    const TTL: usize = NETWORK + offset_of!(Ipv6Hdr, hop_limit);
    const SOURCE: usize = NETWORK + offset_of!(Ipv6Hdr, src_addr);
    const DESTINATION: usize = NETWORK + offset_of!(Ipv6Hdr, dst_addr);

    #[inline(always)]
    fn network<P: Packet + ?Sized>(packet: &P) -> Result<Network<Addr>, Reason> {
        let Some(destination) = v6_at(packet, Self::DESTINATION) else { return Err(Reason::Malformed) };
        let Some(source) = v6_at(packet, Self::SOURCE) else { return Err(Reason::Malformed) };
        let Some([version]) = packet.load::<1>(NETWORK) else { return Err(Reason::Malformed) };
        let Some([l0, l1, protocol, ttl]) = packet.load::<4>(NETWORK + offset_of!(Ipv6Hdr, payload_len))
        else {
            return Err(Reason::Malformed);
        };
        let payload = u16::from_be_bytes([l0, l1]) as usize;
        if version >> 4 != 6 || payload > packet.length() - Self::TRANSPORT {
            return Err(Reason::Malformed);
        }
        Ok(Network { source, destination, protocol, ttl, payload })
    }

    #[inline(always)]
    fn destination<P: Packet + ?Sized>(packet: &P) -> Option<Addr> {
        v6_at(packet, Self::DESTINATION)
    }

    #[inline(always)]
    fn spot(seed: u64, address: &Addr, rest: u32) -> Spot {
        Spot::of_v6(seed, address, rest)
    }

    #[inline(always)]
    fn slot(key: &HashKey, client: &Addr, port: Port) -> usize {
        key.slot_v6(client, port)
    }

    #[inline(always)]
    fn addr(address: &Addr) -> Addr {
        *address
    }
}

/// An IPv6 address, last word first: when it is inside, so are the others.
#[inline(always)]
fn v6_at<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<Addr> {
    let d = packet.load::<4>(at + 12)?;
    Some(Addr::from_words([packet.load::<4>(at)?, packet.load::<4>(at + 4)?, packet.load::<4>(at + 8)?, d]))
}

/// The families a frame can be of; `None` for all else, frames shorter than an Ethernet header included.
#[inline(always)]
pub fn ether_type<P: Packet + ?Sized>(packet: &P) -> Option<EtherType> {
    let bytes = packet.load::<2>(offset_of!(EthHdr, ether_type))?;
    match u16::from_ne_bytes(bytes) {
        IPV4 => Some(EtherType::Ipv4),
        IPV6 => Some(EtherType::Ipv6),
        _ => None,
    }
}

// `EtherType`'s numbers are in network order already.
const IPV4: u16 = EtherType::Ipv4 as u16;
const IPV6: u16 = EtherType::Ipv6 as u16;

/// Position of the TCP flags in their header; after `ack_seq` comes the data offset, then the flags.
const TCP_FLAGS: usize = offset_of!(TcpHdr, ack_seq) + 5;

/// Position of a transport header's checksum in the header.
#[inline(always)]
pub const fn checksum_offset(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => offset_of!(TcpHdr, check),
        Transport::Udp => offset_of!(UdpHdr, check),
    }
}

/// Reads and checks the headers of a frame of family `F`.
///
/// # Errors
/// Why no service can take the packet as it is.
#[inline(always)]
pub fn headers<F: Family, P: Packet + ?Sized>(packet: &P) -> Result<Headers<F::Address>, Reason> {
    let network = F::network(packet)?;
    let Some(transport) = Transport::from_number(network.protocol) else {
        return Err(other_protocol(network.protocol));
    };
    let shortest = match transport {
        Transport::Tcp => TcpHdr::LEN,
        Transport::Udp => UdpHdr::LEN,
    };
    if network.payload < shortest {
        return Err(Reason::Malformed);
    }
    let Some([s0, s1, d0, d1]) = packet.load::<4>(F::TRANSPORT) else {
        return Err(Reason::Malformed);
    };
    let flags = match transport {
        Transport::Udp => TcpFlags::NONE,
        Transport::Tcp => match packet.load::<1>(F::TRANSPORT + TCP_FLAGS) {
            Some([byte]) => TcpFlags::from_byte(byte),
            None => return Err(Reason::Malformed),
        },
    };
    Ok(Headers { network, transport, source_port: [s0, s1], destination_port: [d0, d1], flags })
}

/// Why a protocol number is none of ours: ICMP, an IPv6 extension header (IANA's registry), or another.
#[inline(always)]
const fn other_protocol(number: u8) -> Reason {
    match number {
        1 | 58 => Reason::Icmp,
        44 => Reason::Fragment,
        0 | 43 | 51 | 60 | 135 => Reason::ExtensionHeaders,
        _ => Reason::OtherTraffic,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::PacketBuilder;

    use super::*;

    fn syn_v4() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 10], 64)
            .tcp(40000, 443, 1, 1024)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        frame
    }

    fn datagram_v6() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([0x20; 16], [0x21; 16], 3)
            .udp(40000, 53)
            .write(&mut frame, b"question")
            .unwrap();
        frame
    }

    #[test]
    fn reads_what_the_builder_wrote() {
        let headers = headers::<V4, _>(&syn_v4()[..]).ok().unwrap();
        assert_eq!(headers.network.source, [192, 0, 2, 1]);
        assert_eq!(headers.network.destination, [192, 0, 2, 10]);
        assert_eq!((headers.source_port, headers.destination_port), ([0x9c, 0x40], [1, 187]));
        assert!(headers.flags.opens());
        let headers = super::headers::<V6, _>(&datagram_v6()[..]).ok().unwrap();
        let (source, destination) = (headers.network.source, headers.network.destination);
        assert_eq!((source.bytes(), destination.bytes()), ([0x20; 16], [0x21; 16]));
        assert_eq!((headers.transport, headers.network.ttl), (Transport::Udp, 3));
    }

    #[test]
    fn every_truncation_is_malformed() {
        for end in NETWORK..syn_v4().len() {
            assert!(
                headers::<V4, _>(&syn_v4()[..end]).is_err_and(|reason| reason == Reason::Malformed),
                "{end}"
            );
        }
        for end in NETWORK..datagram_v6().len() {
            assert!(
                headers::<V6, _>(&datagram_v6()[..end]).is_err_and(|reason| reason == Reason::Malformed),
                "{end}"
            );
        }
    }

    #[test]
    fn lying_headers_are_refused() {
        let refused = |position: usize, value: u8| {
            let mut frame = syn_v4();
            frame[position] = value;
            headers::<V4, _>(&frame[..]).err()
        };
        assert_eq!(refused(NETWORK, 0x44), Some(Reason::Malformed));
        assert_eq!(refused(NETWORK, 0x65), Some(Reason::Malformed));
        assert_eq!(refused(NETWORK, 0x46), Some(Reason::Options));
        assert_eq!(refused(NETWORK + 3, 41), Some(Reason::Malformed), "total length beyond the frame");
        assert_eq!(refused(NETWORK + 3, 39), Some(Reason::Malformed), "no room for a TCP header");
        assert_eq!(refused(NETWORK + 3, 19), Some(Reason::Malformed), "no room for its own header");
        assert_eq!(refused(NETWORK + 6, 0x20), Some(Reason::Fragment), "more fragments");
        assert_eq!(refused(NETWORK + 7, 0x01), Some(Reason::Fragment), "a later fragment");
        assert_eq!(refused(NETWORK + 6, 0x40), None, "don't fragment");
        assert_eq!(refused(NETWORK + 9, 1), Some(Reason::Icmp));
        assert_eq!(refused(NETWORK + 9, 132), Some(Reason::OtherTraffic));
    }
}
