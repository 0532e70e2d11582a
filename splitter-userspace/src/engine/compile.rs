//! From services and the network's state to the image that packets read. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use splitter_common::{
    abi::{self, Endpoint, Way},
    net::{Addr, Port, Transport},
    slot::BackendId,
};

use super::{
    forwarding,
    lane::Purpose,
    service::{Member, Service},
};
use crate::{
    config::{ForwardMode, Prefix, Protocol},
    dataplane::LOCAL_ADDRESSES,
    directory,
    image::{Image, Pages, Rules},
    net::Snapshot,
};

/// Services, backends, service addresses and this host's own, as the endpoint directory has them.
///
/// # Errors
/// Two endpoints have one key; the configuration's checks do not let that happen.
pub fn endpoints(services: &[Service], locals: &[IpAddr]) -> Result<Pages<Endpoint>, directory::Error> {
    let mut entries = Vec::new();
    let mut addresses: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for service in services {
        for (listener, _) in listeners(service) {
            addresses.entry(listener.ip()).or_insert(service.number);
        }
        for protocol in transports(service) {
            entries.extend(listeners(service).map(|(listener, number)| {
                let (address, port) = packed(listener);
                Endpoint::service(address, port, *protocol, number)
            }));
            // In the one-way modes a backend's packets come from the service's address, and not to us.
            let answering = service.members.iter().filter(|_| !service.spec.mode.one_way());
            entries.extend(answering.map(|member| {
                let (address, port) = packed(member.address);
                Endpoint::backend(address, port, *protocol, member.id)
            }));
        }
    }
    // Each once: anycast addresses are on every interface.
    let locals: BTreeSet<&IpAddr> = locals.iter().collect();
    let own = locals.into_iter().filter(|address| !addresses.contains_key(address)).take(LOCAL_ADDRESSES);
    entries.extend(own.map(|address| Endpoint::local((*address).into())));
    entries.extend(addresses.into_iter().map(|(address, number)| Endpoint::address(address.into(), number)));
    Pages::build(&entries)
}

/// Every backend, with the way to it.
pub fn backends(services: &[Service], snapshot: &Snapshot) -> BTreeMap<u16, abi::Backend> {
    let of_service = |service: &Service| -> Vec<(u16, abi::Backend)> {
        let backend = |member: &Member| {
            let way = way_to(service, snapshot, member);
            let alive = if member.keeps() { abi::Backend::ALIVE } else { 0 };
            let resetting = if member.resets() { abi::Backend::RESETTING } else { 0 };
            let there = packed(member.address);
            let entry = |(id, listener): (BackendId, SocketAddr)| {
                let flags = alive | resetting;
                (id.get(), abi::Backend::new(service.number, packed(listener), there, way, flags))
            };
            faces(service, member).map(entry).collect::<Vec<_>>()
        };
        service.members.iter().flat_map(backend).collect()
    };
    services.iter().flat_map(of_service).collect()
}

/// Puts the network's state into `image`; returns what did not fit.
pub fn network(
    image: &mut Image,
    snapshot: &Snapshot,
    direct: &[Prefix],
    services: &[Service],
    neighbour_limit: u32,
) -> Result<Vec<String>, directory::Error> {
    let addresses: Vec<IpAddr> =
        services.iter().flat_map(listeners).map(|(listener, _)| listener.ip()).collect();
    let (routes, problems) = forwarding::routes(snapshot, direct, &addresses);
    image.routes = Arc::new(routes);
    let neighbours = forwarding::neighbours(snapshot, neighbour_limit as usize);
    image.neighbours = Arc::new(Pages::build(&neighbours)?);
    Ok(problems)
}

/// The way to a member; in a tunnel there is less room.
pub fn way_to(service: &Service, snapshot: &Snapshot, member: &Member) -> Way {
    let way = forwarding::way_to(snapshot, member.address.ip());
    let header = match (service.spec.mode, member.address) {
        (ForwardMode::DsrIpip, SocketAddr::V4(_)) => 20,
        (ForwardMode::DsrIpip, SocketAddr::V6(_)) => 40,
        _ => 0,
    };
    Way { mtu: way.mtu.saturating_sub(header), ..way }
}

/// Largest IP packet that every member of a service can be sent, bytes.
pub fn mtu(service: &Service, snapshot: &Snapshot) -> u32 {
    let mtus = service.members.iter().map(|member| way_to(service, snapshot, member).mtu);
    mtus.min().map_or(u32::MAX, u32::from)
}

const fn transports(service: &Service) -> &'static [Transport] {
    match service.spec.protocol {
        Protocol::Tcp => &[Transport::Tcp],
        Protocol::Udp => &[Transport::Udp],
        Protocol::Both => &[Transport::Tcp, Transport::Udp],
    }
}

/// Every endpoint of a service, and the number of the table that its clients are placed by.
fn listeners(service: &Service) -> impl Iterator<Item = (SocketAddr, u32)> {
    let own = (SocketAddr::new(service.spec.address, service.spec.port), service.number);
    let previews = service.lanes.iter().filter_map(|lane| match lane.purpose {
        Purpose::Preview { listener, .. } => Some((listener, lane.number)),
        Purpose::Rules => None,
    });
    std::iter::once(own).chain(previews)
}

/// A member's number, and those of its twins, each with the endpoint that its clients know.
fn faces(service: &Service, member: &Member) -> impl Iterator<Item = (BackendId, SocketAddr)> {
    let own = (member.id, SocketAddr::new(service.spec.address, service.spec.port));
    let id = member.id;
    let twins = service.lanes.iter().filter_map(move |lane| match lane.purpose {
        Purpose::Preview { listener, .. } => Some((lane.own(id), listener)).filter(|(id, _)| !id.is_none()),
        Purpose::Rules => None,
    });
    std::iter::once(own).chain(twins)
}

/// The table for clients of each rule's prefix.
pub fn rules(services: &[Service]) -> Rules {
    let of_service = |service: &Service| -> Vec<_> {
        let rules = service.spec.routes.iter();
        rules
            .filter_map(|rule| Some(((service.number, rule.source), service.ruled_lane(rule.pool)?.number)))
            .collect()
    };
    services.iter().flat_map(of_service).collect()
}

fn packed(endpoint: SocketAddr) -> (Addr, Port) {
    (endpoint.ip().into(), endpoint.port().to_be_bytes())
}
