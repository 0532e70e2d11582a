//! The packet path on the host: over a mirror of the kernel's maps.

use anyhow::{Result, bail, ensure};
use splitter_common::{
    parse::{Carries, V4, V6, link},
    pipeline::{Action, Stage, Verdict as Stages, follow, process},
    reason::REASONS,
    tables::Tables as _,
};
use splitter_userspace::mirror::{EXCEPTIONS, Mirror};

use super::{
    outcome::{Counters, Outcome},
    scenario::{Scenario, Verdict},
    setting::Setting,
};

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
    let (usual, by_itself) = (mirror(scenario, &setting)?, mirror(scenario, &setting)?);
    for (number, packet) in scenario.packets().enumerate() {
        let mut frame = packet.frame_in()?;
        let mut again = frame.clone();
        let action = process(&mut frame, &usual);
        let verdict = match link(&again) {
            (Carries::V4, _) => Stages::hand_on::<V4>(Stage::Sort),
            (Carries::V6, _) => Stages::hand_on::<V6>(Stage::Sort),
            _ => Stages::PASS,
        };
        let same = follow(&mut again, &by_itself, verdict);
        ensure!(
            (action, &frame) == (same, &again),
            "packet {number}: by itself, the path of what is unusual comes to another end: {same:?} {again:02x?}"
        );
        packet.check_frame(number, verdict_of(action)?, &frame)?;
    }
    outcome(&by_itself, &setting).check(scenario, &setting)?;
    outcome(&usual, &setting).check(scenario, &setting)
}

/// The kernel's maps before the scenario's first packet.
fn mirror(scenario: &Scenario, setting: &Setting) -> Result<Mirror> {
    let mirror = Mirror::of(&setting.image, NOW_NS);
    for entry in &scenario.entries {
        let (table, key, flow) = setting.entry(entry, NOW_NS)?;
        mirror.record(table, &key, &flow);
    }
    mirror.free.borrow_mut().extend(setting.free_ports());
    for (port, translation) in setting.translations(scenario, NOW_NS)? {
        mirror.set_port_of(&translation.key, port);
        mirror.set_translation(port, translation);
    }
    Ok(mirror)
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
    let entries = EXCEPTIONS
        .into_iter()
        .flat_map(|table| mirror.entries(table).into_iter().map(move |(key, flow)| (table, key, flow)));
    let translations = mirror.translations.borrow();
    let translations = translations.iter().map(|(port, entry)| (*port, entry.read()));
    let (entries, translations) = (entries.collect(), translations.collect());
    Outcome { counters, entries, translations, now_ns: NOW_NS }
}
