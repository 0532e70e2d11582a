//! Checks of one service's routes and previews: their family, their pools, their number.

use std::{collections::HashMap, net::IpAddr};

use super::{
    MAX_PREVIEWS, MAX_ROUTES, PoolName, Prefix,
    address::family,
    mistakes::{At, Mistakes, Place},
    rules::{PreviewDraft, RouteDraft},
    service::ServiceDraft,
};

/// Reports what is wrong with the rules of the service.
pub(super) fn check(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    check_sources(service, mistakes);
    check_addresses(service, mistakes);
    check_pools(service, mistakes);
    let routes: Vec<_> = service.routes.iter().map(|route| &route.place).collect();
    check_number("routes", &routes, MAX_ROUTES, mistakes);
    let previews: Vec<_> = service.previews.iter().map(|preview| &preview.place).collect();
    check_number("previews", &previews, MAX_PREVIEWS, mistakes);
}

fn check_sources(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let mut seen: HashMap<Prefix, &Place> = HashMap::new();
    for source in service.routes.iter().filter_map(|route: &RouteDraft| route.source.as_ref()) {
        check_family(service, source.value.address, &source.value.to_string(), &source.place, mistakes);
        if let Some(first) = seen.insert(source.value, &source.place) {
            let line = mistakes.line(first);
            let message =
                format!("{} has a route in this service already (line {line}): remove one", source.value);
            mistakes.wrong(&source.place, message);
        }
    }
}

fn check_addresses(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    for address in service.previews.iter().filter_map(|preview: &PreviewDraft| preview.address.as_ref()) {
        check_family(service, address.value, &address.value.to_string(), &address.place, mistakes);
    }
}

fn check_family(
    service: &ServiceDraft,
    address: IpAddr,
    text: &str,
    place: &Place,
    mistakes: &mut Mistakes<'_>,
) {
    let Some(wanted) = service.address.as_ref().map(|address| family(address.value)) else { return };
    let found = family(address);
    if found != wanted {
        let message = format!(
            "{text} is {found} but the service's address is {wanted}: use {wanted} here, and a service of its own \
             for {found}"
        );
        mistakes.wrong(place, message);
    }
}

fn check_pools(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let routes = service.routes.iter().map(|route| &route.pool);
    let previews = service.previews.iter().map(|preview| &preview.pool);
    for pool in routes.chain(previews).flatten() {
        check_pool(service, pool, mistakes);
    }
}

fn check_pool(service: &ServiceDraft, wanted: &At<PoolName>, mistakes: &mut Mistakes<'_>) {
    let name = wanted.value;
    let message = match service.pools.iter().find(|pool| pool.name == name) {
        None => format!("this service has no pool `{name}`: add [service.pool.{name}] with its backends"),
        Some(pool) if pool.backends.is_empty() => {
            format!("pool {name} has no backend, so nobody could be sent there: give it one")
        }
        Some(_) => return,
    };
    mistakes.absent(&wanted.place, message);
}

fn check_number(what: &str, places: &[&Place], room: usize, mistakes: &mut Mistakes<'_>) {
    if let Some(place) = places.get(room) {
        let count = places.len();
        let message =
            format!("the service has {count} {what} and there is room for {room} of them: remove some");
        mistakes.wrong(place, message);
    }
}
