//! Checks that no virtual endpoint is claimed twice, and none stands for a real server.

use std::{collections::HashMap, net::SocketAddr};

use super::{
    Protocol,
    mistakes::{Mistakes, Place},
    pool::BackendDraft,
    service::ServiceDraft,
};

/// Address, port and one transport: what a packet's destination names.
pub(super) type Claim = (SocketAddr, Protocol);

/// What clients connect to: a service or one of its previews.
struct Endpoint<'a> {
    place: &'a Place,
    /// What it is, with the service's title.
    what: String,
    claims: Vec<Claim>,
}

/// Reports endpoints that are claimed twice.
pub(super) fn check(services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let endpoints = all(services);
    check_unique(&endpoints, mistakes);
    check_loops(&endpoints, services, mistakes);
}

/// Every backend of a service whose protocol could be read, with what a reply of it carries.
pub(super) fn of_backends(service: &ServiceDraft) -> impl Iterator<Item = (&BackendDraft, Vec<Claim>)> {
    service
        .backends()
        .filter_map(|backend| Some((backend, claims(backend.endpoint()?, service.protocol.as_ref()?.value))))
}

/// One claim for each transport of `protocol`.
fn claims(address: SocketAddr, protocol: Protocol) -> Vec<Claim> {
    let parts = [(Protocol::Tcp, protocol.has_tcp()), (Protocol::Udp, protocol.has_udp())];
    parts.into_iter().filter_map(|(part, has)| has.then_some((address, part))).collect()
}

/// Every endpoint that could be read.
fn all(services: &[ServiceDraft]) -> Vec<Endpoint<'_>> {
    services.iter().flat_map(|service| own(service).into_iter().chain(previews(service))).collect()
}

fn own(service: &ServiceDraft) -> Option<Endpoint<'_>> {
    let (address, protocol) = service.endpoint()?;
    let what = format!("service {}", service.title());
    Some(Endpoint { place: &service.place, what, claims: claims(address, protocol) })
}

fn previews(service: &ServiceDraft) -> impl Iterator<Item = Endpoint<'_>> {
    service.previews.iter().filter_map(|preview| {
        let (address, protocol) = (preview.endpoint()?, service.protocol.as_ref()?.value);
        let what = format!("a preview of service {}", service.title());
        Some(Endpoint { place: &preview.place, what, claims: claims(address, protocol) })
    })
}

fn check_unique(endpoints: &[Endpoint<'_>], mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<Claim, &Endpoint<'_>> = HashMap::new();
    for endpoint in endpoints {
        let twice = |claim: &&Claim| seen.contains_key(*claim);
        if let Some(claim @ (address, protocol)) = endpoint.claims.iter().find(twice) {
            let first = seen[claim];
            let line = mistakes.line(first.place);
            let message = format!(
                "{address}/{protocol} belongs to {} (line {line}): change one of the two",
                first.what
            );
            mistakes.wrong(endpoint.place, message);
        }
        seen.extend(endpoint.claims.iter().map(|claim| (*claim, endpoint)));
    }
}

fn check_loops(endpoints: &[Endpoint<'_>], services: &[ServiceDraft], mistakes: &mut Mistakes<'_>) {
    let claimed: HashMap<Claim, &Endpoint<'_>> =
        endpoints.iter().flat_map(|endpoint| endpoint.claims.iter().map(move |c| (*c, endpoint))).collect();
    for (backend, claims) in services.iter().flat_map(of_backends) {
        let found = claims.iter().find_map(|claim| Some((claim, claimed.get(claim)?)));
        if let Some(((address, protocol), endpoint)) = found {
            let message = format!(
                "{address}/{protocol} is the virtual endpoint of {}: name the real server",
                endpoint.what
            );
            mistakes.wrong(&backend.place, message);
        }
    }
}
