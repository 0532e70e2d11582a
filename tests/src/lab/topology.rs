//! The network: client, load balancer, a switch, and the backend hosts behind it.

use anyhow::{Result, ensure};
use splitter_userspace::config::PoolName;

use super::{
    Namespace,
    addresses::{CLIENT, Host, Interface, LB_BACK, LB_FRONT, MOST_BACKENDS},
    ready, stale,
};

/// How many backend hosts each pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Hosts of blue.
    pub blue: usize,
    /// Hosts of green.
    pub green: usize,
    /// Hosts of canary.
    pub canary: usize,
}

impl Default for PoolSizes {
    fn default() -> Self {
        Self { blue: 2, green: 2, canary: 1 }
    }
}

impl PoolSizes {
    fn hosts(self) -> Vec<Host> {
        let sizes =
            [(PoolName::Blue, self.blue), (PoolName::Green, self.green), (PoolName::Canary, self.canary)];
        sizes
            .into_iter()
            .flat_map(|(pool, size)| (1..=size).map(move |number| Host::new(pool, number)))
            .collect()
    }
}

/// Every host and cable. Dropping it removes them all.
pub struct Topology {
    /// Where connections come from.
    pub client: Namespace,
    /// Where the daemon runs; routes between client and backends by itself.
    pub lb: Namespace,
    /// The switch between load balancer and backends.
    pub(super) net: Namespace,
    backends: Vec<(Host, Namespace)>,
}

impl Topology {
    /// Builds it; when this returns, packets flow everywhere.
    pub fn build(sizes: PoolSizes) -> Result<Self> {
        let hosts = sizes.hosts();
        ensure!(
            [sizes.blue, sizes.green, sizes.canary].into_iter().all(|size| size <= MOST_BACKENDS),
            "a pool of the laboratory has room for {MOST_BACKENDS} backends"
        );
        stale::remove();
        let labels = ["client", "lb", "net"].into_iter().chain(hosts.iter().map(|host| host.name.as_str()));
        let mut namespaces = Namespace::create_all(&labels.collect::<Vec<_>>())?;
        let backends = hosts.iter().cloned().zip(namespaces.split_off(3)).collect();
        let [client, lb, net] = <[_; 3]>::try_from(namespaces).expect("three labels, three namespaces");
        let topology = Self { client, lb, net, backends };
        topology.connect()?;
        Ok(topology)
    }

    /// The backend hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.backends.iter().map(|(host, _)| host)
    }

    /// The backend hosts with their namespaces.
    pub fn backends(&self) -> impl Iterator<Item = (&Host, &Namespace)> {
        self.backends.iter().map(|(host, namespace)| (host, namespace))
    }

    /// A backend's namespace by the host's name, e.g. `blue1`.
    pub fn backend(&self, name: &str) -> Option<&Namespace> {
        self.backends().find(|(host, _)| host.name == name).map(|(_, namespace)| namespace)
    }

    /// Pulls a backend's cable out of the switch, or puts it back.
    pub fn plug(&self, host: &str, plugged: bool) -> Result<()> {
        self.net.ip(&[format!("link set {host} {}", if plugged { "up" } else { "down" })])
    }

    /// Deletes the load balancer's `eth1`, and makes it anew under the interface number `index`.
    pub fn renew_back_link(&self, index: u32) -> Result<()> {
        self.lb.ip(&["link delete eth1".to_owned()])?;
        // Time for the daemon to see that it is gone is not promised to it.
        self.net.ip(&port("lb", 100, self.lb.name(), &format!("eth1 index {index}")))?;
        self.lb.ip(&LB_BACK.setup("eth1"))?;
        self.net.tool("ethtool", &["-K", "lb", "gro", "on"])?;
        Ok(())
    }

    /// Gives the switch room for larger packets.
    pub fn widen_switch(&self, mtu: u32) -> Result<()> {
        let ports = ["lb", "br0"].into_iter().chain(self.hosts().map(|host| host.name.as_str()));
        self.net.ip(&ports.map(|port| format!("link set {port} mtu {mtu}")).collect::<Vec<_>>())
    }

    /// The hosts where connections begin and end.
    fn edges(&self) -> impl Iterator<Item = &Namespace> {
        std::iter::once(&self.client).chain(self.backends().map(|(_, namespace)| namespace))
    }

    /// Sysctls first (addresses are to be usable at once), then cables, addresses and routes, then offloads.
    fn connect(&self) -> Result<()> {
        self.prepare()?;
        self.net.ip(&self.cables())?;
        self.client.ip(&edge(&CLIENT, "eth0", &LB_FRONT))?;
        self.lb.ip(&router())?;
        for (host, namespace) in self.backends() {
            namespace.ip(&edge(&host.interface, "eth0", &LB_BACK))?;
        }
        self.set_offloads()?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        ready::wait(&self.client, "eth0", CLIENT.ipv6)?;
        ready::wait(&self.lb, "eth0", LB_FRONT.ipv6)?;
        ready::wait(&self.lb, "eth1", LB_BACK.ipv6)?;
        self.backends().try_for_each(|(host, namespace)| ready::wait(namespace, "eth0", host.interface.ipv6))
    }

    fn prepare(&self) -> Result<()> {
        let no_dad = [("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/default/accept_dad", "0")];
        self.edges().chain([&self.lb, &self.net]).try_for_each(|namespace| namespace.set_sysctls(&no_dad))?;
        // Thousands of short connections per second from one address: all ports, and those in TIME_WAIT again.
        self.client.set_sysctls(&[("ipv4/ip_local_port_range", "1024 65535"), ("ipv4/tcp_tw_reuse", "1")])?;
        self.lb.set_sysctls(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv6/conf/all/forwarding", "1"),
        ])
    }

    /// Made inside the switch, so that no interface ever appears in the machine's own namespace.
    ///
    /// The two ends of a cable get different indexes: the kernel takes a device whose index equals its peer's for a
    /// physical one and may take a second to bring it up (Linux 6.18: `linkwatch_urgent_event`).
    fn cables(&self) -> Vec<String> {
        let (client, lb) = (self.client.name(), self.lb.name());
        let mut lines = vec![
            "link add br0 type bridge forward_delay 0 mcast_snooping 0".to_owned(),
            "link set br0 up".to_owned(),
            format!("link add eth0 index 100 netns {client} type veth peer name eth0 index 2 netns {lb}"),
        ];
        let back = std::iter::once(("lb", lb, "eth1 index 3"));
        let backends = self.backends().map(|(host, ns)| (host.name.as_str(), ns.name(), "eth0 index 2"));
        let ports = (100..).zip(back.chain(backends));
        lines.extend(ports.flat_map(|(index, (name, namespace, peer))| port(name, index, namespace, peer)));
        lines
    }

    /// A veth endpoint leaves checksums to a NIC that is not there, so XDP would see unfinished ones; and a packet that XDP
    /// redirects into a veth arrives only if the other end polls (NAPI), which GRO turns on.
    fn set_offloads(&self) -> Result<()> {
        self.edges().try_for_each(set_edge_offloads)?;
        self.net.tool("ethtool", &["-K", "lb", "gro", "on"])?;
        Ok(())
    }
}

/// For one endpoint's `eth0`: see [`Topology::set_offloads`].
pub(super) fn set_edge_offloads(edge: &Namespace) -> Result<()> {
    set_offloads_of(edge, "eth0")
}

/// The same for any device.
pub(super) fn set_offloads_of(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.tool("ethtool", &["-K", device, "tx", "off", "gro", "on"])?;
    Ok(())
}

/// A port of the switch and the cable to a host.
pub(super) fn port(name: &str, index: u32, namespace: &str, peer: &str) -> [String; 2] {
    [
        format!("link add {name} index {index} type veth peer name {peer} netns {namespace}"),
        format!("link set {name} master br0 up"),
    ]
}

/// A host with one interface and everything else behind `gateway`.
pub(super) fn edge(interface: &Interface, device: &str, gateway: &Interface) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(interface.setup(device));
    lines.push(format!("route add default via {}", gateway.ipv4));
    lines.push(format!("route add default via {}", gateway.ipv6));
    lines
}

fn router() -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(LB_FRONT.setup("eth0"));
    lines.extend(LB_BACK.setup("eth1"));
    lines
}
