//! The packets: smallest frames of each kind, and where the wrapper puts the flow.

use splitter_common::bench::{FRAME, Workload};

/// A kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's TCP data, IPv4.
    TcpV4,
    /// A client's TCP data, IPv6.
    TcpV6,
    /// A client's datagram, IPv4.
    UdpV4,
    /// A backend's TCP data, IPv4.
    ReplyV4,
    /// For none of the services.
    Stranger,
}

/// First client address, 10.128.0.0, and the last word of fd00:c::a80:0.
const CLIENT: [u8; 4] = [10, 128, 0, 0];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::TcpV4, Self::TcpV6, Self::UdpV4, Self::ReplyV4, Self::Stranger];

    /// Name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpV4 => "dnat-ipv4-tcp",
            Self::TcpV6 => "dnat-ipv6-tcp",
            Self::UdpV4 => "dnat-ipv4-udp",
            Self::ReplyV4 => "dnat-ipv4-tcp-reply",
            Self::Stranger => "not-for-us",
        }
    }

    /// What the wrapper writes.
    pub fn frame(self) -> Workload {
        let bytes = match self {
            Self::TcpV4 => ipv4(6, CLIENT, [192, 0, 2, 10], [[0, 1], [1, 187]]),
            Self::UdpV4 => ipv4(17, CLIENT, [192, 0, 2, 10], [[0, 1], [1, 187]]),
            Self::ReplyV4 => ipv4(6, [10, 0, 1, 11], CLIENT, [[0x20, 0xfb], [0, 1]]),
            Self::Stranger => ipv4(6, CLIENT, [203, 0, 113, 1], [[0, 1], [1, 187]]),
            Self::TcpV6 => ipv6(),
        };
        let (address_at, port_at) = match self {
            Self::TcpV6 => (34, 54),
            Self::ReplyV4 => (30, 36),
            _ => (26, 34),
        };
        let (words, _) = bytes.as_chunks::<8>();
        let mut template = [0; FRAME / 8];
        template.iter_mut().zip(words).for_each(|(word, bytes)| *word = u64::from_ne_bytes(*bytes));
        Workload {
            template,
            state: 1,
            flow_mask: 0,
            first_address: u32::from_ne_bytes(CLIENT),
            address_at,
            port_at,
        }
    }
}

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], ports: [[u8; 2]; 2]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, (FRAME - 14) as u8, 0, 1, 0x40, 0, 64, protocol]);
    frame[26..30].copy_from_slice(&source);
    frame[30..34].copy_from_slice(&destination);
    transport(&mut frame[34..], protocol, ports);
    frame
}

fn ipv6() -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, (FRAME - 54) as u8, 6, 64]);
    frame[22..26].copy_from_slice(&[0xfd, 0, 0, 0x0c]);
    frame[34..38].copy_from_slice(&CLIENT);
    frame[38..54].copy_from_slice(&setting_address());
    transport(&mut frame[54..], 6, [[0, 1], [1, 187]]);
    frame
}

/// The IPv6 service's address, 2001:db8:10::10.
fn setting_address() -> [u8; 16] {
    "2001:db8:10::10".parse::<std::net::Ipv6Addr>().expect("a literal").octets()
}

/// Ports, and for TCP an ACK; the checksum is any but 0.
fn transport(header: &mut [u8], protocol: u8, [source, destination]: [[u8; 2]; 2]) {
    header[..2].copy_from_slice(&source);
    header[2..4].copy_from_slice(&destination);
    if protocol == 6 {
        header[12..14].copy_from_slice(&[0x50, 0x10]);
        header[16..18].copy_from_slice(&[0x12, 0x34]);
    } else {
        header[4..8].copy_from_slice(&[0, (FRAME - 34) as u8, 0x12, 0x34]);
    }
}
