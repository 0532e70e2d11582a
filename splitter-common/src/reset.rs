//! A TCP reset in answer to a segment that no backend can take (RFC 9293, 3.10.7.1).
//!
//! Built in place: the frame keeps its length, the IP length ends the packet, what follows is padding that
//! every receiver ignores.

use core::mem::offset_of;

use network_types::{
    eth::EthHdr,
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};

use crate::{
    checksum,
    net::Addr,
    packet::Packet,
    parse::{Family, Headers, V4, V6},
};

const NETWORK: usize = EthHdr::LEN;
const TTL: u8 = 64;
const TCP: u8 = IpProto::Tcp as u8;
/// Data offset of 5 words, RST.
const RST: u16 = 0x5004;
/// Data offset of 5 words, RST and ACK.
const RST_ACK: u16 = 0x5014;

/// What a reset's network header needs of its family.
pub trait ResetHeader: Family {
    /// Writes addresses, lengths, TTL and the header's checksum around a bare TCP header.
    fn write<P: Packet + ?Sized>(packet: &mut P, source: &Addr, destination: &Addr) -> Option<()>;
}

impl ResetHeader for V4 {
    #[inline(always)]
    fn write<P: Packet + ?Sized>(packet: &mut P, source: &Addr, destination: &Addr) -> Option<()> {
        let length = (Ipv4Hdr::LEN + TcpHdr::LEN) as u16;
        let fixed = 0x4500 + u32::from(length) + 0x4000 + u32::from(u16::from_be_bytes([TTL, TCP]));
        // The mapped form's 0xffff, once in each address, is 0 in one's complement.
        let [c0, c1] = checksum::of_sum(fixed + source.sum() + destination.sum());
        let [l0, l1] = length.to_be_bytes();
        packet.store(Self::DESTINATION, destination.v4())?;
        packet.store(NETWORK, [0x45, 0, l0, l1])?;
        packet.store(NETWORK + offset_of!(Ipv4Hdr, id), [0, 0, 0x40, 0])?;
        packet.store(Self::TTL, [TTL, TCP, c0, c1])?;
        packet.store(Self::SOURCE, source.v4())
    }
}

impl ResetHeader for V6 {
    #[inline(always)]
    fn write<P: Packet + ?Sized>(packet: &mut P, source: &Addr, destination: &Addr) -> Option<()> {
        let [l0, l1] = (TcpHdr::LEN as u16).to_be_bytes();
        packet.store(NETWORK + offset_of!(Ipv6Hdr, payload_len), [l0, l1, TCP, TTL])?;
        for index in 0..4 {
            packet.store(Self::SOURCE + 4 * index, source.word(index))?;
            packet.store(Self::DESTINATION + 4 * index, destination.word(index))?;
        }
        Some(())
    }
}

/// Turns the segment in `packet` into the reset that answers it; it goes back to where it came from.
///
/// A call of its own: the steady state should not pay for registers it does not use.
#[inline(never)]
pub fn answer<F: ResetHeader, P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers<F::Address>,
) -> Option<()> {
    let sequence = u32::from_be_bytes(packet.load::<4>(F::TRANSPORT + offset_of!(TcpHdr, seq))?);
    let acknowledged = u32::from_be_bytes(packet.load::<4>(F::TRANSPORT + offset_of!(TcpHdr, ack_seq))?);
    let [offset, flags] = packet.load::<2>(F::TRANSPORT + OFFSET_AND_FLAGS)?;
    let (sequence, acknowledged, word) = if flags & 0x10 != 0 {
        (acknowledged, 0, RST)
    } else {
        (0, sequence.wrapping_add(occupied(headers.network.payload, offset, flags)), RST_ACK)
    };
    let (client, service) = (F::addr(&headers.network.source), F::addr(&headers.network.destination));
    turn_around(packet)?;
    F::write(packet, &service, &client)?;
    let ports = [headers.destination_port, headers.source_port];
    let pseudo = client.sum() + service.sum() + u32::from(TCP) + TcpHdr::LEN as u32;
    segment::<F, P>(packet, ports, [sequence, acknowledged], word, pseudo)
}

const OFFSET_AND_FLAGS: usize = offset_of!(TcpHdr, ack_seq) + 4;

/// Writes the TCP header; `pseudo` is the sum of the pseudo-header's words.
#[inline(always)]
fn segment<F: Family, P: Packet + ?Sized>(
    packet: &mut P,
    [source, destination]: [[u8; 2]; 2],
    [sequence, acknowledged]: [u32; 2],
    word: u16,
    pseudo: u32,
) -> Option<()> {
    let ports = u32::from(u16::from_be_bytes(source)) + u32::from(u16::from_be_bytes(destination));
    let sum = pseudo + ports + halves(sequence) + halves(acknowledged) + u32::from(word);
    let ([c0, c1], [w0, w1]) = (checksum::of_sum(sum), word.to_be_bytes());
    packet.store(F::TRANSPORT + offset_of!(TcpHdr, check), [c0, c1, 0, 0])?;
    packet.store(F::TRANSPORT, source)?;
    packet.store(F::TRANSPORT + offset_of!(TcpHdr, dest), destination)?;
    packet.store(F::TRANSPORT + offset_of!(TcpHdr, seq), sequence.to_be_bytes())?;
    packet.store(F::TRANSPORT + offset_of!(TcpHdr, ack_seq), acknowledged.to_be_bytes())?;
    packet.store(F::TRANSPORT + OFFSET_AND_FLAGS, [w0, w1, 0, 0])
}

/// Exchanges the Ethernet addresses.
#[inline(always)]
fn turn_around<P: Packet + ?Sized>(packet: &mut P) -> Option<()> {
    let destination = packet.load::<6>(0)?;
    let source = packet.load::<6>(6)?;
    packet.store(0, source)?;
    packet.store(6, destination)
}

/// Sequence numbers that the segment occupies: payload, SYN and FIN.
#[inline(always)]
fn occupied(payload: usize, offset: u8, flags: u8) -> u32 {
    let header = u32::from(offset >> 4) * 4;
    (payload as u32).saturating_sub(header) + u32::from(flags & 0x01) + u32::from(flags >> 1 & 0x01)
}

#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;
    use crate::parse::headers;

    fn answered<F: ResetHeader>(mut frame: Vec<u8>) -> Vec<u8> {
        let parsed = headers::<F, _>(&frame[..]).ok().unwrap();
        answer::<F, _>(&mut frame[..], &parsed).unwrap();
        frame
    }

    /// The reset's sequence number, acknowledgement and ACK flag; all else is checked here.
    fn reset(frame: &[u8]) -> (u32, u32, bool) {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("not TCP") };
        let header = tcp.to_header();
        let checksum = match sliced.net.as_ref().unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                let ip = ip.header().to_header();
                assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                assert_eq!((ip.source, ip.destination), ([192, 0, 2, 10], [198, 51, 100, 7]));
                header.calc_checksum_ipv4(&ip, tcp.payload()).unwrap()
            }
            etherparse::NetSlice::Ipv6(ip) => {
                let ip = ip.header().to_header();
                assert_eq!((ip.source, ip.destination), ([0x21; 16], [0x20; 16]));
                header.calc_checksum_ipv6(&ip, tcp.payload()).unwrap()
            }
            _ => panic!("not IP"),
        };
        assert_eq!(checksum, header.checksum);
        assert!(header.rst && !header.syn && tcp.payload().is_empty());
        assert_eq!((header.source_port, header.destination_port), (443, 40000));
        assert_eq!((&frame[..6], &frame[6..12]), (&[1; 6][..], &[2; 6][..]));
        (header.sequence_number, header.acknowledgment_number, header.ack)
    }

    #[test]
    fn a_syn_is_answered_by_reset_and_acknowledgement() {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([198, 51, 100, 7], [192, 0, 2, 10], 9);
        let options = [etherparse::TcpOptionElement::MaximumSegmentSize(1460)];
        builder
            .tcp(40000, 443, 0xffff_ffff, 1024)
            .syn()
            .options(&options)
            .unwrap()
            .write(&mut frame, &[])
            .unwrap();
        assert_eq!(reset(&answered::<V4>(frame)), (0, 0, true), "0xffffffff and the SYN wrap to 0");
    }

    #[test]
    fn data_is_answered_at_the_sequence_number_it_acknowledges() {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6([0x20; 16], [0x21; 16], 9);
        builder.tcp(40000, 443, 5, 1024).ack(77).write(&mut frame, b"data").unwrap();
        assert_eq!(reset(&answered::<V6>(frame)), (77, 0, false));
    }
}
