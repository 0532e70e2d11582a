//! From bytes to addresses, ports and flags: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), TCP and UDP.
//!
//! [`bare`] reads frames as nearly all of them are, at fixed positions: no VLAN tag, no option, no extension header,
//! no fragment. [`link`], [`Family::network`] and [`transport`] read all others.

mod family;

use core::mem::offset_of;

use network_types::{
    eth::{EthHdr, EtherType},
    ip::IpProto,
    tcp::TcpHdr,
    udp::UdpHdr,
};

pub use self::family::{Family, V4, V6};
use crate::{
    net::{Port, TcpFlags, Transport},
    packet::Packet,
    reason::Reason,
};

/// Which piece of a packet a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Piece {
    /// All of it.
    Whole,
    /// The first fragment.
    First,
    /// A later fragment: there is no transport header in it.
    Later,
}

/// What the network header says, extension headers included.
#[derive(Clone, Copy)]
pub struct Network<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Which piece of the packet this is.
    pub piece: Piece,
    /// Of a fragment: what all fragments of its packet have in common.
    pub id: u32,
    /// Of a later fragment: where it belongs, in units of 8 bytes.
    pub offset: u16,
    /// Bytes of the IP packet, headers included.
    pub total: usize,
    /// Position of the network header in the frame.
    pub at: usize,
    /// Position of what follows it.
    pub payload_at: usize,
}

impl<A> Network<A> {
    /// Bytes that follow the network header.
    #[inline(always)]
    pub const fn payload(&self) -> usize {
        self.at + self.total - self.payload_at
    }
}

/// Addresses, ports and flags of a TCP segment or UDP datagram.
#[derive(Clone, Copy)]
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

/// Position of the network header in a frame without VLAN tags.
pub const NETWORK: usize = EthHdr::LEN;

/// Position of the EtherType in a frame without VLAN tags.
const ETHER_TYPE: usize = offset_of!(EthHdr, ether_type);

/// Tags that are looked through.
const TAGS: usize = 2;

/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carries {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// A VLAN tag.
    Tag,
    /// Anything else.
    Other,
}

/// What the EtherType at `at` says; frames too short for one carry something else.
#[inline(always)]
fn carries<P: Packet + ?Sized>(packet: &P, at: usize) -> Carries {
    let Some(bytes) = packet.load::<2>(at) else { return Carries::Other };
    match u16::from_ne_bytes(bytes) {
        IPV4 => Carries::V4,
        IPV6 => Carries::V6,
        TAG_8021Q | TAG_8021AD => Carries::Tag,
        _ => Carries::Other,
    }
}

// `EtherType`'s numbers are in network order already.
const IPV4: u16 = EtherType::Ipv4 as u16;
const IPV6: u16 = EtherType::Ipv6 as u16;
const TAG_8021Q: u16 = EtherType::Ieee8021q as u16;
const TAG_8021AD: u16 = EtherType::Ieee8021ad as u16;

/// What a frame carries behind its Ethernet header.
#[inline(always)]
pub fn ether_type<P: Packet + ?Sized>(packet: &P) -> Carries {
    carries(packet, ETHER_TYPE)
}

/// What a frame carries behind up to two VLAN tags (IEEE 802.1Q), and where.
#[inline(always)]
pub fn link<P: Packet + ?Sized>(packet: &P) -> (Carries, usize) {
    let mut tags = 0;
    while tags < TAGS {
        let found = carries(packet, ETHER_TYPE + tags * TAG);
        if !matches!(found, Carries::Tag) {
            return (found, NETWORK + tags * TAG);
        }
        tags += 1;
    }
    (carries(packet, ETHER_TYPE + TAGS * TAG), NETWORK + TAGS * TAG)
}

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

/// ICMP's and ICMPv6's protocol numbers.
#[inline(always)]
pub const fn is_icmp(protocol: u8) -> bool {
    protocol == IpProto::Icmp as u8 || protocol == IpProto::Ipv6Icmp as u8
}

/// The headers of a frame as nearly all of them are; `None` for any other.
#[inline(always)]
pub fn bare<F: Family, P: Packet + ?Sized>(packet: &P) -> Option<Headers<F::Address>> {
    let network = F::bare(packet)?;
    transport::<F, P>(packet, network).ok()
}

/// The transport header of a whole packet or a first fragment.
///
/// # Errors
/// Why no service can take the packet.
#[inline(always)]
pub fn transport<F: Family, P: Packet + ?Sized>(
    packet: &P,
    network: Network<F::Address>,
) -> Result<Headers<F::Address>, Reason> {
    let Some(transport) = Transport::from_number(network.protocol) else {
        return Err(if is_icmp(network.protocol) { Reason::Icmp } else { Reason::OtherTraffic });
    };
    let shortest = match transport {
        Transport::Tcp => TcpHdr::LEN,
        Transport::Udp => UdpHdr::LEN,
    };
    if network.payload() < shortest {
        return Err(Reason::Malformed);
    }
    let at = network.payload_at;
    let Some([s0, s1, d0, d1]) = packet.load::<4>(at) else { return Err(Reason::Malformed) };
    let flags = match transport {
        Transport::Udp => TcpFlags::NONE,
        Transport::Tcp => match packet.load::<1>(at + TCP_FLAGS) {
            Some([byte]) => TcpFlags::from_byte(byte),
            None => return Err(Reason::Malformed),
        },
    };
    Ok(Headers { network, transport, source_port: [s0, s1], destination_port: [d0, d1], flags })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::PacketBuilder;

    use super::*;

    /// By the usual path's reader where it takes the frame, and by the other.
    fn headers<F: Family, P: Packet + ?Sized>(packet: &P) -> Result<Headers<F::Address>, Reason> {
        let full = F::network(packet, NETWORK).and_then(|network| transport::<F, P>(packet, network));
        if let Some(bare) = bare::<F, P>(packet) {
            let Ok(full) = &full else { panic!("what the usual path takes is right") };
            assert_eq!((bare.source_port, bare.network.total), (full.source_port, full.network.total));
            assert_eq!(
                (bare.network.at, bare.network.payload_at),
                (full.network.at, full.network.payload_at)
            );
        }
        full
    }

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
        let headers = super::tests::headers::<V6, _>(&datagram_v6()[..]).ok().unwrap();
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
        assert_eq!(refused(NETWORK, 0x46), Some(Reason::Malformed), "options leave no room for a TCP header");
        assert_eq!(refused(NETWORK + 3, 41), Some(Reason::Malformed), "total length beyond the frame");
        assert_eq!(refused(NETWORK + 3, 39), Some(Reason::Malformed), "no room for a TCP header");
        assert_eq!(refused(NETWORK + 3, 19), Some(Reason::Malformed), "no room for its own header");
        assert_eq!(refused(NETWORK + 6, 0x40), None, "don't fragment");
        assert_eq!(refused(NETWORK + 9, 1), Some(Reason::Icmp));
        assert_eq!(refused(NETWORK + 9, 132), Some(Reason::OtherTraffic));
    }

    #[test]
    fn fragments_are_told_apart() {
        let mut frame = syn_v4();
        frame[NETWORK + 4..NETWORK + 8].copy_from_slice(&[0x12, 0x34, 0x20, 0]);
        let first = V4::network(&frame[..], NETWORK).ok().unwrap();
        assert_eq!((first.piece, first.id), (Piece::First, 0x1234));
        assert!(bare::<V4, _>(&frame[..]).is_none());
        frame[NETWORK + 7] = 5;
        let later = V4::network(&frame[..], NETWORK).ok().unwrap();
        assert_eq!((later.piece, later.offset), (Piece::Later, 5));
    }

    #[test]
    fn tags_and_extension_headers_are_looked_through() {
        let mut frame = datagram_v6();
        // Hop-by-hop, then destination options, 8 and 16 bytes.
        let extensions = [&[60u8, 0][..], &[0; 6], &[17, 1], &[0; 14]].concat();
        frame.splice(NETWORK + 40..NETWORK + 40, extensions);
        frame[NETWORK + 5] += 24;
        frame[NETWORK + 6] = 0;
        frame.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]);
        assert_eq!(link(&frame[..]), (Carries::V6, NETWORK + 8));
        let network = V6::network(&frame[..], NETWORK + 8).ok().unwrap();
        assert_eq!((network.protocol, network.payload_at), (17, NETWORK + 8 + 64));
        assert!(transport::<V6, _>(&frame[..], network).is_ok());
        frame[NETWORK + 8 + 40 + 1] = 200;
        assert!(V6::network(&frame[..], NETWORK + 8).is_err(), "an extension header beyond the packet");
    }
}
