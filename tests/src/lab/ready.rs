//! Waiting until a host answers for its IPv6 address.
//!
//! The kernel finishes an interface's IPv6 in work queues, some time after the address can be seen. Until the address's
//! solicited-node group is joined and multicast is routed, a neighbour's question goes unheard, and the neighbour asks
//! again only a second later (Linux 6.18: `addrconf_dad_work`, `addrconf_add_mroute`).

use std::{
    fs,
    net::Ipv6Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::Namespace;

/// It takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns when `device` inside the namespace listens for questions about `address`.
pub fn wait(namespace: &Namespace, device: &str, address: Ipv6Addr) -> Result<()> {
    let group = solicited_node(address);
    namespace.run(|| {
        let begun = Instant::now();
        while !(has_joined(device, &group)? && routes_multicast(device)?) {
            if begun.elapsed() > LIMIT {
                bail!("{device} in {} does not listen for {address} after {LIMIT:?}", namespace.name());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    })?
}

fn has_joined(device: &str, group: &str) -> Result<bool> {
    let groups = read("igmp6")?;
    let mut rows = groups.lines().map(|line| line.split_whitespace().skip(1));
    Ok(rows.any(|mut row| row.next() == Some(device) && row.next() == Some(group)))
}

fn routes_multicast(device: &str) -> Result<bool> {
    let routes = read("ipv6_route")?;
    let mut multicast = routes.lines().filter(|line| line.starts_with("ff00000000000000"));
    Ok(multicast.any(|line| line.split_whitespace().next_back() == Some(device)))
}

/// A table of the namespace that the calling thread is in.
fn read(name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// The group's address as the kernel writes it (RFC 4291, 2.7.1): the address's last 24 bits behind a fixed prefix.
fn solicited_node(address: Ipv6Addr) -> String {
    let [.., a, b, c] = address.octets();
    format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_has_the_last_24_bits() {
        let address = "fd00:1::3:1:ab11".parse().expect("a valid address");
        assert_eq!(solicited_node(address), "ff0200000000000000000001ff01ab11");
    }
}
