//! Mode `snat`: connections that have been silent for too long give their ports back, and all are counted.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use splitter_common::{abi::Translation, slot::BackendId};

use super::{Engine, ledger::Tally, now_ns};
use crate::{
    config::{Config, ForwardMode},
    dataplane::Error,
};

/// Ports that mode `snat` may give to connections: a service's own are known by their endpoints first.
pub fn ports(config: &Config) -> Option<Vec<u16>> {
    let snat = config.services.iter().any(|service| service.mode == ForwardMode::Snat);
    let range: RangeInclusive<u16> = config.daemon.snat_ports.clone();
    let listens = |port: &u16| {
        config.services.iter().any(|service| {
            service.port == *port || service.previews.iter().any(|preview| preview.port == *port)
        })
    };
    snat.then(|| range.filter(|port| !listens(port)).collect())
}

impl Engine {
    /// Some service translates the source.
    pub(super) fn translates(&self) -> bool {
        self.services.iter().any(|service| service.spec.mode == ForwardMode::Snat)
    }

    /// Closes what has been silent for too long; returns the live connections by backend.
    pub(super) fn sweep_translations(&mut self) -> Result<BTreeMap<BackendId, Tally>, Error> {
        let mut live: BTreeMap<BackendId, Tally> = BTreeMap::new();
        for (port, translation) in self.data_plane.translations()? {
            if !Translation::open(translation.state) {
                continue;
            }
            let silent_ns = now_ns().saturating_sub(translation.seen_ns);
            let (idle_timeout, id) = self.owner(&translation);
            let idle_ns = u64::try_from(idle_timeout.as_nanos()).unwrap_or(u64::MAX);
            if Translation::idle(translation.state, silent_ns, idle_ns) {
                self.data_plane.release(port, idle_timeout)?;
            } else {
                live.entry(id).or_default().add(translation.since_ns);
            }
        }
        let free = self.data_plane.free_ports()?;
        self.taken_ports.entries = u64::from(self.snat_ports).saturating_sub(free);
        Ok(live)
    }

    /// How long a connection may be silent, and the number of its service's backend. One that belongs to no service any
    /// more may not be silent at all.
    fn owner(&self, translation: &Translation) -> (Duration, BackendId) {
        let number = translation.key.service();
        let mut all = self.services.iter();
        let service = all.find(|service| service.slot_tables().any(|(table, _)| table == number));
        let member = service.and_then(|service| service.member(translation.backend));
        let timeout = service.map_or(Duration::ZERO, |service| match translation.key.transport() {
            splitter_common::net::Transport::Tcp => service.spec.idle_timeout,
            splitter_common::net::Transport::Udp => service.spec.udp_idle_timeout,
        });
        (timeout, member.map_or(translation.backend, |member| member.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_own_port() {
        let text = r#"
            [daemon]
            interfaces = ["eth0"]
            hash_seed = "a fleet-wide secret"
            snat_ports = "8000-8031"
            [[service]]
            name = "web"
            address = "192.0.2.10"
            port = 8001
            protocol = "tcp"
            mode = "snat"
            stable = "blue"
            [service.pool.blue]
            weight = 100
            backends = [{ address = "10.0.1.11", port = 8443 }]
        "#;
        let config = crate::config::parse(std::path::Path::new("splitter.toml"), text).unwrap();
        let ports = ports(&config).unwrap();
        assert_eq!((ports.len(), ports.contains(&8001)), (31, false));
    }
}
