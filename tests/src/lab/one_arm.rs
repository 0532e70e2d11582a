//! The other way to wire a load balancer: clients and backends behind one interface.

use std::path::Path;

use anyhow::Result;

use super::{
    Topology,
    addresses::{CLIENT, LB_FRONT},
    ready,
    topology::{edge, port, set_edge_offloads},
    xdp,
};

impl Topology {
    /// Moves the client's cable to the switch, and the load balancer's `eth0` addresses to its `eth1`; there is no `eth0`
    /// any more. `bpf`: a BPF file system, for the program that the switch's end of `eth1` needs (see [`xdp`]).
    pub fn make_one_armed(&self, bpf: &Path) -> Result<()> {
        self.client.ip(&["link delete eth0".to_owned()])?;
        self.net.ip(&port("client", 99, self.client.name(), "eth0 index 2"))?;
        self.client.ip(&edge(&CLIENT, "eth0", &LB_FRONT))?;
        set_edge_offloads(&self.client)?;
        self.lb
            .set_sysctls(&[("ipv4/conf/all/send_redirects", "0"), ("ipv4/conf/eth1/send_redirects", "0")])?;
        self.lb.ip(&[
            format!("address add {}/{} dev eth1", LB_FRONT.ipv4, LB_FRONT.prefix4),
            format!("address add {}/64 dev eth1 nodad", LB_FRONT.ipv6),
        ])?;
        xdp::attach_pass(&self.net, "lb", bpf)?;
        ready::wait(&self.client, "eth0", CLIENT.ipv6)?;
        ready::wait(&self.lb, "eth1", LB_FRONT.ipv6)
    }
}
