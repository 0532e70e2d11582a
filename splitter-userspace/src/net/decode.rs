//! rtnetlink messages to facts. Pure; what the rest has no use for becomes `None`.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType, RouteVia},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::facts::{Answer, Condition, KernelRoute, Link, Neighbour, NeighbourKey, Path, Rule};
use crate::config::Prefix;

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` (`linux/rtnetlink.h`).
const TABLES: [u32; 2] = [254, 255];

/// Metric of a route that names none.
const NO_METRIC: u32 = 0;

/// Any interface that has a name.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    let up = header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let (mac, mtu, program) = (ethernet_address(message), mtu.unwrap_or(0), program_of(message));
    Some(Link { index: header.index, name, mac, mtu, up, program })
}

fn ethernet_address(message: &LinkMessage) -> Option<[u8; 6]> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address.as_slice().try_into().ok(),
        _ => None,
    });
    address.filter(|_| message.header.link_layer_type == LinkLayerType::Ether)
}

/// An address of this host that others can reach, after the index of its interface. On a point-to-point link
/// `Address` is the peer's and `Local` ours.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    };
    let address = local.or_else(plain).filter(|address| !address.is_loopback())?;
    Some((message.header.index, address))
}

/// A policy rule for unicast packets of either family.
pub(super) fn rule(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let mut rule = Rule {
        ipv6: header.family == AddressFamily::Inet6,
        priority: 0,
        table: (header.action == RuleAction::ToTable).then_some(u32::from(header.table)),
        unconditional: header.tos == 0 && !header.flags.contains(RuleFlags::Invert),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = rule.table.map(|_| *table),
            // Sent with every rule; all ones: nothing is suppressed.
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => rule.unconditional = false,
        }
    }
    Some(rule)
}

/// A usable route of the tables main or local.
pub(super) fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let table = route_u32(message, |attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let metric = route_u32(message, |attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let wanted = TABLES.contains(&table.unwrap_or(u32::from(header.table)))
        && !header.flags.intersects(RouteFlags::Dead | RouteFlags::Cloned)
        && !matches!(header.kind, RouteType::Broadcast | RouteType::Multicast);
    let prefix = destination(message)?;
    (wanted && !prefix.address.is_loopback()).then(|| KernelRoute {
        prefix,
        metric: metric.unwrap_or(NO_METRIC),
        path: path(message),
    })
}

/// The kernel's answer about one destination.
pub(super) fn answer(message: &RouteMessage) -> Answer {
    let source = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(source) => ip_address(source),
        _ => None,
    });
    Answer { path: path(message), source }
}

/// Where a route leads: the same for a table's entry and for the answer about one destination.
pub(super) fn path(message: &RouteMessage) -> Path {
    match (message.header.kind, peculiarity(message)) {
        (RouteType::Local | RouteType::Anycast, _) => Path::Local,
        (RouteType::Unicast, Some(what)) => Path::Special(what.to_owned()),
        (RouteType::Unicast, None) => plain_path(message),
        (kind, _) => Path::Special(format!("it is of type {}", format!("{kind:?}").to_lowercase())),
    }
}

fn plain_path(message: &RouteMessage) -> Path {
    let out = route_u32(message, |attribute| match attribute {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    });
    let (gateway, mtu) = (message.attributes.iter().find_map(gateway), route_u32(message, mtu));
    match (out, gateway) {
        (Some(ifindex), Some(gateway)) => Path::Gateway { ifindex, gateway, mtu },
        (Some(ifindex), None) => Path::OnLink { ifindex, mtu },
        (None, _) => Path::Special("it names no interface".to_owned()),
    }
}

/// `RTAX_MTU`: fixed with the route, or learned from a router on the way. 0 is none.
fn mtu(attribute: &RouteAttribute) -> Option<u32> {
    let RouteAttribute::Metrics(metrics) = attribute else { return None };
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu).filter(|mtu| *mtu != 0),
        _ => None,
    })
}

/// What makes a unicast route more than "that gateway, that interface", if anything.
fn peculiarity(message: &RouteMessage) -> Option<&'static str> {
    if message.header.tos != 0 {
        return Some("it is for one type of service only");
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        // The kernel's answer about an IPv6 destination is "from ::", which is any source.
        RouteAttribute::Source(RouteAddress::Inet6(source)) if !source.is_unspecified() => {
            Some("it is for some sources only")
        }
        RouteAttribute::MultiPath(_) => Some("it has several next hops (multipath)"),
        RouteAttribute::NhId(_) => Some("it uses a next-hop object"),
        RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => Some("it encapsulates packets"),
        RouteAttribute::NewDestination(_) => Some("it puts on MPLS labels"),
        RouteAttribute::Via(RouteVia::Packet(_) | RouteVia::Other(_)) => {
            Some("its gateway is not an IP address")
        }
        _ => None,
    })
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip_address(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        // An IPv4 route through an IPv6 neighbour (RFC 5549).
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn destination(message: &RouteMessage) -> Option<Prefix> {
    let stated = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip_address(address),
        _ => None,
    });
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    Some(Prefix { address: stated.unwrap_or(unspecified), length: message.header.destination_prefix_length })
}

fn route_u32(message: &RouteMessage, pick: impl Fn(&RouteAttribute) -> Option<u32>) -> Option<u32> {
    message.attributes.iter().find_map(pick)
}

/// A neighbour of either family.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::from(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    let (condition, valid) = condition(message.header.state);
    Some(((message.header.ifindex, address), Neighbour { condition, mac: mac.filter(|_| valid) }))
}

/// How far an entry in `state` can be trusted, and whether the kernel would send on its address
/// (`NUD_VALID`, `include/net/neighbour.h`).
fn condition(state: NeighbourState) -> (Condition, bool) {
    match state {
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => {
            (Condition::Sure, true)
        }
        NeighbourState::Stale => (Condition::Stale, true),
        NeighbourState::Delay | NeighbourState::Probe => (Condition::Asking, true),
        NeighbourState::Incomplete => (Condition::Asking, false),
        _ => (Condition::Missing, false),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;

/// Id of the XDP program on an interface, if there is one.
fn program_of(message: &LinkMessage) -> Option<u32> {
    let xdp = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    })
}
