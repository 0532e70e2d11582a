//! From services and the network's state to the image that packets read. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use splitter_common::{
    abi::{self, Endpoint},
    net::{Addr, Port, Transport},
};

use super::{
    forwarding,
    service::{Member, Service},
};
use crate::{
    config::{Prefix, Protocol},
    directory,
    image::{Image, Pages},
    net::Snapshot,
};

/// Services, backends and service addresses, as the endpoint directory has them.
///
/// # Errors
/// Two endpoints have one key; the configuration's checks do not let that happen.
pub fn endpoints(services: &[Service]) -> Result<Pages<Endpoint>, directory::Error> {
    let mut entries = Vec::new();
    let mut addresses: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for service in services {
        let protocol = transport(service);
        let (address, port) = virtual_endpoint(service);
        entries.push(Endpoint::service(address, port, protocol, service.number));
        addresses.entry(service.spec.address).or_insert(service.number);
        entries.extend(service.members.iter().map(|member| {
            let (address, port) = endpoint_of(member);
            Endpoint::backend(address, port, protocol, member.id)
        }));
    }
    entries.extend(addresses.into_iter().map(|(address, number)| Endpoint::address(address.into(), number)));
    Pages::build(&entries)
}

/// Every backend, with the way to it.
pub fn backends(services: &[Service], snapshot: &Snapshot) -> BTreeMap<u16, abi::Backend> {
    let of_service = |service: &Service| -> Vec<(u16, abi::Backend)> {
        let backend = |member: &Member| {
            let hop = forwarding::hop_to(snapshot, member.address.ip());
            let there = endpoint_of(member);
            let entry =
                abi::Backend::new(service.number, virtual_endpoint(service), there, hop, member.keeps());
            (member.id.get(), entry)
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

fn transport(service: &Service) -> Transport {
    match service.spec.protocol {
        Protocol::Tcp | Protocol::Both => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

fn virtual_endpoint(service: &Service) -> (Addr, Port) {
    (service.spec.address.into(), service.spec.port.to_be_bytes())
}

fn endpoint_of(member: &Member) -> (Addr, Port) {
    (member.address.ip().into(), member.address.port().to_be_bytes())
}
