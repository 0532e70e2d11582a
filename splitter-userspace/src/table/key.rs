//! The key of the connection hash, from `hash_seed` and what the service fixes.

use std::net::IpAddr;

use splitter_common::hash::HashKey;

use super::hash::{Generator, digest};
use crate::config::{Affinity, Protocol, Service};

/// The key of a service's connection hash.
///
/// The multipliers are the fleet's. What the service fixes (destination address, port, protocol) is folded into
/// `base`, unless the source address alone decides: then a person has the same slot in every service.
pub fn hash_key(hash_seed: &str, service: &Service) -> HashKey {
    let mut generator = Generator::new(digest(1, hash_seed.as_bytes()));
    // Odd multipliers: no bit of a word is lost.
    let mut odd = || generator.next() | 1;
    let (base, source, port) = (odd(), [odd(), odd(), odd(), odd()], odd());
    match service.affinity {
        Affinity::Client => HashKey { base, source, port: 0 },
        Affinity::Connection => HashKey { base: digest(base, &endpoint(service)), source, port },
    }
}

/// Destination address, port and protocol as bytes.
fn endpoint(service: &Service) -> Vec<u8> {
    let mut bytes = match service.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.extend(service.port.to_be_bytes());
    bytes.push(match service.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Both => 0,
    });
    bytes
}
