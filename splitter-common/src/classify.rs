//! What a packet is to us: one to a service, a backend's reply, or none of our business.

use crate::{
    abi::{Endpoint, ROUTES_PER_FAMILY, Route, RouteTable, Target},
    net::{Addr, Port},
    slot::BackendId,
};

/// What a packet is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// From a client to service number so-and-so.
    Request(u32),
    /// From a backend's address and port.
    Reply(BackendId),
    /// A datagram from a backend's address and port to service number so-and-so: two backends would answer each other.
    Loop(u32),
    /// Neither.
    Other,
}

/// What the packet's destination says: only a service counts here.
#[inline(always)]
pub fn request(entry: Option<&Endpoint>, address: &Addr, port: Port, protocol: u8) -> Option<u32> {
    match entry?.target(address, port, protocol)? {
        Target::Service(number) => Some(number),
        Target::Backend(_) | Target::Address(_) | Target::Local => None,
    }
}

/// What the packet's source says: only a backend counts here.
#[inline(always)]
pub fn reply(entry: Option<&Endpoint>, address: &Addr, port: Port, protocol: u8) -> Option<BackendId> {
    match entry?.target(address, port, protocol)? {
        Target::Backend(id) => Some(id),
        Target::Service(_) | Target::Address(_) | Target::Local => None,
    }
}

/// Whether an address is that of a service, whatever the port.
#[inline(always)]
pub fn service_address(entry: Option<&Endpoint>, address: &Addr) -> Option<u32> {
    match entry?.target(address, [0; 2], 0)? {
        Target::Address(number) => Some(number),
        Target::Service(_) | Target::Backend(_) | Target::Local => None,
    }
}

/// Whether an address is that of a service, or of this host.
#[inline(always)]
pub fn own(entry: Option<&Endpoint>, address: &Addr) -> bool {
    let target = entry.and_then(|entry| entry.target(address, [0; 2], 0));
    matches!(target, Some(Target::Address(_) | Target::Local))
}

/// Position of the first route that covers `address`: the table is sorted by falling prefix length.
///
/// A call of its own: the loop need not stand in the program once for each family. What it returns is read from the table,
/// not counted: of a counted position the verifier goes through all that follows once for every value ("BPF program is
/// too large").
#[inline(never)]
fn position(table: &RouteTable, address: &Addr) -> u32 {
    let mut position = 0;
    while position < table.count && position < ROUTES_PER_FAMILY as u32 {
        let Some(route) = table.routes.get(position as usize) else { break };
        if address.within(&route.network, &route.mask) {
            return route.position;
        }
        position += 1;
    }
    u32::MAX
}

/// The route to `address`.
#[inline(always)]
pub fn route<'a>(table: &'a RouteTable, address: &Addr) -> Option<&'a Route> {
    table.routes.get(position(table, address) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{abi::Hop, net::Transport};

    #[test]
    fn only_the_asked_kind_answers() {
        let address = Addr::from_v4([10, 0, 0, 1]);
        let service = Endpoint::service(address, [0, 80], Transport::Tcp, 1);
        let backend = Endpoint::backend(address, [0, 80], Transport::Tcp, BackendId::new(9));
        assert_eq!(request(Some(&service), &address, [0, 80], 6), Some(1));
        assert_eq!(request(Some(&backend), &address, [0, 80], 6), None);
        assert_eq!(reply(Some(&backend), &address, [0, 80], 6), Some(BackendId::new(9)));
        assert_eq!(reply(Some(&service), &address, [0, 80], 6), None);
        assert_eq!(service_address(Some(&Endpoint::address(address, 4)), &address), Some(4));
        assert!(
            own(Some(&Endpoint::address(address, 4)), &address)
                && own(Some(&Endpoint::local(address)), &address)
        );
        assert!(!own(Some(&service), &address) && !own(None, &address));
    }

    #[test]
    fn the_first_covering_route_wins() {
        let mut table = RouteTable::EMPTY;
        let mask = |bytes| Addr::from_v4(bytes);
        table.routes[0] =
            Route::new(mask([10, 1, 0, 0]), mask([255, 255, 0, 0]), Route::ON_LINK, Hop::UNRESOLVED, 1500);
        let default = Route::new(mask([0; 4]), mask([0; 4]), Route::VIA, Hop::UNRESOLVED, 1500);
        table.routes[1] = default;
        table.routes[1].position = 1;
        let action =
            |table: &RouteTable, bytes| route(table, &Addr::from_v4(bytes)).map(|route| route.action);
        assert_eq!(action(&table, [10, 1, 2, 3]), None, "none in use");
        table.count = 2;
        assert_eq!(action(&table, [10, 1, 2, 3]), Some(Route::ON_LINK));
        assert_eq!(action(&table, [10, 2, 2, 3]), Some(Route::VIA));
    }
}
