//! Perfect-hash directories, in pages: services, backends and the hosts on our links.

use super::Hop;
use crate::{
    net::{Addr, Port, Transport},
    slot::BackendId,
};

/// Displacements in a page of a directory.
pub const DISPLACEMENTS_PER_PAGE: usize = 1024;
/// Entries in a page of a directory.
pub const ENTRIES_PER_PAGE: usize = 128;

/// A page of a directory's buckets.
pub type Displacements = [u32; DISPLACEMENTS_PER_PAGE];
/// A page of the endpoint directory.
pub type Endpoints = [Endpoint; ENTRIES_PER_PAGE];
/// A page of the neighbour directory.
pub type Neighbours = [Neighbour; ENTRIES_PER_PAGE];

/// An address that the data plane knows, and what it is: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Endpoint {
    address: Addr,
    port: Port,
    protocol: u8,
    kind: u8,
    target: u32,
    _padding: [u8; 8],
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Address and port of a service, by its number.
    Service(u32),
    /// Address and port of a backend: the source of replies.
    Backend(BackendId),
    /// The address of one or more services, for all traffic that no service takes; the first one's number.
    Address(u32),
    /// An address of this host that no service has.
    Local,
}

impl Endpoint {
    const SERVICE: u8 = 1;
    const BACKEND: u8 = 2;
    const ADDRESS: u8 = 3;
    const LOCAL: u8 = 4;

    /// A service's address and port.
    pub const fn service(address: Addr, port: Port, protocol: Transport, number: u32) -> Self {
        Self {
            address,
            port,
            protocol: protocol as u8,
            kind: Self::SERVICE,
            target: number,
            _padding: [0; 8],
        }
    }

    /// A backend's address and port.
    pub const fn backend(address: Addr, port: Port, protocol: Transport, id: BackendId) -> Self {
        let target = id.get() as u32;
        Self { address, port, protocol: protocol as u8, kind: Self::BACKEND, target, _padding: [0; 8] }
    }

    /// A service's address, for traffic that no service takes.
    pub const fn address(address: Addr, first_service: u32) -> Self {
        let kind = Self::ADDRESS;
        Self { address, port: [0; 2], protocol: 0, kind, target: first_service, _padding: [0; 8] }
    }

    /// An address of this host that no service has: nobody else sends from it.
    pub const fn local(address: Addr) -> Self {
        let kind = Self::LOCAL;
        Self { address, port: [0; 2], protocol: 0, kind, target: 0, _padding: [0; 8] }
    }

    /// The 32 bits that are hashed with the address.
    #[inline(always)]
    pub const fn rest(port: Port, protocol: u8) -> u32 {
        (u16::from_be_bytes(port) as u32) << 8 | protocol as u32
    }

    /// Address, and the bits hashed with it: what the directory's builder hashes.
    pub const fn key(&self) -> (Addr, u32) {
        (self.address, Self::rest(self.port, self.protocol))
    }

    /// What this is, if its key is the one asked for.
    #[inline(always)]
    pub fn target(&self, address: &Addr, port: Port, protocol: u8) -> Option<Target> {
        if !self.address.is(address) || self.port != port || self.protocol != protocol {
            return None;
        }
        match self.kind {
            Self::SERVICE => Some(Target::Service(self.target)),
            Self::BACKEND => Some(Target::Backend(BackendId::new(self.target as u16))),
            Self::ADDRESS => Some(Target::Address(self.target)),
            Self::LOCAL => Some(Target::Local),
            _ => None,
        }
    }
}

/// A host on one of our links: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Neighbour {
    /// Its address.
    pub address: Addr,
    /// The way to it; unresolved marks an empty position.
    pub hop: Hop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_answers_to_its_own_key_only() {
        let address = Addr::from_v4([192, 0, 2, 10]);
        let service = Endpoint::service(address, [1, 187], Transport::Tcp, 3);
        assert_eq!(service.target(&address, [1, 187], 6), Some(Target::Service(3)));
        assert_eq!(service.target(&address, [1, 187], 17), None);
        assert_eq!(service.target(&address, [0, 80], 6), None);
        assert_eq!(service.target(&Addr::from_v4([192, 0, 2, 11]), [1, 187], 6), None);
        assert_eq!(Endpoint::default().target(&Addr::default(), [0, 0], 0), None, "an empty position");
    }
}
