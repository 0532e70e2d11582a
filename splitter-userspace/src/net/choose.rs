//! From a kernel path to what the data plane can do with it.

use std::{collections::HashMap, net::IpAddr};

use super::{
    facts::{Facts, Link, NeighbourKey, Path},
    model::{Hop, NextHop, RouteAction},
};

/// Facts and the configured interfaces, indexed for choosing.
pub(super) struct Chooser<'a> {
    facts: &'a Facts,
    interfaces: &'a [String],
    links: HashMap<u32, &'a Link>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(facts: &'a Facts, interfaces: &'a [String]) -> Self {
        let links = facts.links.iter().map(|link| (link.index, link)).collect();
        Self { facts, interfaces, links }
    }

    /// Next hop of `target`, given the path the kernel would use.
    pub(super) fn next_hop(&self, path: &Path, target: IpAddr) -> NextHop {
        match path {
            Path::Gateway { ifindex, gateway, mtu } => {
                self.hop_or_why((*ifindex, *gateway), *mtu, Some(*gateway))
            }
            Path::OnLink { ifindex, mtu } => self.hop_or_why((*ifindex, target), *mtu, None),
            Path::Local => unresolved(format!("{target} is an address of this host: the kernel delivers it")),
            Path::Special(what) => unresolved(format!("the route to {target} is left to the kernel: {what}")),
        }
    }

    /// What the data plane does with a route that has this path.
    pub(super) fn action(&self, path: &Path) -> RouteAction {
        let (Path::Gateway { ifindex, mtu, .. } | Path::OnLink { ifindex, mtu }) = path else {
            return match path {
                Path::Special(why) => RouteAction::Kernel { why: why.clone() },
                _ => RouteAction::Local,
            };
        };
        match (self.exit(*ifindex), path) {
            (Err(why), _) => RouteAction::Kernel { why },
            (Ok(_), Path::Gateway { gateway, .. }) => RouteAction::Via(self.next_hop(path, *gateway)),
            (Ok((link, _)), _) => RouteAction::OnLink { ifindex: *ifindex, mtu: smaller(link.mtu, *mtu) },
        }
    }

    /// The neighbour that `path` to `target` needs, if the data plane can send on its interface.
    pub(super) fn needs(&self, path: &Path, target: IpAddr) -> Option<NeighbourKey> {
        let key = match path {
            Path::Gateway { ifindex, gateway, .. } => (*ifindex, *gateway),
            Path::OnLink { ifindex, .. } => (*ifindex, target),
            Path::Local | Path::Special(_) => return None,
        };
        self.exit(key.0).is_ok().then_some(key)
    }

    /// The hop to a neighbour on a route that has this limit of its own, or why there is none.
    pub(super) fn hop(&self, key: NeighbourKey, mtu: Option<u32>) -> Result<(Hop, &'a Link), String> {
        let (link, source) = self.exit(key.0)?;
        let mtu = smaller(link.mtu, mtu);
        match self.facts.neighbours.get(&key).and_then(|neighbour| neighbour.mac) {
            Some(destination) => Ok((Hop { ifindex: link.index, source, destination, mtu }, link)),
            None => {
                Err(format!("{} does not answer on {}: is it up, and on that segment?", key.1, link.name))
            }
        }
    }

    /// The interface with this index and its address, or why the data plane cannot send there.
    fn exit(&self, ifindex: u32) -> Result<(&'a Link, [u8; 6]), String> {
        let link = *self.links.get(&ifindex).ok_or_else(|| format!("interface {ifindex} is gone"))?;
        let name = &link.name;
        if !self.interfaces.contains(name) {
            return Err(format!("goes out {name}, which is not in [daemon] interfaces: add it there"));
        }
        if !link.up {
            return Err(format!("goes out {name}, which is down or has no carrier: ip link set {name} up"));
        }
        link.mac.map(|mac| (link, mac)).ok_or_else(|| format!("goes out {name}, which is not Ethernet"))
    }

    /// The first address of the target's family on the interface that `path` leaves by. A link-local one is no
    /// address for others to answer to.
    pub(super) fn first_address(&self, path: &Path, target: IpAddr) -> Option<IpAddr> {
        let (Path::Gateway { ifindex, .. } | Path::OnLink { ifindex, .. }) = path else { return None };
        let usable = |(index, address): &&(u32, IpAddr)| {
            index == ifindex && address.is_ipv4() == target.is_ipv4() && !is_link_local(*address)
        };
        self.facts.addresses.iter().find(usable).map(|(_, address)| *address)
    }

    fn hop_or_why(&self, key: NeighbourKey, mtu: Option<u32>, via: Option<IpAddr>) -> NextHop {
        match self.hop(key, mtu) {
            Ok((hop, link)) => NextHop::Resolved { hop, interface: link.name.clone(), via },
            Err(why) => unresolved(why),
        }
    }
}

/// The interface's limit, or the route's own if that is less.
fn smaller(link: u32, route: Option<u32>) -> u32 {
    route.map_or(link, |route| route.min(link))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn unresolved(why: String) -> NextHop {
    NextHop::Unresolved { why }
}
