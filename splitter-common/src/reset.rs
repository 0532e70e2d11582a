//! A TCP reset in answer to a segment that no backend can take (RFC 9293, 3.10.7.1).
//!
//! Built in place: the frame keeps its length, the IP length ends the packet, what follows is padding that
//! every receiver ignores.

use core::mem::offset_of;

use network_types::{ip::IpProto, tcp::TcpHdr};

use crate::{
    checksum,
    packet::Packet,
    parse::Headers,
    rewrite::{NewHeader, Rewrite},
};

const TCP: u8 = IpProto::Tcp as u8;
/// Data offset of 5 words, RST.
const RST: u16 = 0x5004;
/// Data offset of 5 words, RST and ACK.
const RST_ACK: u16 = 0x5014;

/// Turns the segment in `packet` into the reset that answers it; it goes back to where it came from.
///
/// A call of its own: the paths that call it should not pay for registers they do not use.
#[inline(never)]
pub fn answer<F: Rewrite, P: Packet + ?Sized>(packet: &mut P, headers: &Headers<F::Address>) -> Option<()> {
    let (network, at) = (&headers.network, headers.network.payload_at);
    let sequence = u32::from_be_bytes(packet.load::<4>(at + offset_of!(TcpHdr, seq))?);
    let acknowledged = u32::from_be_bytes(packet.load::<4>(at + offset_of!(TcpHdr, ack_seq))?);
    let [offset, flags] = packet.load::<2>(at + OFFSET_AND_FLAGS)?;
    let (sequence, acknowledged, word) = if flags & 0x10 != 0 {
        (acknowledged, 0, RST)
    } else {
        (0, sequence.wrapping_add(occupied(network.payload(), offset, flags)), RST_ACK)
    };
    let (sender, receiver) = (F::addr(&network.source), F::addr(&network.destination));
    turn_around(packet)?;
    F::write_header(packet, network.at, &NewHeader::answer(&receiver, &sender, TCP, TcpHdr::LEN))?;
    let ports = [headers.destination_port, headers.source_port];
    let pseudo = sender.sum() + receiver.sum() + u32::from(TCP) + TcpHdr::LEN as u32;
    segment(packet, network.at + F::LEN, ports, [sequence, acknowledged], word, pseudo)
}

const OFFSET_AND_FLAGS: usize = offset_of!(TcpHdr, ack_seq) + 4;

/// Writes the TCP header at `at`; `pseudo` is the sum of the pseudo-header's words.
#[inline(always)]
fn segment<P: Packet + ?Sized>(
    packet: &mut P,
    at: usize,
    [source, destination]: [[u8; 2]; 2],
    [sequence, acknowledged]: [u32; 2],
    word: u16,
    pseudo: u32,
) -> Option<()> {
    let ports = u32::from(u16::from_be_bytes(source)) + u32::from(u16::from_be_bytes(destination));
    let sum = pseudo + ports + halves(sequence) + halves(acknowledged) + u32::from(word);
    let ([c0, c1], [w0, w1]) = (checksum::of_sum(sum), word.to_be_bytes());
    packet.store(at + offset_of!(TcpHdr, check), [c0, c1, 0, 0])?;
    packet.store(at, source)?;
    packet.store(at + offset_of!(TcpHdr, dest), destination)?;
    packet.store(at + offset_of!(TcpHdr, seq), sequence.to_be_bytes())?;
    packet.store(at + offset_of!(TcpHdr, ack_seq), acknowledged.to_be_bytes())?;
    packet.store(at + OFFSET_AND_FLAGS, [w0, w1, 0, 0])
}

/// Exchanges the Ethernet addresses.
#[inline(always)]
pub fn turn_around<P: Packet + ?Sized>(packet: &mut P) -> Option<()> {
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
    use crate::parse::{V4, V6, bare};

    fn answered<F: Rewrite>(mut frame: Vec<u8>) -> Vec<u8> {
        let parsed = bare::<F, _>(&frame[..]).unwrap();
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
