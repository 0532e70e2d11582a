//! Frames from fields, by a library that knows nothing of ours.

mod headers;

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, SingleVlanHeader, VlanId,
};
use serde::Deserialize;
use toml::Table;

use self::headers::{complaint, echo};

/// A packet by its fields.
#[derive(Debug, Deserialize)]
pub struct Packet {
    eth: Ethernet,
    /// An 802.1Q tag.
    vlan: Option<u16>,
    /// An 802.1ad tag in front of it.
    outer_vlan: Option<u16>,
    /// The packet that this one is inside of.
    tunnel: Option<Tunnel>,
    #[serde(flatten)]
    ip: Ip,
    /// Zeros behind the packet, as Ethernet's least length asks for.
    #[serde(default)]
    padding: usize,
    /// Bytes that are overwritten in the end, for headers that lie.
    #[serde(default)]
    patch: Vec<Patch>,
    /// Length at which the frame is cut off.
    cut: Option<usize>,
}

/// An IP packet by its fields.
#[derive(Debug, Deserialize)]
pub struct Ip {
    ipv4: Option<V4>,
    ipv6: Option<V6>,
    tcp: Option<Tcp>,
    udp: Option<Udp>,
    /// An echo request with this identifier.
    echo: Option<u16>,
    /// An echo reply with this identifier.
    echo_reply: Option<u16>,
    /// An ICMP error.
    error: Option<Complaint>,
    /// What the innermost header carries.
    #[serde(default)]
    payload: String,
    /// So often.
    #[serde(default = "once")]
    repeat: usize,
    /// The packet is cut into fragments, and this is one of them.
    fragment: Option<Fragment>,
}

/// The outer header of a tunnel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tunnel {
    ipv4: Option<V4>,
    ipv6: Option<V6>,
}

/// An ICMP error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complaint {
    kind: u8,
    code: u8,
    /// What follows the checksum: four bytes, hexadecimal.
    #[serde(default = "no_rest")]
    rest: String,
    /// The packet that it is about.
    quote: Box<Ip>,
    /// How much of it is quoted.
    bytes: Option<usize>,
}

/// Which of the payload's bytes, transport header included, are in this fragment.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    id: u32,
    from: usize,
    to: usize,
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
    /// Headers of 8 bytes between this one and the transport's: their numbers.
    #[serde(default)]
    extensions: Vec<u8>,
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

const fn once() -> usize {
    1
}

fn no_rest() -> String {
    "00000000".into()
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
    V6(Ipv6Header, Vec<u8>),
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
        let inner = self.ip.bytes()?;
        let (carried, family) = match &self.tunnel {
            Some(tunnel) => tunnel.around(&inner, self.ip.ipv4.is_some())?,
            None => (inner, self.ip.family()),
        };
        let mut frame = self.link(family)?;
        frame.extend(carried);
        frame.extend(std::iter::repeat_n(0, self.padding));
        for patch in &self.patch {
            let bytes = hex(&patch.bytes)?;
            let place = frame.get_mut(patch.at..patch.at + bytes.len());
            place.context("the frame ends before the patch")?.copy_from_slice(&bytes);
        }
        frame.truncate(self.cut.unwrap_or(frame.len()));
        Ok(frame)
    }

    fn link(&self, family: Option<EtherType>) -> Result<Vec<u8>> {
        let carried = self.eth.other.map(EtherType).or(family);
        let mut carried = carried.context("neither `ipv4` nor `ipv6` nor `eth.other`")?;
        let mut tags = Vec::new();
        let found =
            [(self.vlan, EtherType::VLAN_TAGGED_FRAME), (self.outer_vlan, EtherType::PROVIDER_BRIDGING)];
        for (id, ether_type) in found.into_iter().filter_map(|(id, kind)| Some((id?, kind))) {
            let tag =
                SingleVlanHeader { vlan_id: VlanId::try_new(id)?, ether_type: carried, ..Default::default() };
            tags.splice(..0, tag.to_bytes());
            carried = ether_type;
        }
        let (source, destination) = (mac(&self.eth.source)?, mac(&self.eth.destination)?);
        let header = Ethernet2Header { source, destination, ether_type: carried }.to_bytes();
        Ok([&header[..], &tags].concat())
    }
}

impl Tunnel {
    /// The outer packet, and its family.
    fn around(&self, inner: &[u8], inner_is_v4: bool) -> Result<(Vec<u8>, Option<EtherType>)> {
        let carried = IpNumber(if inner_is_v4 { 4 } else { 41 });
        match (&self.ipv4, &self.ipv6) {
            (Some(v4), None) => {
                let header = Network::V4(v4.header(carried)?).finish(inner.len(), None)?;
                Ok(([&header[..], inner].concat(), Some(EtherType::IPV4)))
            }
            (None, Some(v6)) => {
                let header = Network::V6(v6.header(carried)?, Vec::new()).finish(inner.len(), None)?;
                Ok(([&header[..], inner].concat(), Some(EtherType::IPV6)))
            }
            _ => bail!("a tunnel has either `ipv4` or `ipv6`"),
        }
    }
}

impl Ip {
    const fn family(&self) -> Option<EtherType> {
        match (&self.ipv4, &self.ipv6) {
            (Some(_), _) => Some(EtherType::IPV4),
            (None, Some(_)) => Some(EtherType::IPV6),
            (None, None) => None,
        }
    }

    /// The packet, or the fragment of it that is asked for.
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut network = self.network()?;
        let transport = self.transport(&network)?;
        let Some(cut) = self.fragment else {
            return Ok([network.finish(transport.len(), None)?, transport].concat());
        };
        let piece = transport.get(cut.from..cut.to).context("the packet ends before the fragment")?;
        let more = cut.to < transport.len();
        Ok([&network.finish(piece.len(), Some((cut, more)))?, piece].concat())
    }

    fn network(&self) -> Result<Network> {
        match (&self.ipv4, &self.ipv6) {
            (Some(_), Some(_)) => bail!("both `ipv4` and `ipv6`"),
            (Some(v4), None) => Ok(Network::V4(v4.header(self.protocol(IpNumber::ICMP))?)),
            (None, Some(v6)) => {
                Ok(Network::V6(v6.header(self.protocol(IpNumber::IPV6_ICMP))?, v6.extensions.clone()))
            }
            (None, None) => Ok(Network::None),
        }
    }

    fn protocol(&self, icmp: IpNumber) -> IpNumber {
        match (&self.tcp, &self.udp, self.is_icmp()) {
            (Some(_), ..) => IpNumber::TCP,
            (_, Some(_), _) => IpNumber::UDP,
            (.., true) => icmp,
            // As in a later fragment: what it belongs to.
            _ => IpNumber::UDP,
        }
    }

    const fn is_icmp(&self) -> bool {
        self.echo.is_some() || self.echo_reply.is_some() || self.error.is_some()
    }

    /// Transport header and payload.
    fn transport(&self, network: &Network) -> Result<Vec<u8>> {
        let payload = self.payload.as_bytes().repeat(self.repeat);
        let headers = [
            self.tcp.as_ref().map(|tcp| tcp.header(network, &payload)),
            self.udp.as_ref().map(|udp| udp.header(network, &payload)),
            self.echo.map(|id| echo(id, true, network, &payload)),
            self.echo_reply.map(|id| echo(id, false, network, &payload)),
            self.error.as_ref().map(|error| error.message(network)),
        ];
        let mut bytes = Vec::new();
        for header in headers.into_iter().flatten() {
            if !bytes.is_empty() {
                bail!("more than one of `tcp`, `udp`, `echo`, `echo_reply` and `error`");
            }
            bytes = header?;
        }
        bytes.extend(payload);
        Ok(bytes)
    }
}

impl Complaint {
    /// Header and quoted packet.
    fn message(&self, network: &Network) -> Result<Vec<u8>> {
        let mut quote = self.quote.bytes().context("quote")?;
        quote.truncate(self.bytes.unwrap_or(quote.len()));
        complaint([self.kind, self.code], &hex(&self.rest)?, network, &quote)
    }
}

impl Network {
    /// The header, now that it is known how much it carries, and whether that is a fragment with more to come.
    fn finish(&mut self, payload: usize, fragment: Option<(Fragment, bool)>) -> Result<Vec<u8>> {
        match self {
            Self::V4(header) => {
                if let Some((fragment, more)) = fragment {
                    header.identification = fragment.id.try_into()?;
                    header.fragment_offset = IpFragOffset::try_new(u16::try_from(fragment.from / 8)?)?;
                    header.more_fragments = more;
                }
                header.set_payload_len(payload)?;
                header.header_checksum = header.calc_header_checksum();
                Ok(header.to_bytes().to_vec())
            }
            Self::V6(header, extensions) => {
                let mut chain = Vec::new();
                let mut next = header.next_header.0;
                if let Some((fragment, more)) = fragment {
                    let word = u16::try_from(fragment.from)? | u16::from(more);
                    let own = [&[next, 0][..], &word.to_be_bytes(), &fragment.id.to_be_bytes()].concat();
                    chain.splice(..0, own);
                    next = 44;
                }
                for number in extensions.iter().rev() {
                    chain.splice(..0, [next, 0, 1, 4, 0, 0, 0, 0]);
                    next = *number;
                }
                header.next_header = IpNumber(next);
                header.set_payload_length(payload + chain.len())?;
                Ok([&header.to_bytes()[..], &chain].concat())
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
