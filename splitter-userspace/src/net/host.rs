//! Kernel settings without which packets that are passed up, already rewritten, would be dropped.

use std::{fs, net::IpAddr, path::PathBuf};

use super::Snapshot;

/// A sentence with cause and cure for every setting that would make the kernel drop what the data plane hands
/// it: packets whose next hop is not known yet go to the kernel already rewritten, and it must forward them.
///
/// `snapshot` tells which of the service addresses `vips` are this host's own.
pub fn host_warnings(interfaces: &[String], vips: &[IpAddr], snapshot: &Snapshot) -> Vec<String> {
    let own_vip = vips.iter().copied().find(|vip| vip.is_ipv4() && snapshot.is_local(*vip));
    let host = Host { root: "/proc/sys".into(), interfaces: interfaces.to_vec() };
    let mut warnings = Vec::new();
    if vips.iter().any(IpAddr::is_ipv4) {
        warnings.extend(host.ipv4_forwarding());
        warnings.extend(host.reverse_path_filters());
        warnings.extend(own_vip.into_iter().flat_map(|vip| host.own_sources_refused(vip)));
    }
    if vips.iter().any(IpAddr::is_ipv6) {
        warnings.extend(host.ipv6_forwarding());
    }
    warnings
}

/// The sysctl tree and the interfaces in question.
struct Host {
    root: PathBuf,
    interfaces: Vec<String>,
}

impl Host {
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
                    "strict reverse path filtering on {name} drops replies that already bear the service's \
                     address: {}",
                    set(&key, 2)
                )
            })
        })
    }

    /// `fib_validate_source` (`net/ipv4/fib_frontend.c`) drops what comes in from an address of this host, unless
    /// `accept_local` is set for all or for the interface. IPv6 has no such check.
    fn own_sources_refused(&self, vip: IpAddr) -> Vec<String> {
        self.each(|name| {
            let key = format!("net/ipv4/conf/{name}/accept_local");
            let effective = self.read("net/ipv4/conf/all/accept_local").max(self.read(&key));
            (effective == Some(0)).then(|| {
                format!(
                    "{vip} is an address of this host, so the kernel drops replies that come in on {name} and \
                     already bear it: {}",
                    set(&key, 1)
                )
            })
        })
    }

    fn each(&self, check: impl Fn(&str) -> Option<String>) -> Vec<String> {
        self.interfaces.iter().filter_map(|name| check(name)).collect()
    }

    /// A setting's value; `None` if this kernel or host has no such setting.
    fn read(&self, key: &str) -> Option<u32> {
        fs::read_to_string(self.root.join(key)).ok()?.trim().parse().ok()
    }
}

/// The command that sets `key`. With slashes where a name has dots of its own, as sysctl(8) wants it.
fn set(key: &str, value: u32) -> String {
    let key = if key.contains('.') { key.to_owned() } else { key.replace('/', ".") };
    format!("sysctl -w {key}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sysctl tree with the given settings.
    fn tree(settings: &[(&str, u32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (key, value) in settings {
            let path = root.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    fn with_host<T>(settings: &[(&str, u32)], interface: &str, check: impl Fn(&Host) -> T) -> T {
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
    fn a_service_address_of_this_host_needs_accept_local() {
        let vip = IpAddr::from([192, 0, 2, 10]);
        for (all, own, warned) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let settings =
                [("net/ipv4/conf/all/accept_local", all), ("net/ipv4/conf/eth0/accept_local", own)];
            let warnings = with_host(&settings, "eth0", |host| host.own_sources_refused(vip));
            assert_eq!(!warnings.is_empty(), warned, "all {all}, eth0 {own}");
        }
    }

    #[test]
    fn names_with_dots_get_slashes() {
        let settings = [("net/ipv4/conf/eth0.7/rp_filter", 1)];
        let warnings = with_host(&settings, "eth0.7", Host::reverse_path_filters);
        assert!(warnings[0].ends_with("sysctl -w net/ipv4/conf/eth0.7/rp_filter=2"), "{warnings:?}");
    }
}
