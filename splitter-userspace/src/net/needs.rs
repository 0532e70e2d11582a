//! What the services ask of the host's kernel. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use super::Snapshot;
use crate::config::{Config, ForwardMode, Service};

/// What the kernel has to put up with, so that it carries on what the data plane hands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// It forwards IPv4.
    pub(super) ipv4: bool,
    /// It forwards IPv6.
    pub(super) ipv6: bool,
    /// IPv4 packets come in that bear another source than their sender's.
    pub(super) new_sources: bool,
    /// Why IPv4 packets come in that bear an address of this host as their source, if they do.
    pub(super) own_source: Option<String>,
    /// Ports that mode `snat` gives away, if a service has that mode.
    pub(super) snat_ports: Option<RangeInclusive<u16>>,
    /// A service's endpoint that is among what mode `snat` gives away.
    pub(super) snat_endpoint: Option<SocketAddr>,
}

impl Needs {
    /// What the services of `config` need; `snapshot` knows this host's addresses.
    pub(super) fn of(config: &Config, snapshot: &Snapshot) -> Self {
        let services = &config.services;
        let any =
            |test: fn(&IpAddr) -> bool| services.iter().flat_map(addresses).any(|address| test(&address));
        let replies = services.iter().filter(|service| !service.mode.one_way());
        let mut vips = replies.flat_map(virtual_addresses).filter(IpAddr::is_ipv4);
        let sender = services.iter().find(|service| sends_from_here(service));
        let snat = services.iter().any(|service| service.mode == ForwardMode::Snat);
        Self {
            ipv4: any(IpAddr::is_ipv4),
            ipv6: any(IpAddr::is_ipv6),
            new_sources: sender.is_some() || vips.clone().next().is_some(),
            own_source: vips
                .find(|vip| snapshot.is_local(*vip))
                .map(|vip| format!("{vip} is an address of this host and replies already bear it"))
                .or_else(|| sender.map(reason)),
            snat_ports: snat.then(|| config.daemon.snat_ports.clone()),
            snat_endpoint: endpoint_given_away(config, snapshot),
        }
    }
}

/// Answers to such an endpoint would be taken for requests.
fn endpoint_given_away(config: &Config, snapshot: &Snapshot) -> Option<SocketAddr> {
    let snat = config.services.iter().filter(|service| service.mode == ForwardMode::Snat);
    let sources: Vec<_> =
        snat.flat_map(backends).filter_map(|address| snapshot.sources.get(&address)).collect();
    let given_away = |endpoint: &SocketAddr| {
        config.daemon.snat_ports.contains(&endpoint.port()) && sources.contains(&&endpoint.ip())
    };
    config.services.iter().flat_map(endpoints).find(given_away)
}

fn reason(service: &Service) -> String {
    format!(
        "service {} has mode {}, whose packets already bear this host's own address",
        service.name, service.mode
    )
}

/// Packets for its backends have an IPv4 address of this host as their source.
fn sends_from_here(service: &Service) -> bool {
    let ours = matches!(service.mode, ForwardMode::Snat | ForwardMode::DsrIpip);
    ours && backends(service).any(|address| address.is_ipv4())
}

fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    virtual_addresses(service).chain(backends(service))
}

fn virtual_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + Clone + '_ {
    endpoints(service).map(|endpoint| endpoint.ip())
}

fn endpoints(service: &Service) -> impl Iterator<Item = SocketAddr> + Clone + '_ {
    let previews = service.previews.iter().map(|preview| SocketAddr::new(preview.address, preview.port));
    std::iter::once(SocketAddr::new(service.address, service.port)).chain(previews)
}

fn backends(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    service.pools.values().flat_map(|pool| &pool.backends).map(|backend| backend.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        net::{Route, RouteAction, prefix},
    };

    /// The needs of one service, on a host that has 192.0.2.7.
    fn needs(mode: &str, vip: &str, backend: &str, more: &str) -> Needs {
        let text = format!(
            "daemon = {{ interfaces = [\"eth0\"], hash_seed = \"12345678\", snat_ports = \"2000-3000\" }}\n\
             [[service]]\nname = \"web\"\naddress = \"{vip}\"\nport = 80\nprotocol = \"tcp\"\nstable = \"blue\"\n\
             mode = \"{mode}\"\n[service.pool.blue]\nweight = 100\n\
             backends = [{{ address = \"{backend}\", port = 80 }}]\n{more}"
        );
        let config = config::parse("t.toml".as_ref(), &text).unwrap();
        let own: IpAddr = [192, 0, 2, 7].into();
        let route = Route { prefix: prefix::host(own), action: RouteAction::Local };
        let sources = [([10, 0, 0, 1].into(), own)].into();
        Needs::of(&config, &Snapshot { routes: vec![route], sources, ..Snapshot::default() })
    }

    #[test]
    fn families_are_those_of_services_and_backends() {
        let families = |mode, vip, backend| {
            let needs = needs(mode, vip, backend, "");
            (needs.ipv4, needs.ipv6)
        };
        assert_eq!(families("dnat", "192.0.2.1", "10.0.0.1"), (true, false));
        assert_eq!(families("dnat", "2001:db8::1", "2001:db8::2"), (false, true));
        assert_eq!(families("dsr-ipip", "2001:db8::1", "10.0.0.1"), (true, true));
    }

    #[test]
    fn own_sources_come_from_services_here_and_from_modes_that_send_from_here() {
        let why = |mode, vip, backend| needs(mode, vip, backend, "").own_source;
        assert_eq!(why("dnat", "192.0.2.1", "10.0.0.1"), None);
        assert!(why("dnat", "192.0.2.7", "10.0.0.1").unwrap().starts_with("192.0.2.7 is an address of this"));
        assert!(why("snat", "192.0.2.1", "10.0.0.1").unwrap().starts_with("service web has mode snat"));
        assert!(
            why("dsr-ipip", "2001:db8::1", "10.0.0.1").unwrap().starts_with("service web has mode dsr-ipip")
        );
        // IPv6 does not mind its own address.
        assert_eq!(why("snat", "2001:db8::1", "2001:db8::2"), None);
        assert_eq!(why("dsr-ipip", "192.0.2.1", "2001:db8::2"), None);
        // Nothing comes back that could bear the service's address.
        assert_eq!(why("dsr-l2", "192.0.2.7", "10.0.0.1"), None);
        let preview = "[[service.preview]]\naddress = \"192.0.2.7\"\nport = 81\npool = \"blue\"\n";
        assert!(needs("dnat", "192.0.2.1", "10.0.0.1", preview).own_source.is_some());
    }

    #[test]
    fn sources_change_where_replies_come_back_or_packets_leave_from_here() {
        let new = |mode, vip, backend| needs(mode, vip, backend, "").new_sources;
        assert!(new("dnat", "192.0.2.1", "10.0.0.1") && new("snat", "192.0.2.1", "10.0.0.1"));
        assert!(new("dsr-ipip", "192.0.2.1", "10.0.0.1"));
        assert!(!new("dsr-l2", "192.0.2.1", "10.0.0.1") && !new("dnat", "2001:db8::1", "2001:db8::2"));
    }

    #[test]
    fn only_snat_takes_ports() {
        assert_eq!(needs("snat", "192.0.2.1", "10.0.0.1", "").snat_ports, Some(2000..=3000));
        assert_eq!(needs("dnat", "192.0.2.1", "10.0.0.1", "").snat_ports, None);
    }

    #[test]
    fn an_endpoint_on_the_address_that_snat_sends_from_is_off_its_ports() {
        let given = |mode, vip, port: u16| {
            let preview =
                format!("[[service.preview]]\naddress = \"{vip}\"\nport = {port}\npool = \"blue\"\n");
            needs(mode, "192.0.2.1", "10.0.0.1", &preview).snat_endpoint
        };
        assert_eq!(given("snat", "192.0.2.7", 2000), Some("192.0.2.7:2000".parse().unwrap()));
        assert_eq!(given("snat", "192.0.2.7", 1999), None);
        assert_eq!(given("snat", "192.0.2.1", 2000), None);
        assert_eq!(given("dnat", "192.0.2.7", 2000), None);
    }
}
