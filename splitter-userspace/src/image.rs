//! Everything that packets read under one generation, as the daemon wants it, and what must be written to get there.
//!
//! The kernel's maps have two sides. [`Image`] is the content of one; [`diff`] between what the idle side holds
//! and what it should hold is the list of writes that precede a flip. Unchanged parts are shared (`Arc`), so a
//! shift of one service compares a thousand others by pointer.

use std::{collections::BTreeMap, sync::Arc};

use splitter_common::{
    abi::{
        self, DISPLACEMENTS_PER_PAGE, Displacements, ENTRIES_PER_PAGE, Endpoint, Neighbour, RouteTable,
        ServiceTable, Side,
    },
    hash::Spot,
};

use crate::{config::Prefix, directory};

/// The content of one side.
#[derive(Clone)]
pub struct Image {
    /// Slot tables by service number.
    pub services: BTreeMap<u32, Arc<ServiceTable>>,
    /// Backends by id.
    pub backends: Arc<BTreeMap<u16, abi::Backend>>,
    /// Services, backends and service addresses.
    pub endpoints: Arc<Pages<Endpoint>>,
    /// Hosts on our links.
    pub neighbours: Arc<Pages<Neighbour>>,
    /// IPv4 and IPv6 routes.
    pub routes: Arc<[RouteTable; 2]>,
    /// Number of the table for clients of a service with a prefix.
    pub rules: Arc<Rules>,
}

/// Number of the table by service and clients' prefix.
pub type Rules = BTreeMap<(u32, Prefix), u32>;

/// A perfect-hash directory, cut into pages as the maps have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages<E> {
    seed: u64,
    bucket_mask: u32,
    position_mask: u32,
    buckets: Vec<Displacements>,
    entries: Vec<[E; ENTRIES_PER_PAGE]>,
}

/// One write to a map, on the idle side.
pub enum Operation {
    /// A service and its slot table.
    Service(u32, Arc<ServiceTable>),
    /// A backend.
    Backend(u16, abi::Backend),
    /// A page of the endpoint directory's buckets.
    EndpointBuckets(u32, Box<Displacements>),
    /// A page of the endpoint directory.
    Endpoints(u32, Box<abi::Endpoints>),
    /// A page of the neighbour directory's buckets.
    NeighbourBuckets(u32, Box<Displacements>),
    /// A page of the neighbour directory.
    Neighbours(u32, Box<abi::Neighbours>),
    /// Routes of a family: 0 IPv4, 1 IPv6.
    Routes(u32, Box<RouteTable>),
    /// The table for clients of a service with a prefix; `None`: no longer one of their own.
    Rule(u32, Prefix, Option<u32>),
}

impl Image {
    /// What freshly made maps hold.
    pub fn empty() -> Self {
        Self {
            services: BTreeMap::new(),
            backends: Arc::default(),
            endpoints: Arc::new(Pages::empty()),
            neighbours: Arc::new(Pages::empty()),
            routes: Arc::new([RouteTable::EMPTY; 2]),
            rules: Arc::default(),
        }
    }

    /// Whether it is this very one: every part is shared.
    pub fn is(&self, other: &Self) -> bool {
        let services = self.services.iter().zip(&other.services);
        Arc::ptr_eq(&self.backends, &other.backends)
            && Arc::ptr_eq(&self.endpoints, &other.endpoints)
            && Arc::ptr_eq(&self.neighbours, &other.neighbours)
            && Arc::ptr_eq(&self.routes, &other.routes)
            && Arc::ptr_eq(&self.rules, &other.rules)
            && self.services.len() == other.services.len()
            && services.into_iter().all(|(one, two)| one.0 == two.0 && Arc::ptr_eq(one.1, two.1))
    }

    /// Seeds and sizes of its directories.
    pub fn side(&self) -> Side {
        Side {
            endpoint_seed: self.endpoints.seed,
            neighbour_seed: self.neighbours.seed,
            endpoint_bucket_mask: self.endpoints.bucket_mask,
            endpoint_position_mask: self.endpoints.position_mask,
            neighbour_bucket_mask: self.neighbours.bucket_mask,
            neighbour_position_mask: self.neighbours.position_mask,
        }
    }
}

/// A kind of directory entry.
pub trait Entry: Copy + Default + PartialEq {
    /// Where the directory puts it.
    fn spot(&self, seed: u64) -> Spot;
}

impl Entry for Endpoint {
    fn spot(&self, seed: u64) -> Spot {
        let (address, rest) = self.key();
        Spot::of(seed, address, rest)
    }
}

impl Entry for Neighbour {
    fn spot(&self, seed: u64) -> Spot {
        Spot::of(seed, self.address, 0)
    }
}

/// Seeds tried before a directory is given up: see [`directory::build`] for how rarely one fails.
const SEEDS: u64 = 64;

impl<E: Entry> Pages<E> {
    /// Without entries: one page each.
    pub fn empty() -> Self {
        Self {
            seed: 0,
            bucket_mask: DISPLACEMENTS_PER_PAGE as u32 - 1,
            position_mask: ENTRIES_PER_PAGE as u32 - 1,
            buckets: vec![[0; DISPLACEMENTS_PER_PAGE]],
            entries: vec![[E::default(); ENTRIES_PER_PAGE]],
        }
    }

    /// A directory of `entries`, whose keys must differ.
    ///
    /// # Errors
    /// Two entries have one key.
    pub fn build(entries: &[E]) -> Result<Self, directory::Error> {
        let positions = pages_for::<ENTRIES_PER_PAGE>(entries.len() * 2);
        let buckets = pages_for::<DISPLACEMENTS_PER_PAGE>(entries.len() / 2);
        let attempt = |seed: u64| {
            let spots: Vec<Spot> = entries.iter().map(|entry| entry.spot(seed)).collect();
            directory::build(&spots, buckets, positions).map(|directory| Self::cut(seed, &directory, entries))
        };
        (1..SEEDS).map(attempt).find(Result::is_ok).unwrap_or_else(|| attempt(SEEDS))
    }

    fn cut(seed: u64, directory: &directory::Directory, entries: &[E]) -> Self {
        let placed: Vec<E> =
            directory.slots.iter().map(|key| key.map_or(E::default(), |key| entries[key as usize])).collect();
        let buckets: Vec<Displacements> =
            directory.displacements.chunks_exact(DISPLACEMENTS_PER_PAGE).map(array).collect();
        let entries = placed.chunks_exact(ENTRIES_PER_PAGE).map(array).collect();
        let (bucket_mask, position_mask) =
            (directory.displacements.len() as u32 - 1, placed.len() as u32 - 1);
        Self { seed, bucket_mask, position_mask, buckets, entries }
    }
}

/// Pages of `buckets` and `entries` that a map needs to hold a directory of at most `keys` keys.
pub const fn directory_pages(keys: usize) -> (u32, u32) {
    let buckets = pages_for::<DISPLACEMENTS_PER_PAGE>(keys / 2) / DISPLACEMENTS_PER_PAGE as u32;
    let entries = pages_for::<ENTRIES_PER_PAGE>(keys * 2) / ENTRIES_PER_PAGE as u32;
    (buckets, entries)
}

/// The least power of two that is at least `wanted` and one page.
const fn pages_for<const PAGE: usize>(wanted: usize) -> u32 {
    (if wanted < PAGE { PAGE } else { wanted }).next_power_of_two() as u32
}

fn array<T: Copy, const N: usize>(chunk: &[T]) -> [T; N] {
    chunk.try_into().expect("chunks_exact gives chunks of this very length")
}

/// The writes that turn a side that holds `old` into one that holds `new`.
pub fn diff(old: &Image, new: &Image) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (number, table) in &new.services {
        if !old.services.get(number).is_some_and(|written| Arc::ptr_eq(written, table)) {
            operations.push(Operation::Service(*number, Arc::clone(table)));
        }
    }
    if !Arc::ptr_eq(&old.backends, &new.backends) {
        let changed = new.backends.iter().filter(|(id, backend)| old.backends.get(id) != Some(*backend));
        operations.extend(changed.map(|(id, backend)| Operation::Backend(*id, *backend)));
    }
    if !Arc::ptr_eq(&old.endpoints, &new.endpoints) {
        changed(&old.endpoints.buckets, &new.endpoints.buckets, Operation::EndpointBuckets, &mut operations);
        changed(&old.endpoints.entries, &new.endpoints.entries, Operation::Endpoints, &mut operations);
    }
    if !Arc::ptr_eq(&old.neighbours, &new.neighbours) {
        changed(
            &old.neighbours.buckets,
            &new.neighbours.buckets,
            Operation::NeighbourBuckets,
            &mut operations,
        );
        changed(&old.neighbours.entries, &new.neighbours.entries, Operation::Neighbours, &mut operations);
    }
    if !Arc::ptr_eq(&old.routes, &new.routes) {
        operations.extend(
            (0..).zip(new.routes.iter()).map(|(family, table)| Operation::Routes(family, Box::new(*table))),
        );
    }
    if !Arc::ptr_eq(&old.rules, &new.rules) {
        rules(&old.rules, &new.rules, &mut operations);
    }
    operations
}

/// Rules that are gone first: there is room for the new ones then.
fn rules(old: &Rules, new: &Rules, into: &mut Vec<Operation>) {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    into.extend(gone.map(|(service, prefix)| Operation::Rule(*service, *prefix, None)));
    let changed = new.iter().filter(|(key, number)| old.get(key) != Some(*number));
    into.extend(changed.map(|((service, prefix), number)| Operation::Rule(*service, *prefix, Some(*number))));
}

/// Pages that differ. Pages beyond the old ones' end hold what some older directory left, so they are written.
fn changed<P: Copy + PartialEq>(
    old: &[P],
    new: &[P],
    write: fn(u32, Box<P>) -> Operation,
    into: &mut Vec<Operation>,
) {
    for (number, page) in (0..).zip(new) {
        if old.get(number as usize) != Some(page) {
            into.push(write(number, Box::new(*page)));
        }
    }
}

#[cfg(test)]
mod tests {
    use splitter_common::net::Addr;

    use super::*;

    #[test]
    fn addresses_that_differ_in_their_high_bits_alone_are_told_apart() {
        let network = |number: u8| Endpoint::local(Addr::from_v4([10, number, 0, 1]));
        let all: Vec<Endpoint> = (0..=255).map(network).collect();
        assert!(Pages::build(&all).is_ok());
        let subnet = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let mut bytes = [0x20; 16];
            (bytes[6], bytes[7]) = (high, low);
            Endpoint::local(Addr::from_bytes(bytes))
        };
        let all: Vec<Endpoint> = (0..1000).map(subnet).collect();
        assert!(Pages::build(&all).is_ok());
    }
}
