//! The format of a scenario.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use toml::{Table, Value};

use super::packet::Packet;

/// A scenario, as its file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the file, without its ending.
    #[serde(skip)]
    pub name: String,
    /// What must hold, and why.
    pub why: String,
    /// The packet that comes in.
    #[serde(rename = "in")]
    arrives: Table,
    /// What is different about the one that comes out.
    #[serde(rename = "out", default)]
    leaves: Table,
    /// What is different about the network.
    #[serde(default)]
    pub network: Table,
    /// State of the slots; without it they are CLEAN and as the service's split has it.
    pub slots: Option<Slots>,
    /// Backends whose connections cannot be kept, as `SERVICE/POOL`.
    #[serde(default)]
    pub dead: Vec<String>,
    /// Entries of the tables of exceptions before the packet.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// What is to come of it.
    pub expect: Expect,
}

/// One state for all slots of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// The service.
    pub service: String,
    /// Its slots' state.
    pub state: StateName,
    /// Backend of new connections, as its pool, or `none`.
    pub current: String,
    /// The backend before, of a DIRTY slot.
    pub previous: Option<String>,
}

/// State of a slot.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    Clean,
    Dirty,
    Tracked,
}

/// An entry of a table of exceptions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which table.
    pub table: TableName,
    /// The service.
    pub service: String,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The backend, as its pool.
    pub backend: String,
    /// Seconds since it was last seen; after a run, 0 means that the packet was seen and anything else that it was not.
    #[serde(default)]
    pub age: u64,
    /// The client has sent FIN.
    #[serde(default)]
    pub client_fin: bool,
    /// The backend has.
    #[serde(default)]
    pub backend_fin: bool,
    /// Either has sent RST.
    #[serde(default)]
    pub reset: bool,
}

/// A table of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableName {
    Flows,
    Embryonic,
}

/// What is to come of the packet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Packets by service and reason.
    #[serde(default)]
    pub reasons: BTreeMap<String, BTreeMap<String, u64>>,
    /// Which counters of which backend (`SERVICE/POOL`) count the packet.
    #[serde(default)]
    pub counted: BTreeMap<String, Counted>,
    /// What happens to the tables of exceptions, by the counter's name.
    #[serde(default)]
    pub tables: BTreeMap<String, u64>,
    /// Entries of the tables of exceptions after the packet.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// To the kernel's network stack.
    Pass,
    /// Gone.
    Drop,
    /// Out of the interface it came in by.
    Tx,
    /// Out of another one.
    Redirect,
}

/// A packet in a backend's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// From a client, and it begins a connection.
    Opens,
    /// From a client.
    In,
    /// From the backend.
    Out,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or it says what no scenario can.
    pub fn load(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> { Ok(toml::from_str(&std::fs::read_to_string(path)?)?) };
        let mut scenario = read().with_context(|| format!("scenario {}", path.display()))?;
        scenario.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(scenario)
    }

    /// The frame that comes in.
    ///
    /// # Errors
    /// Its description makes no sense.
    pub fn frame_in(&self) -> Result<Vec<u8>> {
        Packet::from_table(self.arrives.clone()).and_then(|packet| packet.frame()).context("[in]")
    }

    /// The frame that is to come out. A frame keeps its length: behind a shorter packet stands what stood there before.
    ///
    /// # Errors
    /// Its description makes no sense.
    pub fn frame_out(&self) -> Result<Vec<u8>> {
        let mut table = self.arrives.clone();
        merge(&mut table, &self.leaves);
        let mut frame = Packet::from_table(table).and_then(|packet| packet.frame()).context("[out]")?;
        frame.extend(self.frame_in()?.iter().skip(frame.len()));
        Ok(frame)
    }
}

/// Puts what `changes` says over what `table` says.
pub fn merge(table: &mut Table, changes: &Table) {
    for (key, change) in changes {
        match (table.get_mut(key), change) {
            (Some(Value::Table(inner)), Value::Table(changes)) => merge(inner, changes),
            _ => drop(table.insert(key.clone(), change.clone())),
        }
    }
}
