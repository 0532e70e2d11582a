//! From the kernel's facts to what is published. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{
    choose::Chooser,
    facts::{Condition, Facts, Link, NeighbourKey, Path},
    model::{Hop, Interface, NextHop, Route, RouteAction, Snapshot},
    routes,
};

/// The snapshot that follows from `facts` for the configured `interfaces` and backend addresses `targets`.
pub(super) fn build(facts: &Facts, interfaces: &[String], targets: &[IpAddr]) -> Snapshot {
    let chooser = Chooser::new(facts, interfaces);
    let (routes, rule_problems) = routes::list(facts, &chooser);
    let (interfaces, mut problems) = our_interfaces(&facts.links, interfaces);
    problems.extend(rule_problems);
    let source = |target: &IpAddr| Some((*target, own_source(facts, &chooser, *target)?));
    Snapshot {
        sources: targets.iter().filter_map(source).collect(),
        targets: targets.iter().map(|target| (*target, target_hop(facts, &chooser, *target))).collect(),
        neighbours: on_link_neighbours(facts, &chooser, &routes),
        routes,
        interfaces,
        problems,
    }
}

/// The neighbours that targets and gateways depend on, each with its condition.
pub(super) fn needed(
    facts: &Facts,
    interfaces: &[String],
    targets: &[IpAddr],
) -> BTreeMap<NeighbourKey, Condition> {
    let chooser = Chooser::new(facts, interfaces);
    let answered = targets.iter().filter_map(|target| match facts.answers.get(target) {
        Some(Ok(answer)) => chooser.needs(&answer.path, *target),
        _ => None,
    });
    let gateways = facts.routes.iter().filter_map(|route| match &route.path {
        path @ Path::Gateway { gateway, .. } => chooser.needs(path, *gateway),
        _ => None,
    });
    answered.chain(gateways).map(|key| (key, facts.condition(&key))).collect()
}

fn target_hop(facts: &Facts, chooser: &Chooser<'_>, target: IpAddr) -> NextHop {
    match facts.answers.get(&target) {
        Some(Ok(answer)) => chooser.next_hop(&answer.path, target),
        Some(Err(why)) => NextHop::Unresolved { why: format!("the kernel has no route to {target}: {why}") },
        None => NextHop::Unresolved { why: format!("the route to {target} is being looked up") },
    }
}

/// The address of this host that the kernel would send from, if it would send.
fn own_source(facts: &Facts, chooser: &Chooser<'_>, target: IpAddr) -> Option<IpAddr> {
    let answer = facts.answers.get(&target)?.as_ref().ok()?;
    answer.source.or_else(|| chooser.first_address(&answer.path, target))
}

/// Neighbours on the very interface that the routes name for their address. The same address may answer on
/// two interfaces; the data plane looks it up by address alone.
fn on_link_neighbours(facts: &Facts, chooser: &Chooser<'_>, routes: &[Route]) -> HashMap<IpAddr, Hop> {
    let hop = |key: &NeighbourKey| match routes::find(routes, key.1)?.action {
        RouteAction::OnLink { ifindex, mtu } if ifindex == key.0 => {
            Some(chooser.hop(*key, Some(mtu)).ok()?.0)
        }
        _ => None,
    };
    facts.neighbours.keys().filter_map(|key| Some((key.1, hop(key)?))).collect()
}

/// The configured interfaces that can be used, and what is wrong with the others.
fn our_interfaces(links: &[Link], names: &[String]) -> (Vec<Interface>, Vec<String>) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        match interface(links, name) {
            Ok(interface) => {
                if !interface.up {
                    problems
                        .push(format!("interface {name} is down or has no carrier: ip link set {name} up"));
                }
                found.push(interface);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (found, problems)
}

fn interface(links: &[Link], name: &str) -> Result<Interface, String> {
    let link = links.iter().find(|link| link.name == name).ok_or_else(|| {
        format!("interface {name} does not exist: create it or take it out of [daemon] interfaces")
    })?;
    let mac = link.mac.ok_or_else(|| {
        format!(
            "interface {name} is not Ethernet, which forwarding needs: take it out of [daemon] interfaces"
        )
    })?;
    Ok(Interface {
        name: name.to_owned(),
        index: link.index,
        mac,
        mtu: link.mtu,
        up: link.up,
        program: link.program,
    })
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
