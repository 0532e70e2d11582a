//! Who has which address: documentation prefixes towards the client, private ones behind the load balancer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use splitter_userspace::config::PoolName;

/// Virtual address of the IPv4 service; no host has it.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Virtual address of the IPv6 service; no host has it.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10);

/// The client.
pub const CLIENT: Interface = Interface {
    mac: [2, 0, 0, 0, 0, 7],
    ipv4: Ipv4Addr::new(198, 51, 100, 7),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7),
    prefix4: 24,
};
/// The load balancer's `eth0`, towards the client.
pub const LB_FRONT: Interface = Interface {
    mac: [2, 0, 0, 0, 0, 1],
    ipv4: Ipv4Addr::new(198, 51, 100, 1),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1),
    prefix4: 24,
};
/// The load balancer's `eth1`, towards the backends.
pub const LB_BACK: Interface = Interface {
    mac: [2, 0, 0, 0, 0, 2],
    ipv4: Ipv4Addr::new(10, 0, 0, 1),
    ipv6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
    prefix4: 16,
};

/// Most backends that the address plan has room for in one pool.
pub const MOST_BACKENDS: usize = 80;

/// Addresses of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Hardware address.
    pub mac: [u8; 6],
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address; its prefix is always 64 bits.
    pub ipv6: Ipv6Addr,
    /// Length of the IPv4 prefix.
    pub prefix4: u8,
}

impl Interface {
    /// Lines for `ip -batch` that bring `device` up with these addresses.
    pub fn setup(&self, device: &str) -> [String; 4] {
        let [a, b, c, d, e, f] = self.mac;
        [
            format!("link set {device} address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
            format!("address add {}/{} dev {device}", self.ipv4, self.prefix4),
            format!("address add {}/64 dev {device} nodad", self.ipv6),
            format!("link set {device} up"),
        ]
    }
}

/// A backend host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// E.g. `blue1`; its servers answer with it.
    pub name: String,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Addresses of its `eth0`.
    pub interface: Interface,
}

impl Host {
    /// The `number`th host of a pool, counted from 1 to [`MOST_BACKENDS`].
    ///
    /// The addresses show who it is: `canary1` is 10.0.3.11, fd00:1::3:11 and 02:00:00:00:03:11.
    pub fn new(pool: PoolName, number: usize) -> Self {
        let group = 1 + PoolName::ALL.iter().take_while(|name| **name != pool).count() as u8;
        let digits = 10 + number as u8;
        let shown = digits / 10 * 16 + digits % 10;
        let interface = Interface {
            mac: [2, 0, 0, 0, group, shown],
            ipv4: Ipv4Addr::new(10, 0, group, digits),
            ipv6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, group.into(), shown.into()),
            prefix4: 16,
        };
        Self { name: format!("{pool}{number}"), pool, interface }
    }

    /// Its addresses: IPv4, IPv6.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.interface.ipv4.into(), self.interface.ipv6.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_show_pool_and_number() {
        let host = Host::new(PoolName::Canary, 1);
        assert_eq!(host.name, "canary1");
        assert_eq!(host.addresses().map(|address| address.to_string()), ["10.0.3.11", "fd00:1::3:11"]);
        assert_eq!(host.interface.setup("eth0")[0], "link set eth0 address 02:00:00:00:03:11");
    }

    #[test]
    fn no_two_hosts_share_an_address() {
        let hosts =
            PoolName::ALL.into_iter().flat_map(|pool| (1..=MOST_BACKENDS).map(move |n| Host::new(pool, n)));
        let mut seen: Vec<_> = hosts.map(|host| host.interface.ipv6).collect();
        let before = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), before);
    }
}
