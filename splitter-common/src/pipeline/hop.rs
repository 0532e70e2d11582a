//! The way back to a client.

use super::directory;
use crate::{
    abi::{Hop, Route},
    classify,
    rewrite::Rewrite,
    tables::{Live, Tables},
};

/// The way to a client.
pub struct WayBack {
    /// The next hop, unresolved if the kernel must find it.
    pub hop: Hop,
    /// Largest IP packet that may go there, bytes; no limit where only the kernel knows.
    pub mtu: usize,
}

/// The way to a client; `None` for one that is no client of a service: an address of this host, or a `direct` prefix.
#[inline(always)]
pub fn way_back<F: Rewrite, T: Tables>(tables: &T, live: Live<'_>, client: &F::Address) -> Option<WayBack> {
    let route = tables.routes(live.side, F::INDEX).and_then(|table| classify::route(table, &F::addr(client)));
    match route {
        Some(route) if route.action == Route::DIRECT => None,
        Some(route) if route.action == Route::VIA => {
            Some(WayBack { hop: route.hop, mtu: route.mtu as usize })
        }
        Some(route) if route.action == Route::ON_LINK => {
            let hop = directory::neighbour::<F, T>(tables, live, client);
            Some(WayBack { hop, mtu: route.mtu as usize })
        }
        _ => Some(WayBack { hop: Hop::UNRESOLVED, mtu: usize::MAX }),
    }
}
