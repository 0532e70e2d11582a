//! The packets that `splitter explain` asks about.

use std::net::{IpAddr, SocketAddr};

use splitter_common::{
    net::{Addr, Transport},
    packet::Packet as _,
    parse::{NETWORK, V4, V6},
    rewrite::{NewHeader, Rewrite},
};

/// A client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It begins a connection.
    Opens,
    /// It belongs to one that lives.
    Goes,
}

/// Bytes of a TCP header; a UDP datagram is made as long.
const TRANSPORT: usize = 20;

/// The packet's frame. Checksums of the transport header are left out: nobody receives it.
pub fn frame(probe: Probe, transport: Transport, client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let (source, destination) = (Addr::from(client.ip()), Addr::from(listener.ip()));
    let header = NewHeader::answer(&source, &destination, transport as u8, TRANSPORT);
    let mut frame = vec![0; NETWORK];
    match client.ip() {
        IpAddr::V4(_) => network::<V4>(&mut frame, &header),
        IpAddr::V6(_) => network::<V6>(&mut frame, &header),
    }
    frame.extend(client.port().to_be_bytes());
    frame.extend(listener.port().to_be_bytes());
    frame.extend(match (transport, probe) {
        (Transport::Udp, _) => [0, TRANSPORT as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        (Transport::Tcp, Probe::Opens) => [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0],
        (Transport::Tcp, Probe::Goes) => [0, 0, 0, 2, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0],
    });
    frame
}

fn network<F: Rewrite>(frame: &mut Vec<u8>, header: &NewHeader<'_>) {
    frame.resize(NETWORK + F::LEN, 0);
    let ether_type_at = NETWORK - F::ETHER_TYPE.len();
    let written = frame
        .store(ether_type_at, F::ETHER_TYPE)
        .and_then(|()| F::write_header(frame.as_mut_slice(), NETWORK, header));
    written.expect("the frame has just been made long enough");
}
