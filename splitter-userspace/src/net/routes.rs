//! The list of routes: one per prefix, longest first, and the search in it.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use super::{
    choose::Chooser,
    facts::{Facts, KernelRoute, Path, Rule},
    model::{Route, RouteAction},
    prefix,
};
use crate::config::Prefix;

/// `fe80::/10` (RFC 4291 section 2.5.6).
const LINK_LOCAL: Prefix =
    Prefix { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), length: 10 };

/// Priority and table of the rules every host has: local, main, default (ip-rule(8)).
const STANDARD_RULES: [(u32, u32); 3] = [(0, 255), (32766, 254), (32767, 253)];

/// The routes of both families, and a problem for each family whose policy rules rule them out.
///
/// Addresses of this host stay in the list in any case: they protect its own traffic.
pub(super) fn list(facts: &Facts, chooser: &Chooser<'_>) -> (Vec<Route>, Vec<String>) {
    let problems = [false, true].map(|ipv6| rules_problem(&facts.rules, ipv6));
    let mut paths = best_paths(&facts.routes);
    paths.retain(|prefix, path| {
        *path == Path::Local || problems[usize::from(prefix.address.is_ipv6())].is_none()
    });
    paths.extend(facts.addresses.iter().map(|(_, address)| (prefix::host(*address), Path::Local)));
    let mut routes: Vec<_> =
        paths.into_iter().map(|(prefix, path)| Route { prefix, action: chooser.action(&path) }).collect();
    routes.extend(link_local_guard(&routes));
    routes.sort_by(|a, b| order(&a.prefix, &b.prefix));
    (routes, problems.into_iter().flatten().collect())
}

/// The route with the longest prefix that holds `address`.
pub(super) fn find(routes: &[Route], address: IpAddr) -> Option<&Route> {
    (0..=prefix::bits(address)).rev().find_map(|length| {
        let wanted = Prefix { address: prefix::network(address, length), length };
        let found = routes.binary_search_by(|route| order(&route.prefix, &wanted));
        found.ok().map(|index| &routes[index])
    })
}

/// IPv4 before IPv6, long before short, then by address.
fn order(a: &Prefix, b: &Prefix) -> Ordering {
    let key = |prefix: &Prefix| (prefix.address.is_ipv6(), Reverse(prefix.length), prefix.address);
    key(a).cmp(&key(b))
}

/// The path of each prefix: that of its lowest metric. Prefixes inside a larger local one are left out, since
/// the kernel looks at the table local first.
fn best_paths(routes: &[KernelRoute]) -> HashMap<Prefix, Path> {
    let mut candidates: HashMap<Prefix, Vec<&KernelRoute>> = HashMap::new();
    for route in routes.iter().filter(|route| !is_within(&route.prefix, &LINK_LOCAL)) {
        candidates.entry(route.prefix).or_default().push(route);
    }
    let is_wide = |route: &&KernelRoute| {
        route.path == Path::Local && route.prefix != prefix::host(route.prefix.address)
    };
    let wide: Vec<_> = routes.iter().filter(is_wide).map(|route| route.prefix).collect();
    candidates.retain(|prefix, _| !wide.iter().any(|local| local != prefix && is_within(prefix, local)));
    candidates.into_iter().map(|(prefix, routes)| (prefix, best_path(routes))).collect()
}

/// Local first, then the lowest metric, then the kernel's order. IPv6 chooses among equals by their neighbours'
/// health and the router's preference (RFC 4191), which is the kernel's to judge.
fn best_path(mut routes: Vec<&KernelRoute>) -> Path {
    let rank = |route: &&KernelRoute| (route.path != Path::Local, route.metric);
    routes.sort_by_key(rank);
    match routes[..] {
        [a, b, ..] if a.prefix.address.is_ipv6() && rank(&a) == rank(&b) && a.path != b.path => {
            Path::Special("several routes of the same metric".to_owned())
        }
        _ => routes[0].path.clone(),
    }
}

fn is_within(inner: &Prefix, outer: &Prefix) -> bool {
    inner.address.is_ipv6() == outer.address.is_ipv6()
        && inner.length >= outer.length
        && prefix::network(inner.address, outer.length) == outer.address
}

/// Keeps link-local destinations from the IPv6 default route: they are never forwarded (RFC 4291).
fn link_local_guard(routes: &[Route]) -> Option<Route> {
    let why = "link-local addresses are not forwarded".to_owned();
    let any_ipv6 = routes.iter().any(|route| route.prefix.address.is_ipv6());
    any_ipv6.then_some(Route { prefix: LINK_LOCAL, action: RouteAction::Kernel { why } })
}

/// Why the main table alone does not tell where packets of a family go, if so.
fn rules_problem(rules: &[Rule], ipv6: bool) -> Option<String> {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let mut rules = rules.iter().filter(|rule| rule.ipv6 == ipv6);
    let extra = rules.find(|rule| !is_standard(rule))?;
    Some(format!(
        "{family} has a policy rule of its own (priority {}): replies to {family} clients are left to the \
         kernel, which is slower; `ip {}rule del pref {}` removes it",
        extra.priority,
        if ipv6 { "-6 " } else { "" },
        extra.priority
    ))
}

fn is_standard(rule: &Rule) -> bool {
    let place = rule.table.map(|table| (rule.priority, table));
    rule.unconditional && place.is_some_and(|place| STANDARD_RULES.contains(&place))
}
