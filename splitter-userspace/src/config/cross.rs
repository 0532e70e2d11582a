//! Checks across the whole file: nothing may be claimed twice, and all of it must fit into the maps.

use std::{collections::HashMap, net::SocketAddr};

use super::{
    Daemon, HealthCheck,
    endpoints::{self, Claim},
    mistakes::{Mistakes, Place},
    pool::BackendDraft,
    service::ServiceDraft,
};

/// Reports what is wrong between services.
pub(super) fn check(daemon: Option<&Daemon>, services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    check_names(services, mistakes);
    endpoints::check(services, mistakes);
    check_repeated(services, mistakes);
    check_replies(services, mistakes);
    check_checks(services, mistakes);
    if let Some(daemon) = daemon {
        check_tables(daemon, services, mistakes);
        check_backends(daemon, services, mistakes);
    }
}

fn check_names(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<&str, &Place> = HashMap::new();
    for name in services.iter().filter_map(|service| service.name.as_ref()) {
        if let Some(first) = seen.insert(&name.value, &name.place) {
            let line = mistakes.line(first);
            mistakes.wrong(
                &name.place,
                format!("`{}` is the name of the service in line {line} too: choose another", name.value),
            );
        }
    }
}

/// A command names a backend by its address and port, so a service has it once.
fn check_repeated(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    for service in services {
        let mut seen: HashMap<SocketAddr, &Place> = HashMap::new();
        for backend in service.backends() {
            let Some(address) = backend.endpoint() else { continue };
            if let Some(first) = seen.insert(address, &backend.place) {
                let line = mistakes.line(first);
                let message =
                    format!("{address} is a backend of this service already (line {line}): remove one");
                mistakes.wrong(&backend.place, message);
            }
        }
    }
}

/// A reply that comes back through this host names the backend's address, port and protocol only, so one backend
/// serves one service. Where replies go straight to the client, nobody need tell them apart.
fn check_replies(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<Claim, (&ServiceDraft, &Place)> = HashMap::new();
    for service in services.iter().filter(|service| service.sees_replies()) {
        for (backend, claims) in endpoints::of_backends(service) {
            let taken =
                |claim: &&Claim| seen.get(*claim).is_some_and(|(first, _)| !std::ptr::eq(*first, service));
            if let Some(claim @ (address, protocol)) = claims.iter().find(taken) {
                let (first, place) = seen[claim];
                let (title, line) = (first.title(), mistakes.line(place));
                let message = format!(
                    "{address}/{protocol} is a backend of service {title} already (line {line}) and its replies \
                     could not be told apart: give the backend another port for one of the services"
                );
                mistakes.wrong(&backend.place, message);
            }
            seen.extend(claims.into_iter().map(|claim| (claim, (service, &backend.place))));
        }
    }
}

/// One check serves all services that share a backend.
fn check_checks(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<SocketAddr, (&ServiceDraft, &HealthCheck)> = HashMap::new();
    for service in services {
        let Some(health) = &service.health else { continue };
        let addresses: Vec<_> = service.backends().filter_map(BackendDraft::endpoint).collect();
        let other =
            |address: &&SocketAddr| seen.get(*address).is_some_and(|(_, check)| **check != health.value);
        if let Some(address) = addresses.iter().find(other) {
            let message = format!(
                "{address} is checked for service {} already, in another way: write the same [service.health] for \
                 both",
                seen[address].0.title()
            );
            mistakes.wrong(&health.place, message);
        }
        seen.extend(addresses.into_iter().map(|address| (address, (service, &health.value))));
    }
}

/// Each service, each preview and each pool that a service's routes name has a table of its own in the kernel.
fn check_tables(daemon: &Daemon, services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let (mut places, mut previews, mut pools) = (Vec::new(), 0, 0);
    for service in services {
        let routed = service.routed_pools();
        places.push(&service.place);
        places.extend(service.previews.iter().map(|preview| &preview.place));
        places.extend(routed.iter().copied());
        (previews, pools) = (previews + service.previews.len(), pools + routed.len());
    }
    let room = daemon.max_services as usize;
    if let Some(place) = places.get(room) {
        let services = counted(services.len(), "service");
        let (previews, pools) = (counted(previews, "preview"), counted(pools, "pool"));
        let what = format!("{services}, {previews} and {pools} that routes lead to");
        mistakes.wrong(place, too_many(&what, "max_services", room));
    }
}

fn check_backends(daemon: &Daemon, services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let backends: Vec<_> = services.iter().flat_map(ServiceDraft::backends).collect();
    let room = daemon.max_backends as usize;
    if let Some(backend) = backends.get(room) {
        let what = counted(backends.len(), "backend");
        mistakes.wrong(&backend.place, too_many(&what, "max_backends", room));
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn too_many(what: &str, key: &str, room: usize) -> String {
    format!("the file has {what}, and daemon.{key} is {room} for all of them: raise it or remove some")
}
