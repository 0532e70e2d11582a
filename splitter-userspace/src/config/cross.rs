//! Checks across the whole file: nothing may be claimed twice, and all of it must fit into the maps.

use std::{collections::HashMap, net::SocketAddr};

use super::{
    Daemon, Protocol,
    mistakes::{Mistakes, Place},
    pool::BackendDraft,
    service::ServiceDraft,
};

/// Reports what is wrong between services.
pub(super) fn check(daemon: Option<&Daemon>, services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    check_names(services, mistakes);
    check_endpoints(services, mistakes);
    check_backends(services, mistakes);
    check_loops(services, mistakes);
    if let Some(daemon) = daemon {
        check_room(daemon, services, mistakes);
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

fn check_endpoints(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<(SocketAddr, Protocol), &ServiceDraft> = HashMap::new();
    for service in services {
        let Some(endpoint) = service.endpoint() else { continue };
        if let Some(first) = seen.insert(endpoint, service) {
            let line = mistakes.line(&first.place);
            let ((address, protocol), title) = (endpoint, first.title());
            mistakes.wrong(
                &service.place,
                format!(
                    "{address}/{protocol} belongs to service {title} (line {line}): change one of the two"
                ),
            );
        }
    }
}

/// Every backend whose service's protocol could be read, with what a reply of it carries.
fn claims(services: &[ServiceDraft]) -> impl Iterator<Item = (usize, &BackendDraft, (SocketAddr, Protocol))> {
    services.iter().enumerate().flat_map(|(index, service)| {
        let backends = service.pools.iter().flat_map(|pool| &pool.backends);
        backends.filter_map(move |backend| {
            Some((index, backend, (backend.endpoint()?, service.protocol.as_ref()?.value)))
        })
    })
}

/// A reply names the backend's address, port and protocol only, so one backend serves one service.
fn check_backends(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<(SocketAddr, Protocol), (usize, &Place)> = HashMap::new();
    for (index, backend, claim) in claims(services) {
        let Some((first, place)) = seen.insert(claim, (index, &backend.place)) else { continue };
        let (line, (address, protocol)) = (mistakes.line(place), claim);
        let message = if first == index {
            format!("{address} is a backend of this service already (line {line}): remove one")
        } else {
            let title = services[first].title();
            format!(
                "{address}/{protocol} is a backend of service {title} already (line {line}) and its replies could \
                 not be told apart: give the backend another port for one of the services"
            )
        };
        mistakes.wrong(&backend.place, message);
    }
}

fn check_loops(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let endpoints: HashMap<_, _> =
        services.iter().filter_map(|service| Some((service.endpoint()?, service))).collect();
    for (_, backend, claim) in claims(services) {
        if let Some(service) = endpoints.get(&claim) {
            let ((address, protocol), title) = (claim, service.title());
            mistakes.wrong(
                &backend.place,
                format!(
                    "{address}/{protocol} is the virtual endpoint of service {title}: name the real server"
                ),
            );
        }
    }
}

fn check_room(daemon: &Daemon, services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let room = daemon.max_services as usize;
    if let Some(service) = services.get(room) {
        let message = too_many("services", services.len(), "max_services", room);
        mistakes.wrong(&service.place, message);
    }
    let backends: Vec<_> =
        services.iter().flat_map(|service| &service.pools).flat_map(|pool| &pool.backends).collect();
    let room = daemon.max_backends as usize;
    if let Some(backend) = backends.get(room) {
        let message = too_many("backends", backends.len(), "max_backends", room);
        mistakes.wrong(&backend.place, message);
    }
}

fn too_many(what: &str, count: usize, key: &str, room: usize) -> String {
    format!("the file has {count} {what} and daemon.{key} is {room}: raise it or remove some")
}
