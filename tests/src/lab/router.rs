//! Routers with a narrow link behind them: what makes hosts discover a path's MTU.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::{
    Namespace, Topology,
    addresses::{CLIENT, Interface, LB_BACK, LB_FRONT},
    ready,
    topology::{edge, port, set_offloads_of},
};

/// The load balancer's `eth0` and the router's `eth1`, when clients are behind a router.
const FRONT: [Interface; 2] = [
    Interface { mac: LB_FRONT.mac, ..transit(Ipv4Addr::new(203, 0, 113, 1), 0xf, 1) },
    transit(Ipv4Addr::new(203, 0, 113, 2), 0xf, 2),
];
/// The router's place among the backends.
const ON_SWITCH: Interface = Interface {
    mac: [2, 0, 0, 0, 9, 2],
    ipv4: Ipv4Addr::new(10, 0, 9, 2),
    ipv6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 9, 2),
    prefix4: LB_BACK.prefix4,
};
/// The router's `eth1` and the backend's `eth0` behind it.
const BEHIND: [Interface; 2] =
    [transit(Ipv4Addr::new(203, 0, 113, 101), 0xe, 1), transit(Ipv4Addr::new(203, 0, 113, 102), 0xe, 2)];

const fn transit(ipv4: Ipv4Addr, net: u16, host: u16) -> Interface {
    let mac = [2, 0, 0, 9, net as u8, host as u8];
    Interface { mac, ipv4, ipv6: Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host), prefix4: 28 }
}

impl Topology {
    /// Puts a router between client and load balancer whose link to the client takes `mtu` bytes from it; the client knows
    /// nothing of that. The load balancer's `eth0` is another one then: no daemon may run.
    pub fn put_client_behind_router(&self, mtu: u32) -> Result<Namespace> {
        let router = self.router()?;
        let [lb, transit] = &FRONT;
        self.client.ip(&["link delete eth0".to_owned()])?;
        router.ip(&[
            format!("link add eth0 index 300 type veth peer name eth0 index 2 netns {}", self.client.name()),
            format!("link add eth1 index 301 type veth peer name eth0 index 2 netns {}", self.lb.name()),
        ])?;
        self.client.ip(&edge(&CLIENT, "eth0", &LB_FRONT))?;
        router.ip(&[&LB_FRONT.setup("eth0")[..], &transit.setup("eth1"), &defaults(lb)].concat())?;
        router.ip(&[format!("link set eth0 mtu {mtu}")])?;
        let clients = [
            (format!("{}/24", network(CLIENT.ipv4)), transit.ipv4.to_string()),
            ("2001:db8:c::/64".to_owned(), transit.ipv6.to_string()),
        ];
        let routes = clients.map(|(prefix, via)| format!("route add {prefix} via {via}"));
        self.lb.ip(&[&lb.setup("eth0")[..], &routes].concat())?;
        set_offloads_of(&self.client, "eth0")?;
        for device in ["eth0", "eth1"] {
            set_offloads_of(&router, device)?;
        }
        ready::wait(&router, "eth0", LB_FRONT.ipv6)?;
        ready::wait(&router, "eth1", transit.ipv6)?;
        ready::wait(&self.lb, "eth0", lb.ipv6)?;
        ready::wait(&self.client, "eth0", CLIENT.ipv6)?;
        Ok(router)
    }

    /// Puts a router between switch and backend `name` whose link to the backend takes `mtu` bytes from it; the backend
    /// knows nothing of that.
    pub fn put_backend_behind_router(&self, name: &str, mtu: u32) -> Result<Namespace> {
        let (host, backend) =
            self.backends().find(|(host, _)| host.name == name).with_context(|| format!("no host {name}"))?;
        let router = self.router()?;
        let [gateway, own] = &BEHIND;
        backend.ip(&["link delete eth0".to_owned()])?;
        self.net.ip(&port("router", 98, router.name(), "eth0 index 2"))?;
        let cable =
            format!("link add eth1 index 301 type veth peer name eth0 index 2 netns {}", backend.name());
        router.ip(&[cable])?;
        let served = host.addresses();
        let on_loopback = served.map(|address| format!("address add {address} dev lo"));
        backend.ip(&[&edge(own, "eth0", gateway)[..], &on_loopback].concat())?;
        let to_host = via(&served, &own.ipv4, &own.ipv6);
        router
            .ip(&[&ON_SWITCH.setup("eth0")[..], &gateway.setup("eth1"), &defaults(&LB_BACK), &to_host]
                .concat())?;
        router.ip(&[format!("link set eth1 mtu {mtu}")])?;
        self.lb.ip(&via(&served, &ON_SWITCH.ipv4, &ON_SWITCH.ipv6))?;
        set_offloads_of(backend, "eth0")?;
        for device in ["eth0", "eth1"] {
            set_offloads_of(&router, device)?;
        }
        ready::wait(&router, "eth0", ON_SWITCH.ipv6)?;
        ready::wait(&router, "eth1", gateway.ipv6)?;
        ready::wait(backend, "eth0", own.ipv6)?;
        Ok(router)
    }

    fn router(&self) -> Result<Namespace> {
        let router = Namespace::create("router")?;
        router.set_sysctls(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        router.ip(&["link set lo up".to_owned()])?;
        Ok(router)
    }
}

/// Routes to both addresses.
fn via(addresses: &[std::net::IpAddr; 2], ipv4: &Ipv4Addr, ipv6: &Ipv6Addr) -> [String; 2] {
    let [four, six] = addresses;
    [format!("route add {four} via {ipv4}"), format!("route add {six} via {ipv6}")]
}

fn defaults(gateway: &Interface) -> [String; 2] {
    [format!("route add default via {}", gateway.ipv4), format!("route add default via {}", gateway.ipv6)]
}

/// The /24 of an address.
fn network(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 0)
}
