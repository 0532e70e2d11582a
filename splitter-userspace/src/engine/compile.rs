//! From services and the network's state to the image that packets read. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use splitter_common::{
    abi::{self, Endpoint, Way},
    net::{Addr, Port, Transport},
};

use super::{
    forwarding,
    service::{Member, Service},
};
use crate::{
    config::{ForwardMode, Prefix, Protocol},
    dataplane::LOCAL_ADDRESSES,
    directory,
    image::{Image, Pages},
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
        let (address, port) = virtual_endpoint(service);
        addresses.entry(service.spec.address).or_insert(service.number);
        for protocol in transports(service) {
            entries.push(Endpoint::service(address, port, *protocol, service.number));
            // In the one-way modes a backend's packets come from the service's address, and not to us.
            let answering = service.members.iter().filter(|_| !service.spec.mode.one_way());
            entries.extend(answering.map(|member| {
                let (address, port) = endpoint_of(member);
                Endpoint::backend(address, port, *protocol, member.id)
            }));
        }
    }
    let own = locals.iter().filter(|address| !addresses.contains_key(address)).take(LOCAL_ADDRESSES);
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
            let (here, there) = (virtual_endpoint(service), endpoint_of(member));
            (member.id.get(), abi::Backend::new(service.number, here, there, way, alive | resetting))
        };
        service.members.iter().map(backend).collect()
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
    let addresses: Vec<IpAddr> = services.iter().map(|service| service.spec.address).collect();
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

fn virtual_endpoint(service: &Service) -> (Addr, Port) {
    (service.spec.address.into(), service.spec.port.to_be_bytes())
}

fn endpoint_of(member: &Member) -> (Addr, Port) {
    (member.address.ip().into(), member.address.port().to_be_bytes())
}
