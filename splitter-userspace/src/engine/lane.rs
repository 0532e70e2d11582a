//! A lane: a slot table of its own that some clients of a service are placed by, and that always leads to one pool.
//! Clients with a rule have one, and each preview listener.

use std::{net::SocketAddr, sync::Arc};

use splitter_common::{abi::ServiceTable, slot::BackendId};

use super::slots::Slots;
use crate::config::{self, ForwardMode, PoolName};

/// A slot table beside the service's own.
#[derive(Clone)]
pub struct Lane {
    /// Its number in the kernel's maps.
    pub number: u32,
    /// The pool that it leads to.
    pub pool: PoolName,
    /// Whose it is.
    pub purpose: Purpose,
    /// Its slots.
    pub slots: Slots,
    /// The table for the kernel.
    pub table: Arc<ServiceTable>,
}

/// Who is placed by a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients with a rule.
    Rules,
    /// Clients of a preview listener. Its replies come from its own endpoint, so it has entries of its own for the
    /// pool's backends.
    Preview {
        /// Address and port of the listener.
        listener: SocketAddr,
        /// The entry of its own by the service's.
        twins: Vec<(BackendId, BackendId)>,
    },
}

impl Lane {
    /// The backends' numbers in this lane.
    pub fn own(&self, id: BackendId) -> BackendId {
        match &self.purpose {
            Purpose::Rules => id,
            Purpose::Preview { twins, .. } => {
                twins.iter().find(|(main, _)| *main == id).map_or(BackendId::NONE, |(_, twin)| *twin)
            }
        }
    }

    /// The service's own number of a backend of this lane; itself if it is none.
    pub fn main(&self, id: BackendId) -> BackendId {
        match &self.purpose {
            Purpose::Rules => id,
            Purpose::Preview { twins, .. } => {
                twins.iter().find(|(_, twin)| *twin == id).map_or(id, |(main, _)| *main)
            }
        }
    }

    /// Each connection is recorded by itself, so that its slot need not keep it.
    pub fn records_each(&self, mode: ForwardMode) -> bool {
        mode == ForwardMode::Snat
            || (matches!(self.purpose, Purpose::Preview { .. }) && mode == ForwardMode::Dnat)
    }

    /// What its table says beyond the service's settings.
    pub fn flags(&self, mode: ForwardMode) -> u32 {
        match self.purpose {
            Purpose::Preview { .. } if mode == ForwardMode::Dnat => ServiceTable::PREVIEW,
            _ => 0,
        }
    }
}

/// Pools that a service's rules lead to, each once.
pub fn ruled_pools(spec: &config::Service) -> Vec<PoolName> {
    PoolName::ALL.into_iter().filter(|pool| spec.routes.iter().any(|rule| rule.pool == *pool)).collect()
}
