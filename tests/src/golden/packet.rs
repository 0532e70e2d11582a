//! Frames from fields, by a library that knows nothing of ours.

mod headers;

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, SingleVlanHeader, VlanId};
use serde::Deserialize;
use toml::Table;

use self::headers::echo;

/// A packet by its fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    eth: Ethernet,
    vlan: Option<u16>,
    ipv4: Option<V4>,
    ipv6: Option<V6>,
    tcp: Option<Tcp>,
    udp: Option<Udp>,
    /// An echo request with this identifier.
    echo: Option<u16>,
    /// What the innermost header carries.
    #[serde(default)]
    payload: String,
    /// Zeros behind the packet, as Ethernet's least length asks for.
    #[serde(default)]
    padding: usize,
    /// Bytes that are overwritten in the end, for headers that lie.
    #[serde(default)]
    patch: Vec<Patch>,
    /// Length at which the frame is cut off.
    cut: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ethernet {
    source: String,
    destination: String,
    /// For a frame that carries something else: its EtherType.
    other: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct V4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    #[serde(default = "default_ttl")]
    ttl: u8,
    #[serde(default)]
    tos: u8,
    #[serde(default)]
    id: u16,
    #[serde(default)]
    dont_fragment: bool,
    #[serde(default)]
    more_fragments: bool,
    /// In units of 8 bytes.
    #[serde(default)]
    fragment_offset: u16,
    /// Hexadecimal.
    #[serde(default)]
    options: String,
    /// Of a payload that is neither TCP, UDP nor ICMP.
    protocol: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct V6 {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    #[serde(default = "default_ttl")]
    hop_limit: u8,
    #[serde(default)]
    traffic_class: u8,
    #[serde(default)]
    flow_label: u32,
    /// A header of 8 bytes between this one and the transport's: its number.
    extension: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcp {
    source: u16,
    destination: u16,
    /// Of the letters F, S, R, P, A, U, E and C.
    flags: String,
    #[serde(default)]
    seq: u32,
    #[serde(default)]
    ack: u32,
    #[serde(default = "default_window")]
    window: u16,
    /// Hexadecimal.
    #[serde(default)]
    options: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Udp {
    source: u16,
    destination: u16,
    /// Instead of the right one.
    checksum: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    at: usize,
    /// Hexadecimal.
    bytes: String,
}

const fn default_ttl() -> u8 {
    64
}

const fn default_window() -> u16 {
    64_240
}

/// The network header, which a transport header's checksum covers.
enum Network {
    V4(Ipv4Header),
    V6(Ipv6Header, Option<u8>),
    None,
}

impl Packet {
    /// From its description.
    ///
    /// # Errors
    /// A field is missing, or unknown.
    pub fn from_table(table: Table) -> Result<Self> {
        Ok(table.try_into()?)
    }

    /// The frame.
    ///
    /// # Errors
    /// The fields contradict each other, or are out of range.
    pub fn frame(&self) -> Result<Vec<u8>> {
        let mut network = self.network()?;
        let transport = self.transport(&network)?;
        let mut frame = self.link(&network)?;
        frame.extend(network.finish(&transport)?);
        frame.extend(transport);
        frame.extend(std::iter::repeat_n(0, self.padding));
        for patch in &self.patch {
            let bytes = hex(&patch.bytes)?;
            let place = frame.get_mut(patch.at..patch.at + bytes.len());
            place.context("the frame ends before the patch")?.copy_from_slice(&bytes);
        }
        frame.truncate(self.cut.unwrap_or(frame.len()));
        Ok(frame)
    }

    fn link(&self, network: &Network) -> Result<Vec<u8>> {
        let inner = match (network, self.eth.other) {
            (_, Some(other)) => EtherType(other),
            (Network::V4(_), None) => EtherType::IPV4,
            (Network::V6(..), None) => EtherType::IPV6,
            (Network::None, None) => bail!("neither `ipv4` nor `ipv6` nor `eth.other`"),
        };
        let ether_type = if self.vlan.is_some() { EtherType::VLAN_TAGGED_FRAME } else { inner };
        let (source, destination) = (mac(&self.eth.source)?, mac(&self.eth.destination)?);
        let mut bytes = Ethernet2Header { source, destination, ether_type }.to_bytes().to_vec();
        if let Some(id) = self.vlan {
            let tag =
                SingleVlanHeader { vlan_id: VlanId::try_new(id)?, ether_type: inner, ..Default::default() };
            bytes.extend(tag.to_bytes());
        }
        Ok(bytes)
    }

    fn network(&self) -> Result<Network> {
        match (&self.ipv4, &self.ipv6) {
            (Some(_), Some(_)) => bail!("both `ipv4` and `ipv6`"),
            (Some(v4), None) => Ok(Network::V4(v4.header(self.protocol(IpNumber::ICMP))?)),
            (None, Some(v6)) => Ok(Network::V6(v6.header(self.protocol(IpNumber::IPV6_ICMP))?, v6.extension)),
            (None, None) => Ok(Network::None),
        }
    }

    fn protocol(&self, icmp: IpNumber) -> IpNumber {
        match (&self.tcp, &self.udp, &self.echo) {
            (Some(_), ..) => IpNumber::TCP,
            (_, Some(_), _) => IpNumber::UDP,
            (.., Some(_)) => icmp,
            // As in a later fragment: what it belongs to.
            _ => IpNumber::UDP,
        }
    }

    /// Transport header and payload.
    fn transport(&self, network: &Network) -> Result<Vec<u8>> {
        let payload = self.payload.as_bytes();
        let mut bytes = match (&self.tcp, &self.udp, self.echo) {
            (Some(tcp), None, None) => tcp.header(network, payload)?,
            (None, Some(udp), None) => udp.header(network, payload)?,
            (None, None, Some(id)) => echo(id, network, payload)?,
            (None, None, None) => Vec::new(),
            _ => bail!("more than one of `tcp`, `udp` and `echo`"),
        };
        bytes.extend(payload);
        Ok(bytes)
    }
}

impl Network {
    /// The header, now that it is known what it carries.
    fn finish(&mut self, transport: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::V4(header) => {
                header.set_payload_len(transport.len())?;
                header.header_checksum = header.calc_header_checksum();
                Ok(header.to_bytes().to_vec())
            }
            Self::V6(header, None) => {
                header.set_payload_length(transport.len())?;
                Ok(header.to_bytes().to_vec())
            }
            Self::V6(header, Some(number)) => {
                header.set_payload_length(transport.len() + 8)?;
                let inner = std::mem::replace(&mut header.next_header, IpNumber(*number));
                let extension = [inner.0, 0, 1, 4, 0, 0, 0, 0];
                Ok([&header.to_bytes()[..], &extension[..]].concat())
            }
            Self::None => Ok(Vec::new()),
        }
    }
}

/// An Ethernet address as text.
pub fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes = hex(&text.replace(':', ""))?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{text} is no Ethernet address"))
}

fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.chunks(2).map(pair).collect::<Result<_>>().with_context(|| format!("`{text}` is not hexadecimal"))
}
