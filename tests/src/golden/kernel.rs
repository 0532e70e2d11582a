//! The packet path in the kernel, by `BPF_PROG_TEST_RUN`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use aya::programs::Xdp;
use splitter_common::{
    abi::{BackendCounters, TableCounters},
    tables::Exceptions,
};
use splitter_userspace::{
    config::XdpMode,
    dataplane::{DataPlane, Sizes},
    image::Image,
};

use super::{
    outcome::{Counters, Outcome},
    scenario::{Scenario, Verdict},
    setting::Setting,
};
use crate::{lab::Namespace, test_run};

/// The interface that is not the one packets come in by; its number stands in `golden/setting/network.toml`.
const OTHER: (&str, u32) = ("other", 7);

/// Room for what comes out.
const FRAME: usize = 16_384;

/// The program, in a network namespace of its own: a frame can only be redirected to an interface that exists.
pub struct Kernel {
    // Before the namespace, so that it is gone first.
    data_plane: DataPlane,
    namespace: Namespace,
    /// Whether it has what mode `snat` needs.
    translates: bool,
    /// What packets read now.
    live: Image,
    /// Ports that have had a connection, perhaps: there are too many to look at all of them every time.
    taken: BTreeSet<u16>,
}

impl Kernel {
    /// Loads the program.
    ///
    /// # Errors
    /// We are not root, or the kernel refuses.
    pub fn load() -> Result<Self> {
        Self::of(DataPlane::load(&Sizes::SMALL)?, true)
    }

    /// Loads the form for kernels without `xdp.frags`.
    ///
    /// # Errors
    /// As [`Kernel::load`].
    pub fn load_plain() -> Result<Self> {
        Self::of(DataPlane::load_plain(&Sizes { ports: 0, ..Sizes::SMALL })?, false)
    }

    /// A program that is loaded already; `translates`: with mode `snat`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn of(mut data_plane: DataPlane, translates: bool) -> Result<Self> {
        let (name, index) = OTHER;
        let namespace = Namespace::create("golden")?;
        namespace.ip(&[format!("link add {name} index {index} type veth peer name peer")])?;
        namespace.run(|| data_plane.attach(name, XdpMode::Auto, None))??;
        Ok(Self { data_plane, namespace, translates, live: Image::empty(), taken: BTreeSet::new() })
    }

    /// Runs a scenario's packet through the program, and compares.
    ///
    /// # Errors
    /// The scenario makes no sense, or something differs from what it says.
    pub fn run(&mut self, scenario: &Scenario) -> Result<()> {
        let setting = Setting::of(scenario)?;
        self.prepare(scenario, &setting)?;
        let before = self.raw_counters(&setting)?;
        let now_ns = now_ns();
        for (number, packet) in scenario.packets().enumerate() {
            if packet.after > 0 {
                self.data_plane.age(packet.after * 1_000_000_000)?;
            }
            let (verdict, frame) = self.send(&packet.frame_in()?)?;
            packet.check_frame(number, verdict, &frame)?;
        }
        let counters = self.raw_counters(&setting)?.since(&before).named(&setting);
        let mut entries = Vec::new();
        for table in Exceptions::ALL {
            let recorded = self.data_plane.recorded(table)?;
            entries.extend(recorded.into_iter().map(|(key, flow)| (table, key, flow)));
        }
        let translations = self.data_plane.translations()?;
        Outcome { counters, entries, translations, now_ns }.check(scenario, &setting)
    }

    /// What becomes of frames, one after the other, after all that a scenario's setting says.
    ///
    /// # Errors
    /// The scenario makes no sense, or the kernel refuses.
    pub fn frames(
        &mut self,
        scenario: &Scenario,
        setting: &Setting,
        frames: &[Vec<u8>],
    ) -> Result<Vec<(Verdict, Vec<u8>)>> {
        self.prepare(scenario, setting)?;
        self.inside(|program| frames.iter().map(|frame| send(program, frame)).collect())
    }

    /// The scenario's services and network go live, and the tables hold its entries alone.
    fn prepare(&mut self, scenario: &Scenario, setting: &Setting) -> Result<()> {
        if !self.live.is(&setting.image) {
            let generation = self.data_plane.generation() + 1;
            self.data_plane.commit(setting.image.clone(), generation)?;
            self.live = setting.image.clone();
        }
        for table in Exceptions::ALL {
            for (key, _) in self.data_plane.recorded(table)? {
                self.data_plane.remove(table, &key)?;
            }
        }
        self.data_plane.forget_fragments()?;
        if self.translates {
            self.taken.extend(setting.free_ports());
            self.data_plane.offer_ports(&setting.free_ports(), &self.taken)?;
        }
        for (port, translation) in setting.translations(scenario, now_ns())? {
            self.taken.insert(port);
            self.data_plane.insert_translation(port, &translation)?;
        }
        for entry in &scenario.entries {
            let (table, key, flow) = setting.entry(entry, now_ns())?;
            self.data_plane.insert(table, &key, &flow)?;
        }
        Ok(())
    }

    /// One frame in by the loopback interface.
    fn send(&self, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        self.inside(|program| send(program, frame))
    }

    /// On a thread in the namespace, which stays on one CPU: making one costs more than a frame.
    fn inside<T: Send>(&self, work: impl FnOnce(&Xdp) -> Result<T> + Send) -> Result<T> {
        let program = self.data_plane.program()?;
        self.namespace.run(|| stay_on_one_cpu().and_then(|()| work(program)))?
    }

    fn raw_counters(&self, setting: &Setting) -> Result<Raw> {
        let backends = self.data_plane.backend_counters(setting.backends().map(|(_, id)| id))?;
        let reason = |(_, number)| Ok(self.data_plane.reason_counters(number)?.to_vec());
        Ok(Raw {
            backends: setting.backends().map(|(_, id)| backends[&id]).collect(),
            reasons: setting.tables().map(reason).collect::<Result<_>>()?,
            tables: self.data_plane.table_counters()?,
        })
    }
}

fn send(program: &Xdp, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
    let (returned, out) = test_run::test_run(program, frame, FRAME)?;
    let verdict = match returned {
        1 => Verdict::Drop,
        2 => Verdict::Pass,
        3 => Verdict::Tx,
        4 => Verdict::Redirect,
        other => bail!("the program returned {other}"),
    };
    Ok((verdict, out))
}

/// Counters in the order of the setting's backends and services.
struct Raw {
    backends: Vec<BackendCounters>,
    reasons: Vec<Vec<u64>>,
    tables: TableCounters,
}

impl Raw {
    fn since(&self, before: &Self) -> Self {
        let backend = |(now, before): (&BackendCounters, &BackendCounters)| BackendCounters {
            packets_in: now.packets_in - before.packets_in,
            bytes_in: now.bytes_in - before.bytes_in,
            packets_out: now.packets_out - before.packets_out,
            bytes_out: now.bytes_out - before.bytes_out,
            connections: now.connections - before.connections,
        };
        let reasons = |(now, before): (&Vec<u64>, &Vec<u64>)| {
            now.iter().zip(before).map(|(now, before)| now - before).collect()
        };
        let (now, then) = (&self.tables, &before.tables);
        Self {
            backends: self.backends.iter().zip(&before.backends).map(backend).collect(),
            reasons: self.reasons.iter().zip(&before.reasons).map(reasons).collect(),
            tables: TableCounters {
                recorded: now.recorded - then.recorded,
                embryonic: now.embryonic - then.embryonic,
                promoted: now.promoted - then.promoted,
                forgotten_flows: now.forgotten_flows - then.forgotten_flows,
                forgotten_embryonic: now.forgotten_embryonic - then.forgotten_embryonic,
                missed: now.missed - then.missed,
                failed: now.failed - then.failed,
            },
        }
    }

    fn named(&self, setting: &Setting) -> Counters {
        let names = setting.backends().map(|(name, _)| name);
        let reasons = setting.tables().zip(&self.reasons).map(|((name, _), counts)| {
            let counts = counts.as_slice().try_into().unwrap_or_default();
            (name, counts)
        });
        Counters::new(names.zip(self.backends.iter().copied()), reasons, &self.tables)
    }
}

/// Every CPU has its own queue of free ports, and the host's path has one: this thread stays on the first CPU that it may
/// use.
fn stay_on_one_cpu() -> Result<()> {
    test_run::stay_on(test_run::cpus()?.next().context("no CPU is allowed")?)
}

/// `CLOCK_MONOTONIC`, nanoseconds: what `bpf_ktime_get_ns` reads.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
