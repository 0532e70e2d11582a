//! The format of a scenario.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
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
    /// Backends whose live connections are reset, as `SERVICE/POOL`.
    #[serde(default)]
    pub resetting: Vec<String>,
    /// Entries of the tables of exceptions before the packet.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// Connections in mode `snat` before the packet.
    #[serde(default)]
    pub translations: Vec<TranslationEntry>,
    /// What is to come of it.
    pub expect: Expect,
    /// Packets that come after it.
    #[serde(default)]
    then: Vec<Step>,
}

/// One more packet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Seconds after the packet before: all that is remembered is so much older.
    #[serde(default)]
    after: u64,
    /// What is different about it from the first one; `fresh = true`: everything.
    #[serde(rename = "in")]
    arrives: Table,
    /// What is different about the one that comes out.
    #[serde(rename = "out", default)]
    leaves: Table,
    verdict: Verdict,
    #[serde(default)]
    reasons: Reasons,
    #[serde(default)]
    counted: BTreeMap<String, Counted>,
}

type Reasons = BTreeMap<String, BTreeMap<String, u64>>;

/// A packet, and what is to come of it.
pub struct Exchange<'a> {
    /// Seconds after the packet before.
    pub after: u64,
    arrives: Table,
    leaves: &'a Table,
    verdict: Verdict,
    /// Packets by service and reason.
    pub reasons: &'a Reasons,
    /// Which counters of which backend (`SERVICE/POOL`) count the packet.
    pub counted: &'a BTreeMap<String, Counted>,
}

/// A connection in mode `snat`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslationEntry {
    /// This host's port.
    pub port: u16,
    /// The service.
    pub service: String,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The backend, as its pool.
    pub backend: String,
    /// Of `established`, `client_fin`, `backend_fin` and `closed`.
    #[serde(default)]
    pub state: Vec<String>,
    /// Seconds since its last packet; after a run, 0 means that the packet was seen and anything else that it was not.
    #[serde(default)]
    pub age: u64,
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
    /// It was recorded by a FIN.
    #[serde(default)]
    pub ending: bool,
}

/// A table of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableName {
    Flows,
    Embryonic,
    Previews,
}

/// What is to come of the packet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What becomes of it.
    verdict: Verdict,
    /// Packets by service and reason.
    #[serde(default)]
    reasons: Reasons,
    /// Which counters of which backend (`SERVICE/POOL`) count the packet.
    #[serde(default)]
    counted: BTreeMap<String, Counted>,
    /// What happens to the tables of exceptions, by the counter's name.
    #[serde(default)]
    pub tables: BTreeMap<String, u64>,
    /// Entries of the tables of exceptions after the packet.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// Connections in mode `snat` after the packet.
    #[serde(default)]
    pub translations: Vec<TranslationEntry>,
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

    /// Its packets.
    pub fn packets(&self) -> impl Iterator<Item = Exchange<'_>> {
        let Expect { verdict, reasons, counted, .. } = &self.expect;
        let first = Exchange {
            after: 0,
            arrives: self.arrives.clone(),
            leaves: &self.leaves,
            verdict: *verdict,
            reasons,
            counted,
        };
        std::iter::once(first).chain(self.then.iter().map(|step| self.exchange(step)))
    }
}

impl Scenario {
    /// Seconds that the machine must have run for, so that something can be as old as the scenario has it.
    pub fn oldest(&self) -> u64 {
        let entries = self.entries.iter().map(|entry| entry.age);
        let translations = self.translations.iter().map(|entry| entry.age);
        let waits: u64 = self.then.iter().map(|step| step.after).sum();
        entries.chain(translations).max().unwrap_or_default() + waits
    }

    fn exchange<'a>(&self, step: &'a Step) -> Exchange<'a> {
        let Step { after, arrives, leaves, verdict, reasons, counted } = step;
        let arrives = changed(&self.arrives, arrives);
        Exchange { after: *after, arrives, leaves, verdict: *verdict, reasons, counted }
    }
}

impl Exchange<'_> {
    /// Names of the services that count the packet.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let backends = self.counted.keys().filter_map(|backend| backend.split('/').next());
        backends.chain(self.reasons.keys().map(String::as_str))
    }

    /// The frame that comes in.
    ///
    /// # Errors
    /// Its description makes no sense.
    pub fn frame_in(&self) -> Result<Vec<u8>> {
        frame(&self.arrives).context("[in]")
    }

    /// The frame that is to come out. One that is described by its differences keeps its length: behind a shorter packet
    /// stands what stood there before.
    ///
    /// # Errors
    /// Its description makes no sense.
    pub fn frame_out(&self) -> Result<Vec<u8>> {
        let mut out = frame(&changed(&self.arrives, self.leaves)).context("[out]")?;
        if !is_fresh(self.leaves) {
            out.extend(self.frame_in()?.iter().skip(out.len()));
        }
        Ok(out)
    }

    /// Compares what became of the packet; `number` counts from 0.
    ///
    /// # Errors
    /// How they differ.
    pub fn check_frame(&self, number: usize, verdict: Verdict, frame: &[u8]) -> Result<()> {
        let expected = self.frame_out()?;
        ensure!(
            verdict == self.verdict && frame == expected,
            "packet {number}: {verdict:?}, and should be {:?}; frame: is\n{}and should be\n{}",
            self.verdict,
            dump(frame),
            dump(&expected)
        );
        Ok(())
    }
}

fn frame(table: &Table) -> Result<Vec<u8>> {
    Packet::from_table(table.clone())?.frame()
}

/// A description with changes, or the changes alone if they say `fresh = true`.
fn changed(table: &Table, changes: &Table) -> Table {
    let mut all = if is_fresh(changes) { Table::new() } else { table.clone() };
    merge(&mut all, changes);
    all.remove("fresh");
    all
}

fn is_fresh(table: &Table) -> bool {
    table.get("fresh").and_then(Value::as_bool).unwrap_or_default()
}

/// Sixteen bytes a line, with their position.
fn dump(frame: &[u8]) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  {:4}  {}\n", number * 16, bytes.join(" "))
    };
    frame.chunks(16).enumerate().map(line).collect()
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
