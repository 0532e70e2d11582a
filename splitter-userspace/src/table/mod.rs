//! The slot table: a pure function of split, backends and `hash_seed`, without history, so that two hosts, or
//! one host after a restart, build the same.
//!
//! # Layout
//! - [`order`]: the one pseudo-random order of the slots
//! - [`share`]: which stretch of that order each pool owns
//! - `rendezvous`: which backend of a pool gets which of its slots
//! - `key`: the key of the connection hash
//! - `hash`: the randomness of all four

mod hash;
mod key;
pub mod order;
mod rendezvous;
pub mod share;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

pub use key::hash_key;
pub use order::Order;
use rendezvous::Member;
pub use share::Shares;

use crate::{api::model::Split, config::PoolName};

pub use splitter_common::hash::SLOTS;

/// What a slot table is made from.
#[derive(Clone, Copy, Debug)]
pub struct TableInput<'a> {
    /// The order of the slots, which carries `hash_seed`.
    pub order: &'a Order,
    /// Weights that add up to 100 %, and the stable pool, blue or green.
    pub split: &'a Split,
    /// The backends of each pool, at most 65,536 in one; their order does not matter.
    pub pools: &'a BTreeMap<PoolName, Vec<TableBackend>>,
}

/// A backend as the table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableBackend {
    /// Its identity: backends with equal addresses are the same backend.
    pub address: SocketAddr,
    /// Relative weight inside the pool; 0 gets nothing.
    pub weight: u32,
    /// Whether it may get new connections.
    pub usable: bool,
}

/// Who gets a slot's new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The pool that owns the slot.
    pub pool: PoolName,
    /// Index of the backend in the pool's list of [`TableInput::pools`]; `None` when the pool has no usable
    /// one: the slot stays the pool's, and the service's `no_backend` policy applies.
    pub backend: Option<usize>,
}

/// A service's slot table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    placements: Vec<Placement>,
}

impl Table {
    /// One placement for every slot, by slot number.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The pool that owns `slot`, which is below [`SLOTS`].
    pub fn owner(&self, slot: usize) -> PoolName {
        self.placements[slot].pool
    }
}

/// Builds the table of a service.
pub fn build(input: &TableInput<'_>) -> Table {
    let shares = Shares::of(input.split);
    let mut placements = vec![Placement { pool: input.split.stable, backend: None }; SLOTS];
    for pool in PoolName::ALL {
        let slots = &input.order.slots()[shares.positions(pool)];
        let backends = input.pools.get(&pool).map_or(&[][..], Vec::as_slice);
        for (&slot, backend) in slots.iter().zip(share_out(slots, backends, input.order.seed())) {
            placements[usize::from(slot)] = Placement { pool, backend };
        }
    }
    Table { placements }
}

/// The index of the backend for each of `slots`.
fn share_out(slots: &[u16], backends: &[TableBackend], seed: u64) -> Vec<Option<usize>> {
    let mut usable: Vec<(Member, SocketAddr, usize)> = backends
        .iter()
        .enumerate()
        .filter(|(_, backend)| backend.usable && backend.weight > 0)
        .map(|(index, backend)| (member(backend, seed), backend.address, index))
        .collect();
    if usable.is_empty() {
        return vec![None; slots.len()];
    }
    usable.sort_unstable();
    let members: Vec<Member> = usable.iter().map(|&(member, ..)| member).collect();
    let winners = rendezvous::share_out(slots, &members);
    winners.into_iter().map(|winner| Some(usable[usize::from(winner)].2)).collect()
}

/// A backend under the name that the hash knows it by: address and port, not its place in the file.
fn member(backend: &TableBackend, seed: u64) -> Member {
    let mut name = [0; 18];
    match backend.address.ip() {
        IpAddr::V4(address) => name[..16].copy_from_slice(&address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => name[..16].copy_from_slice(&address.octets()),
    }
    name[16..].copy_from_slice(&backend.address.port().to_be_bytes());
    Member { key: hash::digest(seed, &name), weight: backend.weight }
}

#[cfg(test)]
mod tests;
