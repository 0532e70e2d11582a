//! From the kernel's routes and neighbours to what packets read. Pure.

use std::net::IpAddr;

use splitter_common::{
    abi::{self, Neighbour, ROUTES_PER_FAMILY, RouteTable},
    net::Addr,
};

use crate::{
    config::Prefix,
    net::{Hop, NextHop, RouteAction, Snapshot},
};

/// The way to a backend.
pub fn way_to(snapshot: &Snapshot, address: IpAddr) -> abi::Way {
    let source = snapshot.sources.get(&address).map_or(Addr::UNSPECIFIED, |source| (*source).into());
    match snapshot.targets.get(&address) {
        Some(NextHop::Resolved { hop, .. }) => {
            abi::Way { hop: kernel_hop(hop), mtu: u16::try_from(hop.mtu).unwrap_or(u16::MAX), source }
        }
        _ => abi::Way { source, ..abi::Way::UNKNOWN },
    }
}

/// Hosts on our links, at most `limit`: those left out are reached through the kernel.
pub fn neighbours(snapshot: &Snapshot, limit: usize) -> Vec<Neighbour> {
    let mut all: Vec<(&IpAddr, &Hop)> = snapshot.neighbours.iter().collect();
    all.sort_by_key(|(address, _)| **address);
    all.into_iter()
        .take(limit)
        .map(|(address, hop)| Neighbour { address: (*address).into(), hop: kernel_hop(hop) })
        .collect()
}

/// A route on its way into a table: prefix, action, gateway, and the largest IP packet, bytes.
type Entry = (Prefix, u32, abi::Hop, u32);

/// Only the kernel knows how large a packet may be.
const NO_LIMIT: u32 = u32::MAX;

/// The route tables of both families, and what could not be put into them. `direct`: prefixes that talk to
/// backends without the service. A service's own address is no client's, so its route is left out.
pub fn routes(snapshot: &Snapshot, direct: &[Prefix], services: &[IpAddr]) -> ([RouteTable; 2], Vec<String>) {
    let mut entries: Vec<Entry> =
        direct.iter().map(|prefix| (*prefix, abi::Route::DIRECT, abi::Hop::UNRESOLVED, NO_LIMIT)).collect();
    for route in &snapshot.routes {
        if route.action == RouteAction::Local && services.contains(&route.prefix.address) {
            continue;
        }
        let (action, hop, mtu) = action(&route.action);
        entries.push((route.prefix, action, hop, mtu));
    }
    // Stable: where a prefix is both direct and a route, direct comes first.
    entries.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.length));
    let (v4, v6): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(prefix, ..)| prefix.address.is_ipv4());
    let mut problems = Vec::new();
    let tables = [("IPv4", v4), ("IPv6", v6)].map(|(family, entries)| {
        if entries.len() > ROUTES_PER_FAMILY {
            problems.push(format!(
                "this host has {} {family} routes and splitter keeps {ROUTES_PER_FAMILY}: replies to {family} clients \
                 go through the kernel, which is slower; aggregate the routes that clients are reached by",
                entries.len()
            ));
            return only_direct(&entries);
        }
        table(&entries)
    });
    (tables, problems)
}

/// Local addresses and `direct` prefixes must stay out of the service even where the routes do not fit.
fn only_direct(entries: &[Entry]) -> RouteTable {
    let direct: Vec<_> =
        entries.iter().filter(|(_, action, ..)| *action == abi::Route::DIRECT).copied().collect();
    table(&direct[..direct.len().min(ROUTES_PER_FAMILY)])
}

fn table(entries: &[Entry]) -> RouteTable {
    let mut table = RouteTable::EMPTY;
    table.count = entries.len() as u32;
    for ((position, route), (prefix, action, hop, mtu)) in (0..).zip(&mut table.routes).zip(entries) {
        *route = abi::Route::new(prefix.address.into(), mask(prefix), *action, *hop, *mtu);
        route.position = position;
    }
    table
}

const fn action(action: &RouteAction) -> (u32, abi::Hop, u32) {
    match action {
        RouteAction::Via(NextHop::Resolved { hop, .. }) => (abi::Route::VIA, kernel_hop(hop), hop.mtu),
        RouteAction::Via(NextHop::Unresolved { .. }) | RouteAction::Kernel { .. } => {
            (abi::Route::KERNEL, abi::Hop::UNRESOLVED, NO_LIMIT)
        }
        RouteAction::OnLink { mtu, .. } => (abi::Route::ON_LINK, abi::Hop::UNRESOLVED, *mtu),
        RouteAction::Local => (abi::Route::DIRECT, abi::Hop::UNRESOLVED, NO_LIMIT),
    }
}

/// The mask of a prefix in the maps' form; an IPv4 mask covers the mapped form's first 96 bits too.
fn mask(prefix: &Prefix) -> Addr {
    let bits = u32::from(prefix.length) + if prefix.address.is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Addr::from_bytes(mask.to_be_bytes())
}

const fn kernel_hop(hop: &Hop) -> abi::Hop {
    abi::Hop::new(hop.ifindex, hop.source, hop.destination)
}

#[cfg(test)]
mod tests {
    use splitter_common::classify;

    use super::*;
    use crate::net::Route;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn hop(index: u32) -> NextHop {
        let hop = Hop { ifindex: index, source: [1; 6], destination: [2; 6], mtu: 1500 };
        NextHop::Resolved { hop, interface: "eth0".into(), via: None }
    }

    fn snapshot(routes: &[(&str, RouteAction)]) -> Snapshot {
        let route =
            |(text, action): &(&str, RouteAction)| Route { prefix: prefix(text), action: action.clone() };
        Snapshot { routes: routes.iter().map(route).collect(), ..Snapshot::default() }
    }

    fn found(tables: &[RouteTable; 2], address: &str) -> Option<(u32, u32)> {
        let address: IpAddr = address.parse().unwrap();
        let table = &tables[usize::from(address.is_ipv6())];
        classify::route(table, &address.into()).map(|route| (route.action, route.hop.ifindex()))
    }

    #[test]
    fn the_kernel_half_finds_the_longest_prefix() {
        let snapshot = snapshot(&[
            ("0.0.0.0/0", RouteAction::Via(hop(1))),
            ("10.0.0.0/8", RouteAction::OnLink { ifindex: 2, mtu: 1500 }),
            ("10.0.0.1/32", RouteAction::Local),
            ("192.0.2.10/32", RouteAction::Local),
            ("2001:db8::/32", RouteAction::Via(hop(3))),
            ("fe80::/64", RouteAction::Kernel { why: "link-local".into() }),
        ]);
        let (tables, problems) =
            routes(&snapshot, &[prefix("10.9.0.0/16")], &["192.0.2.10".parse().unwrap()]);
        assert!(problems.is_empty());
        assert_eq!(found(&tables, "198.51.100.1"), Some((abi::Route::VIA, 1)));
        assert_eq!(found(&tables, "10.1.2.3"), Some((abi::Route::ON_LINK, 0)));
        assert_eq!(found(&tables, "10.0.0.1"), Some((abi::Route::DIRECT, 0)));
        assert_eq!(found(&tables, "10.9.0.1"), Some((abi::Route::DIRECT, 0)));
        assert_eq!(
            found(&tables, "192.0.2.10"),
            Some((abi::Route::VIA, 1)),
            "a service's address is not direct"
        );
        assert_eq!(found(&tables, "2001:db8::1"), Some((abi::Route::VIA, 3)));
        assert_eq!(found(&tables, "fe80::1"), Some((abi::Route::KERNEL, 0)));
        assert_eq!(found(&tables, "2001:db9::1"), None);
    }

    #[test]
    fn too_many_routes_leave_the_clients_to_the_kernel() {
        let many: Vec<String> = (0..40).map(|n| format!("10.{n}.0.0/16")).collect();
        let mut entries: Vec<(&str, RouteAction)> =
            many.iter().map(|text| (text.as_str(), RouteAction::Via(hop(1)))).collect();
        entries.push(("10.0.0.1/32", RouteAction::Local));
        let (tables, problems) = routes(&snapshot(&entries), &[], &[]);
        assert_eq!(problems.len(), 1);
        assert_eq!(found(&tables, "10.3.0.1"), None);
        assert_eq!(found(&tables, "10.0.0.1"), Some((abi::Route::DIRECT, 0)), "health checks stay ours");
    }
}
