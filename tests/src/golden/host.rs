//! The packet path on the host: over a mirror of the kernel's maps.

use anyhow::{Context as _, Result, bail, ensure};
use splitter_common::{
    parse::{Carries, V4, V6, link},
    pipeline::{Action, Stage, Verdict as Stages},
    reason::REASONS,
    tables::{Exceptions, Tables as _},
};
use splitter_userspace::mirror::Mirror;

use super::{
    outcome::{Counters, Outcome},
    scenario::{Scenario, Verdict},
    setting::Setting,
};
use crate::oracle;

/// Where the host's clock stands: any time will do.
const NOW_NS: u64 = 1_000_000_000_000_000;

/// The interface that packets come in by; the kernel's test runs use the loopback's number.
pub const INGRESS: u32 = 1;

/// Runs a scenario's packets through `splitter_common::pipeline`, and compares. The path of what is unusual must come to
/// the same for every packet, by itself.
///
/// # Errors
/// The scenario makes no sense, or something differs from what it says.
pub fn run(scenario: &Scenario) -> Result<()> {
    let setting = Setting::of(scenario)?;
    let host = Host::of(scenario, &setting)?;
    for (number, packet) in scenario.packets().enumerate() {
        host.wait(packet.after * 1_000_000_000);
        let (verdict, frame) = host.send(&packet.frame_in()?).with_context(|| format!("packet {number}"))?;
        packet.check_frame(number, verdict, &frame)?;
    }
    outcome(&host.by_itself, &setting).check(scenario, &setting)?;
    outcome(&host.usual, &setting).check(scenario, &setting)
}

/// The packet path, twice.
pub struct Host {
    usual: Mirror,
    /// What the path of the unusual, by itself, has done.
    by_itself: Mirror,
}

impl Host {
    /// Before the scenario's first packet.
    ///
    /// # Errors
    /// The scenario makes no sense.
    pub fn of(scenario: &Scenario, setting: &Setting) -> Result<Self> {
        Ok(Self { usual: mirror(scenario, setting)?, by_itself: mirror(scenario, setting)? })
    }

    /// Back to before the first packet, some time later.
    ///
    /// # Errors
    /// The scenario makes no sense.
    pub fn reset(&mut self, scenario: &Scenario, setting: &Setting) -> Result<()> {
        for mirror in [&mut self.usual, &mut self.by_itself] {
            mirror.now_ns += 1_000_000_000;
            forget(mirror);
            fill(mirror, scenario, setting)?;
        }
        Ok(())
    }

    /// Time goes by: what is remembered is older.
    fn wait(&self, ns: u64) {
        for mirror in [&self.usual, &self.by_itself].into_iter().filter(|_| ns > 0) {
            age(mirror, ns);
        }
    }

    /// One frame, by both paths.
    ///
    /// # Errors
    /// They come to different ends, or to one that cannot be.
    pub fn send(&self, arrived: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        let (mut frame, mut again) = (arrived.to_vec(), arrived.to_vec());
        let action = self.usual.process(&mut frame);
        let verdict = match link(&again) {
            (Carries::V4, _) => Stages::hand_on::<V4>(Stage::Sort),
            (Carries::V6, _) => Stages::hand_on::<V6>(Stage::Sort),
            _ => Stages::PASS,
        };
        let same = self.by_itself.follow(&mut again, verdict);
        ensure!(
            (action, &frame) == (same, &again),
            "by itself, the path of what is unusual comes to another end: {same:?} {again:02x?}, not {action:?} {frame:02x?}"
        );
        let verdict = verdict_of(action)?;
        oracle::check(arrived, &frame, verdict)?;
        Ok((verdict, frame))
    }
}

/// As if no packet had ever come.
fn forget(mirror: &Mirror) {
    for table in Exceptions::ALL {
        for (key, _) in mirror.entries(table) {
            mirror.forget(table, &key);
        }
    }
    mirror.fragments.borrow_mut().clear();
    mirror.ports.borrow_mut().clear();
    mirror.translations.borrow_mut().clear();
    mirror.free.borrow_mut().clear();
}

/// All that is remembered is older.
fn age(mirror: &Mirror, ns: u64) {
    for table in Exceptions::ALL {
        for (key, flow) in mirror.entries(table) {
            mirror.record(table, &key, &flow.older(ns));
        }
    }
    mirror.fragments.borrow_mut().values_mut().for_each(|fragment| *fragment = fragment.older(ns));
    let translations: Vec<_> =
        mirror.translations.borrow().iter().map(|(port, it)| (*port, it.read().older(ns))).collect();
    translations.into_iter().for_each(|(port, translation)| mirror.set_translation(port, translation));
}

/// The kernel's maps before the scenario's first packet.
fn mirror(scenario: &Scenario, setting: &Setting) -> Result<Mirror> {
    let mirror = Mirror::of(&setting.image, NOW_NS);
    fill(&mirror, scenario, setting)?;
    Ok(mirror)
}

fn fill(mirror: &Mirror, scenario: &Scenario, setting: &Setting) -> Result<()> {
    let now_ns = mirror.now_ns;
    for entry in &scenario.entries {
        let (table, key, flow) = setting.entry(entry, now_ns)?;
        mirror.record(table, &key, &flow);
    }
    mirror.free.borrow_mut().extend(setting.free_ports());
    for (port, translation) in setting.translations(scenario, now_ns)? {
        mirror.set_port_of(&translation.key, port);
        mirror.set_translation(port, translation);
    }
    Ok(())
}

fn verdict_of(action: Action) -> Result<Verdict> {
    Ok(match action {
        Action::Pass => Verdict::Pass,
        Action::Drop => Verdict::Drop,
        Action::Return | Action::Send(INGRESS) => Verdict::Tx,
        Action::Send(_) => Verdict::Redirect,
        Action::HandOn(_) | Action::Answer(_) => bail!("the way did not end: {action:?}"),
    })
}

fn outcome(mirror: &Mirror, setting: &Setting) -> Outcome {
    let (backends, reasons) = (mirror.backend_counters.borrow(), mirror.reason_counters.borrow());
    let counters = Counters::new(
        setting.backends().map(|(name, id)| (name, backends.get(&id.get()).copied().unwrap_or_default())),
        setting.tables().map(|(name, number)| (name, reasons.get(&number).copied().unwrap_or([0; REASONS]))),
        &mirror.table_counters.borrow(),
    );
    let entries = Exceptions::ALL
        .into_iter()
        .flat_map(|table| mirror.entries(table).into_iter().map(move |(key, flow)| (table, key, flow)));
    let translations = mirror.translations.borrow();
    let translations = translations.iter().map(|(port, entry)| (*port, entry.read()));
    let (entries, translations) = (entries.collect(), translations.collect());
    Outcome { counters, entries, translations, now_ns: NOW_NS }
}
