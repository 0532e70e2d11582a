//! What a host's own TCP/IP stack has counted.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

use super::Namespace;

/// Counters under the names that `nstat` gives them, e.g. `TcpRetransSegs` and `Udp6InCsumErrors`.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads those of a namespace.
    pub fn read(namespace: &Namespace) -> Result<Self> {
        namespace.run(|| {
            let mut all = in_columns(&file("snmp")?);
            all.extend(in_rows(&file("snmp6")?));
            Ok(Self(all))
        })?
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("this kernel has no counter {name}"))
    }

    /// Packets of any protocol that were thrown away because their checksum was wrong.
    pub fn checksum_errors(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.ends_with("InCsumErrors")).map(|(_, count)| count).sum()
    }
}

fn file(name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// `Tcp: RtoAlgorithm RtoMin ...` above `Tcp: 1 200 ...`.
fn in_columns(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.chunks_exact(2).filter_map(|pair| {
        let (protocol, names) = pair[0].split_once(':')?;
        let (_, values) = pair[1].split_once(':')?;
        Some((protocol, names, values))
    });
    let counters = pairs.flat_map(|(protocol, names, values)| {
        let named = names.split_whitespace().zip(values.split_whitespace());
        // Some that are no counters can be negative.
        named.filter_map(move |(name, value)| Some((format!("{protocol}{name}"), value.parse().ok()?)))
    });
    counters.collect()
}

/// `Udp6InErrors 0`.
fn in_rows(text: &str) -> BTreeMap<String, u64> {
    let rows = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nstat() {
        let text = "Tcp: MaxConn RetransSegs InCsumErrors\nTcp: -1 7 2\nUdp: InCsumErrors\nUdp: 3\n";
        let mut all = in_columns(text);
        all.extend(in_rows("Udp6InCsumErrors                \t4\nIp6InReceives 5\n"));
        let counters = Counters(all);
        assert_eq!(counters.get("TcpRetransSegs").unwrap(), 7);
        assert_eq!(counters.get("Ip6InReceives").unwrap(), 5);
        assert!(counters.get("TcpMaxConn").is_err());
        assert_eq!(counters.checksum_errors(), 2 + 3 + 4);
    }
}
