//! What a run came to, what it should have come to, and how the two differ.

use std::{collections::BTreeMap, fmt::Debug};

use anyhow::{Result, ensure};
use splitter_common::{
    abi::{BackendCounters, Flow, FlowKey, ReasonCounters, TableCounters, Translation},
    reason::Reason,
    tables::Exceptions,
};

use super::{
    scenario::{Counted, Entry, Scenario, TableName, TranslationEntry},
    setting::Setting,
};

/// What a scenario's packets came to, but for themselves.
pub struct Outcome {
    /// By how much each counter moved.
    pub counters: Counters,
    /// Entries of the tables of exceptions.
    pub entries: Vec<(Exceptions, FlowKey, Flow)>,
    /// Connections in mode `snat`.
    pub translations: Vec<(u16, Translation)>,
    /// When the packet came, nanoseconds.
    pub now_ns: u64,
}

/// The bits of a translation's state, as scenarios name them.
pub const STATES: [(&str, u64); 5] = [
    ("established", Translation::ESTABLISHED),
    ("client_fin", Translation::CLIENT_FIN),
    ("backend_fin", Translation::BACKEND_FIN),
    ("closed", Translation::CLOSED),
    ("reset", Translation::RESET),
];

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
        differ(&mut report, "counters", &self.counters, &expected_counters(scenario)?);
        differ(&mut report, "entries", &self.entries(setting), &entries);
        let mut translations = expect.translations.clone();
        translations.iter_mut().for_each(|entry| entry.age = entry.age.min(1));
        translations.sort();
        differ(&mut report, "translations", &self.translations(setting), &translations);
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

    fn translations(&self, setting: &Setting) -> Vec<TranslationEntry> {
        let used = self.translations.iter().filter(|(_, it)| it.state & Translation::USED != 0);
        let mut entries: Vec<TranslationEntry> =
            used.map(|(port, it)| self.translation(*port, it, setting)).collect();
        entries.sort();
        entries
    }

    fn translation(&self, port: u16, it: &Translation, setting: &Setting) -> TranslationEntry {
        let (service, backend) = setting.named(it.key.service(), it.backend);
        let names = STATES.iter().filter(|(_, bit)| it.state & bit != 0);
        let client_port = u16::from_be_bytes(it.key.client_port());
        TranslationEntry {
            port,
            service,
            client: (std::net::IpAddr::from(it.key.client()), client_port).into(),
            backend,
            state: names.map(|(name, _)| (*name).to_owned()).collect(),
            age: u64::from(it.seen_ns < self.now_ns),
        }
    }

    fn entry(&self, table: Exceptions, key: &FlowKey, flow: &Flow, setting: &Setting) -> Entry {
        let (service, backend) = setting.named(key.service(), flow.backend);
        let port = u16::from_be_bytes(key.client_port());
        Entry {
            table: match table {
                Exceptions::Flows => TableName::Flows,
                Exceptions::Embryonic => TableName::Embryonic,
                Exceptions::Previews => TableName::Previews,
            },
            service,
            client: (std::net::IpAddr::from(key.client()), port).into(),
            backend,
            age: u64::from(flow.seen_ns < self.now_ns),
            client_fin: flow.client_fin != 0,
            backend_fin: flow.backend_fin != 0,
            reset: flow.end == Flow::RESET,
            ending: flow.end == Flow::ENDING,
        }
    }
}

fn expected_counters(scenario: &Scenario) -> Result<Counters> {
    let mut counters = Counters { tables: scenario.expect.tables.clone(), ..Counters::default() };
    for packet in scenario.packets() {
        let bytes = packet.frame_in()?.len() as u64;
        for (backend, how) in packet.counted {
            count(counters.backends.entry(backend.clone()).or_default(), *how, bytes);
        }
        for (service, reasons) in packet.reasons {
            for (reason, count) in reasons {
                *counters.reasons.entry(service.clone()).or_default().entry(reason.clone()).or_default() +=
                    count;
            }
        }
    }
    Ok(counters)
}

const fn count(counters: &mut BackendCounters, how: Counted, bytes: u64) {
    match how {
        Counted::Opens | Counted::In => {
            counters.packets_in += 1;
            counters.bytes_in += bytes;
            counters.connections += matches!(how, Counted::Opens) as u64;
        }
        Counted::Out => {
            counters.packets_out += 1;
            counters.bytes_out += bytes;
        }
    }
}

fn differ<T: PartialEq + Debug>(report: &mut String, what: &str, is: &T, should: &T) {
    if is != should {
        report.push_str(&format!("{what}: is\n  {is:?}\nbut should be\n  {should:?}\n"));
    }
}
