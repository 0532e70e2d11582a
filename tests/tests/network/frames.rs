//! Frames of the client's that its kernel would not send.

use std::net::IpAddr;

use anyhow::Result;
use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, PacketBuilderStep};
use splitter_tests::lab::{
    ServicePlan,
    addresses::{CLIENT, LB_FRONT},
};

/// Bytes of an Ethernet header, and where tags stand in it.
pub const ETHERNET: usize = 14;
const TAGS_AT: usize = 12;

/// An echo request to a service's address.
pub fn echo_request(plan: &ServicePlan) -> Result<Vec<u8>> {
    let (builder, mut frame) = (to(plan.address), Vec::new());
    match plan.address {
        IpAddr::V4(_) => builder.icmpv4_echo_request(7, 1).write(&mut frame, b"tagged")?,
        IpAddr::V6(_) => builder.icmpv6_echo_request(7, 1).write(&mut frame, b"tagged")?,
    }
    Ok(frame)
}

/// The first segment of a connection to a service.
pub fn syn(plan: &ServicePlan) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    to(plan.address).tcp(40_000, plan.port, 1, 1000).syn().write(&mut frame, &[])?;
    Ok(frame)
}

/// A datagram of any size from the client's `port`.
pub fn datagram(plan: &ServicePlan, port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    to(plan.address).udp(port, plan.port).write(&mut frame, payload)?;
    Ok(frame)
}

/// The frame with tags, the outer one first.
pub fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..TAGS_AT], &tags.concat(), &frame[TAGS_AT..]].concat()
}

fn to(address: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let headers = match address {
        IpAddr::V4(address) => {
            let header = Ipv4Header::new(0, 64, IpNumber::UDP, CLIENT.ipv4.octets(), address.octets());
            IpHeaders::Ipv4(header.expect("no payload is not too long"), Default::default())
        }
        IpAddr::V6(address) => {
            let (source, destination) = (CLIENT.ipv6.octets(), address.octets());
            let header = Ipv6Header { hop_limit: 64, source, destination, ..Default::default() };
            IpHeaders::Ipv6(header, Default::default())
        }
    };
    PacketBuilder::ethernet2(CLIENT.mac, LB_FRONT.mac).ip(headers)
}

/// Cuts the packet in the frame into fragments with so many bytes of it each, a multiple of eight; in their order.
pub fn fragments(frame: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let header = if frame[TAGS_AT..ETHERNET] == [8, 0] { 20 } else { 40 };
    let (headers, payload) = frame.split_at(ETHERNET + header);
    let pieces: Vec<_> = payload.chunks(size).enumerate().collect();
    let last = pieces.len() - 1;
    let fragment = |(number, piece): (usize, &[u8])| {
        let (eighths, more) = ((number * size / 8) as u16, number < last);
        match header {
            20 => fragment4(headers, piece, (eighths, more), id),
            _ => fragment6(headers, piece, (eighths, more), id),
        }
    };
    pieces.into_iter().map(fragment).collect()
}

fn fragment4(headers: &[u8], piece: &[u8], (eighths, more): (u16, bool), id: u16) -> Vec<u8> {
    let (mut header, _) = Ipv4Header::from_slice(&headers[ETHERNET..]).expect("it was built as one");
    header.identification = id;
    header.dont_fragment = false;
    header.more_fragments = more;
    header.fragment_offset = eighths.try_into().expect("no datagram is that long");
    header.set_payload_len(piece.len()).expect("a piece is short");
    header.header_checksum = header.calc_header_checksum();
    [&headers[..ETHERNET], &header.to_bytes(), piece].concat()
}

fn fragment6(headers: &[u8], piece: &[u8], (eighths, more): (u16, bool), id: u16) -> Vec<u8> {
    let (mut header, _) = Ipv6Header::from_slice(&headers[ETHERNET..]).expect("it was built as one");
    let [a, b] = (eighths << 3 | u16::from(more)).to_be_bytes();
    let [c, d] = id.to_be_bytes();
    let extension = [header.next_header.0, 0, a, b, 0, 0, c, d];
    header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
    header.payload_length = (extension.len() + piece.len()) as u16;
    [&headers[..ETHERNET], &header.to_bytes(), &extension, piece].concat()
}
