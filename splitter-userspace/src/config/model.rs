//! A configuration that has been checked: every value in it is usable as it stands.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The `[daemon]` table.
    pub daemon: Daemon,
    /// Every `[[service]]`, in the file's order; names and endpoints are unique.
    pub services: Vec<Service>,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// Interfaces that XDP is attached to; at least one.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// Path of the API's unix socket.
    pub socket: PathBuf,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Where maps and programs are pinned.
    pub pin_dir: PathBuf,
    /// Keys the connection hash; the same on every host of a fleet. Never empty.
    pub hash_seed: String,
    /// Services, previews and pools that routes lead to: as many as the maps have room for, together (default 64,
    /// at most 4096).
    pub max_services: u32,
    /// Backends the maps have room for, all services together (default 4096, at most 65,000).
    pub max_backends: u32,
    /// Entries of the flow table (default 1,048,576).
    pub flow_table: u32,
    /// Entries of the embryonic table (default 262,144).
    pub embryonic_table: u32,
    /// Packets in fragments that are remembered (default 16,384).
    pub fragment_table: u32,
    /// Connections of preview listeners that are remembered (default 65,536).
    pub preview_table: u32,
    /// Ports of this host that mode `snat` gives to connections (default 1024 to 32,767).
    pub snat_ports: RangeInclusive<u16>,
    /// Source prefixes that talk to backends without the service: their traffic is not taken for replies.
    pub direct: Vec<Prefix>,
}

impl Daemon {
    /// Where the API listens unless told otherwise.
    pub const SOCKET: &'static str = "/run/splitter/splitter.sock";
    /// Where state is kept unless told otherwise.
    pub const STATE_DIR: &'static str = "/var/lib/splitter";
    /// Where maps and programs are pinned unless told otherwise.
    pub const PIN_DIR: &'static str = "/sys/fs/bpf/splitter";
}

/// `xdp_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's receive path, for any driver.
    Generic,
}

/// An address prefix, host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Network address.
    pub address: IpAddr,
    /// Prefix length in bits, 0 to 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && network_of(address, self.length) == Some(self.address)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(address, length)| {
            Some((address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?))
        });
        let (address, length) =
            parts.ok_or_else(|| format!("`{text}` is not a prefix: write it like 10.9.0.0/16"))?;
        let network = network_of(address, length)
            .ok_or_else(|| format!("`{text}` is longer than its address: use at most {}", bits(address)))?;
        if network != address {
            return Err(format!("`{text}` has host bits set: write {network}/{length}"));
        }
        Ok(Self { address, length })
    }
}

/// Length of an address in bits.
const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with its host bits cleared; `None` for a length beyond the address.
fn network_of(address: IpAddr, length: u8) -> Option<IpAddr> {
    let host_bits = u32::from(bits(address).checked_sub(length)?);
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into(),
    })
}

/// One `[[service]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Virtual address.
    pub address: IpAddr,
    /// Virtual port, not 0.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// How packets reach the backend.
    pub mode: ForwardMode,
    /// What the connection hash covers.
    pub affinity: Affinity,
    /// A connection silent for longer than this may be moved by a shift (TCP; default 15 min).
    pub idle_timeout: Duration,
    /// The same for UDP flows, and the length of their DIRTY phase (default 30 s; 0: none).
    pub udp_idle_timeout: Duration,
    /// What a connection gets when its pool has no backend.
    pub no_backend: NoBackend,
    /// `blue` or `green`.
    pub stable: PoolName,
    /// Weights add up to 100 %.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Active check of every backend, if one is wanted.
    pub health: Option<HealthCheck>,
    /// Clients that always get one pool, by their source prefix; no prefix twice.
    pub routes: Vec<RouteRule>,
    /// Further endpoints that always reach one pool.
    pub previews: Vec<Preview>,
}

/// One `[[service.route]]`: clients that always get one pool. The longest prefix wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Clients' prefix, of the service's family.
    pub source: Prefix,
    /// Their pool.
    pub pool: PoolName,
}

/// One `[[service.preview]]`: an endpoint that always reaches one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Its address (default: the service's).
    pub address: IpAddr,
    /// Its port, not 0.
    pub port: u16,
    /// Its pool.
    pub pool: PoolName,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both, on one port.
    #[serde(rename = "tcp+udp")]
    Both,
}

impl Protocol {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "tcp+udp",
        }
    }

    /// TCP is among it.
    pub const fn has_tcp(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// UDP is among it.
    pub const fn has_udp(self) -> bool {
        !matches!(self, Self::Tcp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Forwarding mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardMode {
    /// Rewrite the destination; replies come back through this host.
    #[default]
    Dnat,
    /// Rewrite the source too: replies come back to this host's address.
    Snat,
    /// Rewrite the Ethernet destination alone: replies go straight to the client.
    DsrL2,
    /// Put the packet into another one: replies go straight to the client.
    DsrIpip,
}

impl ForwardMode {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dnat => "dnat",
            Self::Snat => "snat",
            Self::DsrL2 => "dsr-l2",
            Self::DsrIpip => "dsr-ipip",
        }
    }

    /// Replies do not come back through this host.
    pub const fn one_way(self) -> bool {
        matches!(self, Self::DsrL2 | Self::DsrIpip)
    }
}

impl fmt::Display for ForwardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the connection hash covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// 4-tuple and protocol.
    #[default]
    Connection,
    /// The source address alone.
    Client,
}

/// What a connection gets when its pool has no backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoBackend {
    /// TCP reset or ICMP unreachable.
    #[default]
    Reject,
    /// Silence.
    Drop,
}

/// One version of the application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// Share of new connections.
    pub weight: Weight,
    /// In the file's order; no duplicates in a service; of its family except in mode `dsr-ipip`.
    pub backends: Vec<BackendSpec>,
}

/// One address:port of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendSpec {
    /// Address.
    pub address: IpAddr,
    /// Port, not 0.
    pub port: u16,
    /// Relative weight inside the pool, 1 to 1000 (default 1).
    pub weight: u32,
}

impl BackendSpec {
    /// Address and port.
    pub const fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// `[service.health]`: an active TCP connect check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Time between checks (default 2 s).
    pub interval: Duration,
    /// Time a check may take (default 1 s).
    pub timeout: Duration,
    /// Passes in a row that bring a backend up (default 2).
    pub rise: u32,
    /// Failures in a row that take it down (default 3).
    pub fall: u32,
}

/// Pool names, in the order they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolName {
    /// One of the two full versions.
    Blue,
    /// The other one.
    Green,
    /// The version on trial.
    Canary,
}

impl PoolName {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 3] = [Self::Blue, Self::Green, Self::Canary];

    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Canary => "canary",
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PoolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| format!("there is no pool `{text}`: pools are blue, green and canary"))
    }
}

/// A percentage with two decimals, kept as basis points (0 to 10,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// 0 %.
    pub const ZERO: Self = Self(0);
    /// 100 %.
    pub const FULL: Self = Self(10_000);

    /// From basis points; `None` above 10,000.
    pub const fn from_basis_points(points: u32) -> Option<Self> {
        if points <= 10_000 { Some(Self(points as u16)) } else { None }
    }

    /// From a percentage; `None` when it is outside 0 to 100 or has more than two decimals.
    pub fn from_percent(percent: f64) -> Option<Self> {
        let points = percent * 100.0;
        let rounded = points.round();
        let exact = (points - rounded).abs() < 1e-6;
        (exact && (0.0..=10_000.0).contains(&rounded)).then_some(Self(rounded as u16))
    }

    /// Basis points, 0 to 10,000.
    pub const fn basis_points(self) -> u32 {
        self.0 as u32
    }

    /// Percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.percent()))
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        number.parse::<f64>().ok().and_then(Self::from_percent).ok_or_else(|| {
            format!("`{text}` is not a weight: give a percentage from 0 to 100 with at most two decimals")
        })
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.percent())
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Self::from_percent(percent).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{percent} is not a weight: a percentage from 0 to 100 with at most two decimals"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_read_what_they_print() {
        for points in [0, 1, 5, 10, 99, 100, 125, 9_999, 10_000] {
            let weight = Weight::from_basis_points(points).unwrap();
            assert_eq!(weight.to_string().parse(), Ok(weight));
            assert_eq!(Weight::from_percent(weight.percent()), Some(weight));
        }
        assert_eq!(Weight::from_basis_points(10_001), None);
    }

    #[test]
    fn prefixes_have_no_host_bits() {
        for right in ["0.0.0.0/0", "10.9.0.0/16", "10.9.1.2/32", "::/0", "2001:db8::/32", "2001:db8::1/128"] {
            assert_eq!(right.parse::<Prefix>().unwrap().to_string(), right);
        }
        assert_eq!(
            "2001:db8::1/64".parse::<Prefix>().unwrap_err(),
            "`2001:db8::1/64` has host bits set: write 2001:db8::/64"
        );
        assert!("10.0.0.0/33".parse::<Prefix>().unwrap_err().contains("at most 32"));
        for wrong in ["10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/-1", "x/8"] {
            assert!(wrong.parse::<Prefix>().unwrap_err().contains("write it like"), "{wrong}");
        }
    }
}
