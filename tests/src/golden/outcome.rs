//! What a run came to, what it should have come to, and how the two differ.

use std::{collections::BTreeMap, fmt::Debug, fmt::Write as _};

use anyhow::{Result, ensure};
use splitter_common::{
    abi::{BackendCounters, Flow, FlowKey, ReasonCounters, TableCounters},
    reason::Reason,
    tables::Exceptions,
};

use super::{
    scenario::{Counted, Entry, Scenario, TableName, Verdict},
    setting::Setting,
};

/// What one packet came to.
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// By how much each counter moved.
    pub counters: Counters,
    /// Entries of the tables of exceptions.
    pub entries: Vec<(Exceptions, FlowKey, Flow)>,
    /// When the packet came, nanoseconds.
    pub now_ns: u64,
}

/// Every counter. Maps without the counters that are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By backend, `SERVICE/POOL`.
    pub backends: BTreeMap<String, BackendCounters>,
    /// By service, then reason.
    pub reasons: BTreeMap<String, BTreeMap<String, u64>>,
    /// By event.
    pub tables: BTreeMap<String, u64>,
}

impl Counters {
    /// From raw counters of all services and backends.
    pub fn new(
        backends: impl Iterator<Item = (String, BackendCounters)>,
        reasons: impl Iterator<Item = (String, ReasonCounters)>,
        tables: &TableCounters,
    ) -> Self {
        let reasons = reasons.map(|(service, counts)| {
            let named =
                Reason::ALL.into_iter().zip(counts).map(|(reason, count)| (reason.name().into(), count));
            (service, named.filter(|(_, count)| *count > 0).collect::<BTreeMap<String, u64>>())
        });
        let tables = [
            ("recorded", tables.recorded),
            ("embryonic", tables.embryonic),
            ("promoted", tables.promoted),
            ("forgotten_flows", tables.forgotten_flows),
            ("forgotten_embryonic", tables.forgotten_embryonic),
            ("missed", tables.missed),
            ("failed", tables.failed),
        ];
        Self {
            backends: backends.filter(|(_, counts)| *counts != BackendCounters::default()).collect(),
            reasons: reasons.filter(|(_, counts)| !counts.is_empty()).collect(),
            tables: tables
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| (name.into(), count))
                .collect(),
        }
    }
}

impl Outcome {
    /// Compares with what the scenario says.
    ///
    /// # Errors
    /// Everything that differs.
    pub fn check(&self, scenario: &Scenario, setting: &Setting) -> Result<()> {
        let expect = &scenario.expect;
        let mut entries: Vec<Entry> = expect.entries.clone();
        entries.iter_mut().for_each(|entry| entry.age = entry.age.min(1));
        entries.sort();
        let mut report = String::new();
        differ(&mut report, "verdict", &self.verdict, &expect.verdict);
        differ(&mut report, "counters", &self.counters, &expected_counters(scenario)?);
        differ(&mut report, "entries", &self.entries(setting), &entries);
        let (frame, expected) = (dump(&self.frame), dump(&scenario.frame_out()?));
        if frame != expected {
            writeln!(report, "frame: is\n{frame}but should be\n{expected}")?;
        }
        ensure!(report.is_empty(), "{}\n{report}", scenario.why);
        Ok(())
    }

    /// The entries as a scenario has them; age 0 for those that saw the packet, 1 for the others.
    fn entries(&self, setting: &Setting) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.entries.iter().map(|(table, key, flow)| self.entry(*table, key, flow, setting)).collect();
        entries.sort();
        entries
    }

    fn entry(&self, table: Exceptions, key: &FlowKey, flow: &Flow, setting: &Setting) -> Entry {
        let backend = setting.backends().find(|(_, id)| *id == flow.backend).map(|(name, _)| name);
        let (service, backend) = backend.as_deref().and_then(|name| name.split_once('/')).unwrap_or_default();
        let port = u16::from_be_bytes(key.client_port());
        Entry {
            table: match table {
                Exceptions::Flows => TableName::Flows,
                Exceptions::Embryonic => TableName::Embryonic,
            },
            service: service.into(),
            client: (std::net::IpAddr::from(key.client()), port).into(),
            backend: backend.into(),
            age: u64::from(flow.seen_ns < self.now_ns),
            client_fin: flow.client_fin != 0,
            backend_fin: flow.backend_fin != 0,
            reset: flow.reset != 0,
        }
    }
}

fn expected_counters(scenario: &Scenario) -> Result<Counters> {
    let bytes = scenario.frame_in()?.len() as u64;
    let counted = |counted: &Counted| match counted {
        Counted::Opens => {
            BackendCounters { packets_in: 1, bytes_in: bytes, connections: 1, ..Default::default() }
        }
        Counted::In => BackendCounters { packets_in: 1, bytes_in: bytes, ..Default::default() },
        Counted::Out => BackendCounters { packets_out: 1, bytes_out: bytes, ..Default::default() },
    };
    let expect = &scenario.expect;
    Ok(Counters {
        backends: expect.counted.iter().map(|(name, how)| (name.clone(), counted(how))).collect(),
        reasons: expect.reasons.clone(),
        tables: expect.tables.clone(),
    })
}

fn differ<T: PartialEq + Debug>(report: &mut String, what: &str, is: &T, should: &T) {
    if is != should {
        report.push_str(&format!("{what}: is\n  {is:?}\nbut should be\n  {should:?}\n"));
    }
}

/// Sixteen bytes a line, with their position.
fn dump(frame: &[u8]) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  {:4}  {}\n", number * 16, bytes.join(" "))
    };
    frame.chunks(16).enumerate().map(line).collect()
}
