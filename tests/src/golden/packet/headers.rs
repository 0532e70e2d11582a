//! One header each.

use anyhow::{Result, bail};
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};

use super::{Network, Tcp, Udp, V4, V6, hex};

impl V4 {
    pub(super) fn header(&self, protocol: IpNumber) -> Result<Ipv4Header> {
        let protocol = self.protocol.map_or(protocol, IpNumber);
        let mut header =
            Ipv4Header::new(0, self.ttl, protocol, self.source.octets(), self.destination.octets())?;
        header.dscp = (self.tos >> 2).try_into()?;
        header.ecn = (self.tos & 3).try_into()?;
        header.identification = self.id;
        header.dont_fragment = self.dont_fragment;
        header.more_fragments = self.more_fragments;
        header.fragment_offset = IpFragOffset::try_new(self.fragment_offset)?;
        header.options = Ipv4Options::try_from(&hex(&self.options)?[..])?;
        Ok(header)
    }
}

impl V6 {
    pub(super) fn header(&self, next_header: IpNumber) -> Result<Ipv6Header> {
        Ok(Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: self.flow_label.try_into()?,
            payload_length: 0,
            next_header,
            hop_limit: self.hop_limit,
            source: self.source.octets(),
            destination: self.destination.octets(),
        })
    }
}

impl Tcp {
    pub(super) fn header(&self, network: &Network, payload: &[u8]) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(self.source, self.destination, self.seq, self.window);
        header.acknowledgment_number = self.ack;
        for letter in self.flags.chars() {
            *flag(&mut header, letter)? = true;
        }
        header.set_options_raw(&hex(&self.options)?)?;
        header.checksum = match network {
            Network::V4(ip) => header.calc_checksum_ipv4(ip, payload)?,
            Network::V6(ip, _) => header.calc_checksum_ipv6(ip, payload)?,
            Network::None => bail!("TCP without IP"),
        };
        Ok(header.to_bytes().to_vec())
    }
}

fn flag(header: &mut TcpHeader, letter: char) -> Result<&mut bool> {
    Ok(match letter {
        'F' => &mut header.fin,
        'S' => &mut header.syn,
        'R' => &mut header.rst,
        'P' => &mut header.psh,
        'A' => &mut header.ack,
        'U' => &mut header.urg,
        'E' => &mut header.ece,
        'C' => &mut header.cwr,
        _ => bail!("no TCP flag has the letter {letter}"),
    })
}

impl Udp {
    pub(super) fn header(&self, network: &Network, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = (self.source, self.destination);
        let mut header = match network {
            Network::V4(ip) => UdpHeader::with_ipv4_checksum(source, destination, ip, payload)?,
            Network::V6(ip, _) => UdpHeader::with_ipv6_checksum(source, destination, ip, payload)?,
            Network::None => bail!("UDP without IP"),
        };
        header.checksum = self.checksum.unwrap_or(header.checksum);
        Ok(header.to_bytes().to_vec())
    }
}

/// The header of an echo request or reply.
pub(super) fn echo(id: u16, request: bool, network: &Network, payload: &[u8]) -> Result<Vec<u8>> {
    let echo = IcmpEchoHeader { id, seq: 1 };
    let v4 = if request { Icmpv4Type::EchoRequest } else { Icmpv4Type::EchoReply };
    let v6 = if request { Icmpv6Type::EchoRequest } else { Icmpv6Type::EchoReply };
    Ok(match network {
        Network::V4(_) => Icmpv4Header::with_checksum(v4(echo), payload).to_bytes().to_vec(),
        Network::V6(ip, _) => {
            Icmpv6Header::with_checksum(v6(echo), ip.source, ip.destination, payload)?.to_bytes().to_vec()
        }
        Network::None => bail!("ICMP without IP"),
    })
}

/// An ICMP error about a packet.
pub(super) fn complaint(
    [type_u8, code_u8]: [u8; 2],
    rest: &[u8],
    network: &Network,
    quote: &[u8],
) -> Result<Vec<u8>> {
    let bytes5to8 = rest.try_into()?;
    let header = match network {
        Network::V4(_) => {
            let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 };
            Icmpv4Header::with_checksum(kind, quote).to_bytes().to_vec()
        }
        Network::V6(ip, _) => {
            let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
            Icmpv6Header::with_checksum(kind, ip.source, ip.destination, quote)?.to_bytes().to_vec()
        }
        Network::None => bail!("ICMP without IP"),
    };
    Ok([&header, quote].concat())
}
