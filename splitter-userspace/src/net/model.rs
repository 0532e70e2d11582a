//! What is published: next hops, routes, neighbours and interfaces at one moment.

use std::{collections::HashMap, fmt, net::IpAddr};

use super::routes;
use crate::config::Prefix;

/// One Ethernet hop: the frame's addresses and the interface it leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Index of the interface the frame leaves by.
    pub ifindex: u32,
    /// That interface's address.
    pub source: [u8; 6],
    /// The neighbour's address.
    pub destination: [u8; 6],
    /// Largest IP packet that may leave that way, bytes.
    pub mtu: u32,
}

/// Where packets for one address go next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The data plane can send there.
    Resolved {
        /// The hop.
        hop: Hop,
        /// Name of the interface.
        interface: String,
        /// The gateway; `None` if the address itself is on link.
        via: Option<IpAddr>,
    },
    /// It cannot, for now: packets are passed to the kernel.
    Unresolved {
        /// The cause and, where a person can do something, the cure.
        why: String,
    },
}

/// What the data plane does with a packet for a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// Sends it to a gateway.
    Via(NextHop),
    /// Sends it to the address itself, if `Snapshot::neighbours` has it.
    OnLink {
        /// The interface of the prefix.
        ifindex: u32,
        /// Largest IP packet, in bytes: the interface's limit, or the route's own if that is less.
        mtu: u32,
    },
    /// An address of this host: the packet is the kernel's and is never taken for a reply.
    Local,
    /// Passes it to the kernel.
    Kernel {
        /// Why the data plane cannot do it.
        why: String,
    },
}

/// A prefix and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub prefix: Prefix,
    /// What is done.
    pub action: RouteAction,
}

/// One of the `[daemon] interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Administratively up, and with carrier.
    pub up: bool,
    /// Id of the XDP program on it.
    pub program: Option<u32>,
}

/// Everything the data plane needs to forward, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Next hop of each watched backend address.
    pub targets: HashMap<IpAddr, NextHop>,
    /// This host's own address that the kernel would send from, by watched backend address.
    pub sources: HashMap<IpAddr, IpAddr>,
    /// IPv4, then IPv6; each longest prefix first. No prefix twice.
    pub routes: Vec<Route>,
    /// Valid neighbours that an `OnLink` route leads to.
    pub neighbours: HashMap<IpAddr, Hop>,
    /// Those of the `[daemon] interfaces` that exist and are Ethernet.
    pub interfaces: Vec<Interface>,
    /// What keeps the data plane from forwarding: the cause and the cure, a sentence each.
    pub problems: Vec<String>,
}

/// What the data plane would do with a packet for some address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Send it there.
    Hop(Hop),
    /// It is for this host.
    Local,
    /// Pass it to the kernel.
    Kernel {
        /// Why.
        why: String,
    },
}

impl Snapshot {
    /// What the data plane would do with a packet for `address`.
    pub fn lookup(&self, address: IpAddr) -> Egress {
        match routes::find(&self.routes, address).map(|route| &route.action) {
            Some(RouteAction::Via(NextHop::Resolved { hop, .. })) => Egress::Hop(*hop),
            Some(RouteAction::Via(NextHop::Unresolved { why }) | RouteAction::Kernel { why }) => {
                Egress::Kernel { why: why.clone() }
            }
            Some(RouteAction::OnLink { .. }) => self.on_link(address),
            Some(RouteAction::Local) => Egress::Local,
            None => Egress::Kernel { why: format!("no route to {address}") },
        }
    }

    /// This host's own addresses.
    pub fn locals(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let whole = |prefix: &Prefix| prefix.length == if prefix.address.is_ipv4() { 32 } else { 128 };
        let local = move |route: &&Route| route.action == RouteAction::Local && whole(&route.prefix);
        self.routes.iter().filter(local).map(|route| route.prefix.address)
    }

    /// Whether `address` is one of this host's own.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.lookup(address) == Egress::Local
    }

    fn on_link(&self, address: IpAddr) -> Egress {
        let unknown = || Egress::Kernel { why: format!("{address} is on link and not resolved yet") };
        self.neighbours.get(&address).copied().map_or_else(unknown, Egress::Hop)
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved { interface, via: Some(gateway), .. } => {
                write!(f, "via {gateway} dev {interface}")
            }
            Self::Resolved { interface, via: None, .. } => write!(f, "dev {interface}"),
            Self::Unresolved { why } => write!(f, "unresolved: {why}"),
        }
    }
}
