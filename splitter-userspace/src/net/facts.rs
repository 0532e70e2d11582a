//! What the kernel said about links, addresses, rules, routes and neighbours, as plain structs.

use std::{collections::HashMap, net::IpAddr};

use crate::config::Prefix;

/// Index of an interface and an address on its link: what names a neighbour.
pub(super) type NeighbourKey = (u32, IpAddr);

/// Everything read from the kernel at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) links: Vec<Link>,
    /// Addresses of this host with their interfaces' indices, loopback left out; the kernel's order.
    pub(super) addresses: Vec<(u32, IpAddr)>,
    pub(super) rules: Vec<Rule>,
    /// Tables main and local, in the kernel's order.
    pub(super) routes: Vec<KernelRoute>,
    /// The kernel's own choice for each target, or why it has none.
    pub(super) answers: HashMap<IpAddr, Result<Answer, String>>,
    pub(super) neighbours: HashMap<NeighbourKey, Neighbour>,
}

/// A network interface of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `None` unless the interface is Ethernet.
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: u32,
    /// Administratively up, and with carrier.
    pub(super) up: bool,
    /// Id of the XDP program on it.
    pub(super) program: Option<u32>,
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) ipv6: bool,
    pub(super) priority: u32,
    /// The table looked up; `None` for any other action.
    pub(super) table: Option<u32>,
    /// Applies to every packet.
    pub(super) unconditional: bool,
}

/// A route of the tables main or local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) prefix: Prefix,
    /// The lowest wins.
    pub(super) metric: u32,
    pub(super) path: Path,
}

/// What the kernel says about one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) path: Path,
    /// The address of this host that it would send from, if it says so.
    pub(super) source: Option<IpAddr>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Gateway {
        ifindex: u32,
        gateway: IpAddr,
        /// The route's own limit, bytes; the interface's counts too.
        mtu: Option<u32>,
    },
    OnLink {
        ifindex: u32,
        /// As above.
        mtu: Option<u32>,
    },
    Local,
    /// Something that only the kernel can do, and what it is.
    Special(String),
}

/// A neighbour table entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) condition: Condition,
    /// Ethernet address; only kept while the entry's state is one the kernel would send on.
    pub(super) mac: Option<[u8; 6]>,
}

/// How far a neighbour table entry can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// No entry, or it failed.
    Missing,
    /// The kernel is asking right now.
    Asking,
    /// Was right once; nobody has confirmed it lately.
    Stale,
    /// Confirmed, or fixed by hand.
    Sure,
}

impl Facts {
    /// Condition of the neighbour named by `key`.
    pub(super) fn condition(&self, key: &NeighbourKey) -> Condition {
        self.neighbours.get(key).map_or(Condition::Missing, |neighbour| neighbour.condition)
    }
}
