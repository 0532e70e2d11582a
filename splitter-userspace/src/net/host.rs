//! Kernel settings without which packets that are passed up, already rewritten, would be dropped.

use std::{fmt::Display, fs, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use super::{Snapshot, needs::Needs};
use crate::config::Config;

/// A sentence with cause and cure for every setting that would make the kernel drop what the data plane hands
/// it: packets whose next hop is not known yet go to the kernel already rewritten, and it must forward them.
///
/// `snapshot` tells which addresses are this host's own.
pub fn host_warnings(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    let host = Host { root: "/proc/sys".into(), interfaces: config.daemon.interfaces.clone() };
    host.warnings(&Needs::of(config, snapshot))
}

/// The sysctl tree and the interfaces in question.
struct Host {
    root: PathBuf,
    interfaces: Vec<String>,
}

impl Host {
    fn warnings(&self, needs: &Needs) -> Vec<String> {
        let mut warnings = Vec::new();
        if needs.ipv4 {
            warnings.extend(self.ipv4_forwarding());
        }
        if needs.new_sources {
            warnings.extend(self.reverse_path_filters());
        }
        warnings.extend(needs.own_source.iter().flat_map(|why| self.own_sources_refused(why)));
        if needs.ipv6 {
            warnings.extend(self.ipv6_forwarding());
        }
        warnings.extend(needs.snat_ports.as_ref().and_then(|ports| self.ports_given_twice(ports)));
        warnings.extend(needs.snat_endpoint.map(endpoint_given_away));
        warnings
    }

    fn ipv4_forwarding(&self) -> Vec<String> {
        let consequence = "packets whose next hop is not known yet are lost";
        if self.read("net/ipv4/ip_forward") == Some(0) {
            return vec![format!(
                "IPv4 forwarding is off, so {consequence}: sysctl -w net.ipv4.ip_forward=1"
            )];
        }
        self.each(|name| {
            let key = format!("net/ipv4/conf/{name}/forwarding");
            let off = self.read(&key) == Some(0);
            off.then(|| format!("IPv4 forwarding is off on {name}, so {consequence}: {}", set(&key, 1)))
        })
    }

    fn ipv6_forwarding(&self) -> Option<String> {
        (self.read("net/ipv6/conf/all/forwarding") == Some(0)).then(|| {
            "IPv6 forwarding is off, so packets whose next hop is not known yet are lost: \
             sysctl -w net.ipv6.conf.all.forwarding=1 (a host that learns its default route from router \
             advertisements needs accept_ra=2 on that interface first)"
                .to_owned()
        })
    }

    /// The kernel takes the larger of the setting for all and for the interface (ip-sysctl: `rp_filter`).
    fn reverse_path_filters(&self) -> Vec<String> {
        self.each(|name| {
            let key = format!("net/ipv4/conf/{name}/rp_filter");
            let effective = self.read("net/ipv4/conf/all/rp_filter").max(self.read(&key));
            (effective == Some(1)).then(|| {
                format!(
                    "strict reverse path filtering on {name} drops packets that already bear the service's or \
                     this host's address: {}",
                    set(&key, 2)
                )
            })
        })
    }

    /// `fib_validate_source` (`net/ipv4/fib_frontend.c`) drops what comes in from an address of this host, unless
    /// `accept_local` is set for all or for the interface. IPv6 has no such check.
    fn own_sources_refused(&self, why: &str) -> Vec<String> {
        self.each(|name| {
            let key = format!("net/ipv4/conf/{name}/accept_local");
            let effective = self.read("net/ipv4/conf/all/accept_local").max(self.read(&key));
            (effective == Some(0)).then(|| {
                format!(
                    "{why}: the kernel drops those that it has to carry on if they come in on {name}: {}",
                    set(&key, 1)
                )
            })
        })
    }

    /// The kernel gives its own connections ports of `ip_local_port_range`, less `ip_local_reserved_ports`; where
    /// mode snat gives away the same, an answer may be for either.
    fn ports_given_twice(&self, snat: &RangeInclusive<u16>) -> Option<String> {
        const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
        let kernel = ports(&fs::read_to_string(self.root.join("net/ipv4/ip_local_port_range")).ok()?)?;
        let reserved = fs::read_to_string(self.root.join(RESERVED)).unwrap_or_default();
        let reserved = reserved.trim();
        let (low, high) = (*kernel.start().max(snat.start()), *kernel.end().min(snat.end()));
        let is_reserved = |port| reserved.split(',').filter_map(ports).any(|range| range.contains(&port));
        if (low..=high).all(is_reserved) {
            return None;
        }
        let (first, last) = (snat.start(), snat.end());
        let comma = if reserved.is_empty() { "" } else { "," };
        Some(format!(
            "ports {low}-{high} are given away twice: daemon.snat_ports is {first}-{last} and the kernel gives {}-{} \
             to connections of this host (net.ipv4.ip_local_port_range): choose other snat_ports, or have the \
             kernel keep off: {}",
            kernel.start(),
            kernel.end(),
            set(RESERVED, format_args!("{reserved}{comma}{low}-{high}"))
        ))
    }

    fn each(&self, check: impl Fn(&str) -> Option<String>) -> Vec<String> {
        self.interfaces.iter().filter_map(|name| check(name)).collect()
    }

    /// A setting's value; `None` if this kernel or host has no such setting.
    fn read(&self, key: &str) -> Option<u32> {
        fs::read_to_string(self.root.join(key)).ok()?.trim().parse().ok()
    }
}

fn endpoint_given_away(endpoint: SocketAddr) -> String {
    format!(
        "{endpoint} is a service's, and mode snat gives that port of this host's address away too, so answers to \
         it are taken for requests: choose daemon.snat_ports without {}",
        endpoint.port()
    )
}

/// The command that sets `key`. With slashes where a name has dots of its own, as sysctl(8) wants it.
fn set(key: &str, value: impl Display) -> String {
    let key = if key.contains('.') { key.to_owned() } else { key.replace('/', ".") };
    format!("sysctl -w {key}={value}")
}

/// One port or two ends, as the kernel writes them: `7`, `7-9`, or with a blank between.
fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split(['-', ' ', '\t', '\n']).filter(|end| !end.is_empty());
    let low = ends.next()?.parse().ok()?;
    Some(low..=ends.next().map_or(Some(low), |high| high.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sysctl tree with the given settings.
    fn tree(settings: &[(&str, impl Display)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (key, value) in settings {
            let path = root.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    fn with_host<T>(settings: &[(&str, impl Display)], interface: &str, check: impl Fn(&Host) -> T) -> T {
        let root = tree(settings);
        check(&Host { root: root.path().to_owned(), interfaces: vec![interface.to_owned()] })
    }

    #[test]
    fn forwarding_off_is_named_with_its_cure() {
        let warnings = with_host(&[("net/ipv4/ip_forward", 0)], "eth0", Host::ipv4_forwarding);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].ends_with("sysctl -w net.ipv4.ip_forward=1"), "{warnings:?}");

        let on = [("net/ipv4/ip_forward", 1), ("net/ipv4/conf/eth0/forwarding", 1)];
        assert!(with_host(&on, "eth0", Host::ipv4_forwarding).is_empty());

        let partly = [("net/ipv4/ip_forward", 1), ("net/ipv4/conf/eth0/forwarding", 0)];
        let warnings = with_host(&partly, "eth0", Host::ipv4_forwarding);
        assert!(warnings[0].ends_with("sysctl -w net.ipv4.conf.eth0.forwarding=1"), "{warnings:?}");

        assert!(with_host(&[("net/ipv6/conf/all/forwarding", 0)], "eth0", Host::ipv6_forwarding).is_some());
        assert!(with_host(&[("net/ipv6/conf/all/forwarding", 1)], "eth0", Host::ipv6_forwarding).is_none());
    }

    #[test]
    fn the_larger_reverse_path_filter_counts() {
        for (all, own, warned) in [(0, 0, false), (1, 0, true), (0, 1, true), (1, 2, false), (2, 1, false)] {
            let settings = [("net/ipv4/conf/all/rp_filter", all), ("net/ipv4/conf/eth0/rp_filter", own)];
            let warnings = with_host(&settings, "eth0", Host::reverse_path_filters);
            assert_eq!(!warnings.is_empty(), warned, "all {all}, eth0 {own}");
        }
    }

    #[test]
    fn own_sources_need_accept_local() {
        for (all, own, warned) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let settings =
                [("net/ipv4/conf/all/accept_local", all), ("net/ipv4/conf/eth0/accept_local", own)];
            let warnings = with_host(&settings, "eth0", |host| host.own_sources_refused("it is so"));
            assert_eq!(!warnings.is_empty(), warned, "all {all}, eth0 {own}");
            let cure = "sysctl -w net.ipv4.conf.eth0.accept_local=1";
            assert!(warnings.iter().all(|text| text.starts_with("it is so: ") && text.ends_with(cure)));
        }
    }

    /// The warning where the kernel gives away `kernel` less `reserved`, and snat 2000 to 40,000.
    fn twice(kernel: &str, reserved: &str) -> Option<String> {
        let settings =
            [("net/ipv4/ip_local_port_range", kernel), ("net/ipv4/ip_local_reserved_ports", reserved)];
        with_host(&settings, "eth0", |host| host.ports_given_twice(&(2000..=40_000)))
    }

    #[test]
    fn ports_are_given_away_once() {
        assert_eq!(twice("40001\t60999", ""), None);
        assert_eq!(twice("1024\t1999", ""), None);
        let warning = twice("32768\t60999", "").unwrap();
        assert!(warning.starts_with("ports 32768-40000 are given away twice"), "{warning}");
        assert!(warning.contains("choose other snat_ports"), "{warning}");
        assert!(warning.ends_with("sysctl -w net.ipv4.ip_local_reserved_ports=32768-40000"), "{warning}");
        assert!(twice("40000\t60999", "").unwrap().starts_with("ports 40000-40000 are"));
    }

    #[test]
    fn reserved_ports_are_the_kernels_no_more() {
        assert_eq!(twice("32768\t60999", "8080,32768-40000"), None);
        assert_eq!(twice("32768\t60999", "32768-35000,35001-40000"), None);
        let warning = twice("32768\t60999", "8080,32768-39999").unwrap();
        assert!(warning.ends_with("ip_local_reserved_ports=8080,32768-39999,32768-40000"), "{warning}");
    }

    #[test]
    fn each_need_has_its_checks() {
        let settings = [
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv4/conf/eth0/rp_filter", "1"),
            ("net/ipv4/conf/eth0/accept_local", "0"),
            ("net/ipv4/ip_local_port_range", "1024\t65535"),
        ];
        let count = |needs: Needs| with_host(&settings, "eth0", |host| host.warnings(&needs).len());
        assert_eq!(count(Needs::default()), 0);
        assert_eq!(count(Needs { ipv4: true, ..Needs::default() }), 1);
        assert_eq!(count(Needs { ipv6: true, ..Needs::default() }), 1);
        assert_eq!(count(Needs { new_sources: true, ..Needs::default() }), 1);
        assert_eq!(count(Needs { own_source: Some("so".into()), ..Needs::default() }), 1);
        assert_eq!(count(Needs { snat_ports: Some(2000..=3000), ..Needs::default() }), 1);
        let endpoint = Some("192.0.2.7:2000".parse().unwrap());
        assert_eq!(count(Needs { snat_endpoint: endpoint, ..Needs::default() }), 1);
    }

    #[test]
    fn names_with_dots_get_slashes() {
        let settings = [("net/ipv4/conf/eth0.7/rp_filter", 1)];
        let warnings = with_host(&settings, "eth0.7", Host::reverse_path_filters);
        assert!(warnings[0].ends_with("sysctl -w net/ipv4/conf/eth0.7/rp_filter=2"), "{warnings:?}");
    }
}
