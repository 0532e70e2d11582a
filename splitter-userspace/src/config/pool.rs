//! Reads `[service.pool.NAME]` and the backends in it.

use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;

use super::{
    BackendSpec, Pool, PoolName, Weight, address,
    mistakes::{At, Place},
    table::Table,
    value::{Parsed, integer, keyword, port, weight},
};

const NAMES: [(&str, PoolName); 3] =
    [("blue", PoolName::Blue), ("green", PoolName::Green), ("canary", PoolName::Canary)];
/// Largest relative weight of a backend.
const MAX_BACKEND_WEIGHT: u32 = 1000;

/// A pool as far as it could be read.
pub(super) struct PoolDraft {
    pub name: PoolName,
    pub weight: Option<At<Weight>>,
    pub backends: Vec<BackendDraft>,
}

/// A backend as far as it could be read.
pub(super) struct BackendDraft {
    pub place: Place,
    pub address: Option<At<IpAddr>>,
    pub port: Option<At<u16>>,
    weight: u32,
}

/// A pool's name.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<PoolName> {
    keyword(&NAMES)(value)
}

/// One pool's table.
pub(super) fn read(name: PoolName, table: &mut Table<'_, '_, '_>) -> PoolDraft {
    PoolDraft {
        name,
        weight: table.required("weight", "weight = 0", weight),
        backends: table.children(
            "backends",
            "write backends = [{ address = \"10.0.1.11\", port = 8443 }]",
            read_backend,
        ),
    }
}

fn read_backend(table: &mut Table<'_, '_, '_>) -> BackendDraft {
    BackendDraft {
        place: table.place().clone(),
        address: table.required("address", "address = \"10.0.1.11\"", address::address),
        port: table.required("port", "port = 8443", port),
        weight: table.optional("weight", 1, integer(1..=MAX_BACKEND_WEIGHT)),
    }
}

impl PoolDraft {
    /// The checked pool; `None` when a value is missing or wrong.
    pub fn build(self) -> Option<Pool> {
        let backends = self.backends.into_iter().map(BackendDraft::build).collect::<Option<_>>()?;
        Some(Pool { weight: self.weight?.value, backends })
    }
}

impl BackendDraft {
    /// Address and port, if both could be read.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address.as_ref()?.value, self.port.as_ref()?.value))
    }

    fn build(self) -> Option<BackendSpec> {
        Some(BackendSpec { address: self.address?.value, port: self.port?.value, weight: self.weight })
    }
}
