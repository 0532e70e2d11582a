//! An ICMP or ICMPv6 error in answer to a packet that cannot be delivered (RFC 792, RFC 1191, RFC 4443).
//!
//! It comes from the address that the packet was for, goes back to where it came from, and quotes the packet's
//! beginning. Built in place: the packet's end is cut off, headers are put in front.

use crate::{
    checksum,
    packet::{Packet, Resize},
    parse::{Family, Network, V4, V6},
    reset::turn_around,
    rewrite::{self, NewHeader, Rewrite},
};

/// Bytes of the packet that are quoted at the most: its headers, whatever they are, and the transport's.
const QUOTED: usize = 128;

/// Bytes of an ICMP header.
const ICMP: usize = 8;

/// What is complained of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Type and code.
    kind: [u8; 2],
    /// What follows the checksum.
    rest: [u8; 4],
}

/// How the families say it.
pub trait Complain: Rewrite {
    /// No service is at the port now.
    const UNREACHABLE: Complaint;

    /// A packet of more than `mtu` bytes does not fit.
    fn too_big(mtu: usize) -> Complaint;
}

impl Complain for V4 {
    /// Destination unreachable, port unreachable.
    const UNREACHABLE: Complaint = Complaint { kind: [3, 3], rest: [0; 4] };

    /// Destination unreachable, fragmentation needed (RFC 1191, 4).
    #[inline(always)]
    fn too_big(mtu: usize) -> Complaint {
        let [a, b] = (mtu as u16).to_be_bytes();
        Complaint { kind: [3, 4], rest: [0, 0, a, b] }
    }
}

impl Complain for V6 {
    /// Destination unreachable, port unreachable (RFC 4443, 3.1).
    const UNREACHABLE: Complaint = Complaint { kind: [1, 4], rest: [0; 4] };

    /// Packet too big (RFC 4443, 3.2).
    #[inline(always)]
    fn too_big(mtu: usize) -> Complaint {
        Complaint { kind: [2, 0], rest: (mtu as u32).to_be_bytes() }
    }
}

/// Turns the packet into the error that answers it.
///
/// A call of its own: the paths that call it should not pay for registers they do not use.
#[inline(never)]
pub fn answer<F: Complain, P: Resize + ?Sized>(
    packet: &mut P,
    network: &Network<F::Address>,
    complaint: &Complaint,
) -> Option<()> {
    let (sender, receiver) = (F::addr(&network.source), F::addr(&network.destination));
    let quoted = if network.total < QUOTED { network.total } else { QUOTED };
    let sum = sum(packet, network.at, quoted)?;
    packet.truncate(network.at + quoted)?;
    rewrite::open(packet, network.at, F::LEN + ICMP)?;
    turn_around(packet)?;
    packet.store(network.at - size_of::<[u8; 2]>(), F::ETHER_TYPE)?;
    let payload = ICMP + quoted;
    F::write_header(packet, network.at, &NewHeader::answer(&receiver, &sender, F::ICMP, payload))?;
    let Complaint { kind: [k, c], rest: [a, b, d, e] } = *complaint;
    let own = u32::from(u16::from_be_bytes([k, c])) + word(a, b) + word(d, e);
    // ICMPv6's checksum covers the addresses; in ICMP's, both sums of mapped addresses would.
    let pseudo = if F::INDEX == V6::INDEX {
        sender.sum() + receiver.sum() + payload as u32 + u32::from(F::ICMP)
    } else {
        0
    };
    let [c0, c1] = checksum::of_sum(sum + own + pseudo);
    packet.store(network.at + F::LEN, [k, c, c0, c1, a, b, d, e])
}

#[inline(always)]
const fn word(high: u8, low: u8) -> u32 {
    u16::from_be_bytes([high, low]) as u32
}

/// The sum of `length` bytes' words from `at` on; an odd one counts as a word's high half (RFC 1071).
#[inline(always)]
fn sum<P: Packet + ?Sized>(packet: &P, at: usize, length: usize) -> Option<u32> {
    let (mut sum, mut done) = (0, 0);
    while done < QUOTED && done + 2 <= length {
        let [a, b] = packet.load::<2>(at + done)?;
        sum += word(a, b);
        done += 2;
    }
    if done < length {
        let [last] = packet.load::<1>(at + done)?;
        sum += word(last, 0);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4};

    use super::*;
    use crate::parse::NETWORK;

    fn datagram_v4(payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([198, 51, 100, 7], [192, 0, 2, 10], 9)
            .udp(40000, 53)
            .write(&mut frame, &std::vec![7; payload])
            .unwrap();
        frame
    }

    #[test]
    fn ipv4_fragmentation_needed() {
        for payload in [0, 1, 99, 100, 101, 1400] {
            let original = datagram_v4(payload);
            let mut frame = original.clone();
            let network = V4::network(&frame, NETWORK).ok().unwrap();
            answer::<V4, _>(&mut frame, &network, &V4::too_big(1400)).unwrap();
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4") };
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!((header.source, header.destination), ([192, 0, 2, 10], [198, 51, 100, 7]));
            let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("not ICMP") };
            let fragmentation_needed =
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
            assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(fragmentation_needed));
            assert_eq!(icmp.header().icmp_type.calc_checksum(icmp.payload()), icmp.checksum());
            let quoted = (original.len() - NETWORK).min(QUOTED);
            assert_eq!(icmp.payload(), &original[NETWORK..NETWORK + quoted]);
            assert_eq!(frame[..12], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2].map(|byte: u8| byte));
        }
    }

    #[test]
    fn ipv6_port_unreachable_behind_a_tag() {
        let mut original = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .single_vlan(etherparse::VlanId::try_new(5).unwrap())
            .ipv6([0x20; 16], [0x21; 16], 9)
            .udp(40000, 53)
            .write(&mut original, b"odd")
            .unwrap();
        let mut frame = original.clone();
        let network = V6::network(&frame, NETWORK + 4).ok().unwrap();
        answer::<V6, _>(&mut frame, &network, &V6::UNREACHABLE).unwrap();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        assert_eq!(sliced.vlan_ids().len(), 1);
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("not ICMPv6") };
        let checksum = icmp.icmp_type().calc_checksum([0x21; 16], [0x20; 16], icmp.payload()).unwrap();
        assert_eq!(checksum, icmp.checksum());
        assert_eq!(icmp.payload(), &original[NETWORK + 4..]);
    }
}
