//! Reads `[[service.route]]` and `[[service.preview]]`: who always gets which pool, whatever the weights.

use std::net::{IpAddr, SocketAddr};

use super::{
    PoolName, Prefix, Preview, RouteRule, address,
    mistakes::{At, Place},
    pool,
    table::Table,
    value::port,
};

/// A route as far as it could be read.
pub(super) struct RouteDraft {
    pub place: Place,
    pub source: Option<At<Prefix>>,
    pub pool: Option<At<PoolName>>,
}

/// A preview as far as it could be read.
pub(super) struct PreviewDraft {
    pub place: Place,
    pub address: Option<At<IpAddr>>,
    pub port: Option<At<u16>>,
    pub pool: Option<At<PoolName>>,
}

/// Every route of a service.
pub(super) fn routes(table: &mut Table<'_, '_, '_>) -> Vec<RouteDraft> {
    table.children("route", "write [[service.route]] above each route", |table| RouteDraft {
        place: table.place().clone(),
        source: table.required("source", "source = \"10.20.0.0/16\"", address::prefix),
        pool: table.required("pool", "pool = \"canary\"", pool::name),
    })
}

/// Every preview of a service that has this address, if it could be read.
pub(super) fn previews(table: &mut Table<'_, '_, '_>, service: Option<IpAddr>) -> Vec<PreviewDraft> {
    table.children("preview", "write [[service.preview]] above each preview", |table| PreviewDraft {
        place: table.place().clone(),
        address: table.given_or("address", service, address::address),
        port: table.required("port", "port = 8443", port),
        pool: table.required("pool", "pool = \"green\"", pool::name),
    })
}

impl RouteDraft {
    /// The checked route; `None` when a value is missing or wrong.
    pub fn build(self) -> Option<RouteRule> {
        Some(RouteRule { source: self.source?.value, pool: self.pool?.value })
    }
}

impl PreviewDraft {
    /// Address and port, if both could be read.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address.as_ref()?.value, self.port.as_ref()?.value))
    }

    /// The checked preview; `None` when a value is missing or wrong.
    pub fn build(self) -> Option<Preview> {
        Some(Preview { address: self.address?.value, port: self.port?.value, pool: self.pool?.value })
    }
}
