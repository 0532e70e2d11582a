//! Look-ups in the perfect-hash directories: one displacement, one entry, no probing.

use crate::{
    abi::{Endpoint, Hop},
    classify,
    net::Port,
    rewrite::Rewrite,
    tables::{Live, Tables},
};

/// The endpoint directory's entry for a key; it may be another key's.
#[inline(always)]
pub fn endpoint<'a, F: Rewrite, T: Tables>(
    tables: &'a T,
    live: Live<'_>,
    address: &F::Address,
    port: Port,
    protocol: u8,
) -> Option<&'a Endpoint> {
    let Live { side, sizes } = live;
    let spot = F::spot(sizes.endpoint_seed, address, Endpoint::rest(port, protocol));
    let displacement = tables.endpoint_displacement(side, spot.bucket(sizes.endpoint_bucket_mask))?;
    tables.endpoint(side, spot.position(displacement, sizes.endpoint_position_mask))
}

/// The way to a host on one of our links; unresolved if it is not known.
#[inline(always)]
pub fn neighbour<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, address: &F::Address) -> Hop {
    let find = || {
        let Live { side, sizes } = live;
        let spot = F::spot(sizes.neighbour_seed, address, 0);
        let displacement = tables.neighbour_displacement(side, spot.bucket(sizes.neighbour_bucket_mask))?;
        let entry = tables.neighbour(side, spot.position(displacement, sizes.neighbour_position_mask))?;
        entry.address.is(&F::addr(address)).then_some(entry.hop)
    };
    find().unwrap_or(Hop::UNRESOLVED)
}

/// The number of the service that a whole address belongs to, whatever the port.
#[inline(always)]
pub fn service_address<F: Rewrite, T: Tables>(
    tables: &T,
    live: Live<'_>,
    address: &F::Address,
) -> Option<u32> {
    let entry = endpoint::<F, T>(tables, live, address, [0; 2], 0);
    classify::service_address(entry, &F::addr(address))
}

/// Whether an address is a service's or this host's.
#[inline(always)]
pub fn own<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, address: &F::Address) -> bool {
    let entry = endpoint::<F, T>(tables, live, address, [0; 2], 0);
    classify::own(entry, &F::addr(address))
}
