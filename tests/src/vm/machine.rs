//! What a system would have done at its start, and the end.

use std::{fs, fs::File, path::PathBuf};

use anyhow::{Context as _, Result};
use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, finit_module, reboot},
};

use super::report::Report;

/// Kernel modules, to be loaded in the order of their names.
const MODULES: &str = "/modules";

/// File systems: type and place. `/run` must be one, for `ip netns`.
const FILE_SYSTEMS: [(&str, &str); 5] =
    [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];

/// Makes a system of the machine, does `work`, and switches it off whatever came of it. Comes back only if that fails.
pub fn whole_life(work: impl FnOnce(Report) -> Result<()>) -> Result<()> {
    if let Err(error) = start().and_then(work) {
        // On the console, which the one that started the machine keeps.
        eprintln!("splitter-vm-guest: {error:#}");
    }
    reboot(RebootCommand::PowerOff).context("cannot switch the machine off")
}

fn start() -> Result<Report> {
    for (kind, place) in FILE_SYSTEMS {
        fs::create_dir_all(place).with_context(|| format!("cannot create {place}"))?;
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    load_modules()?;
    Report::open()
}

fn load_modules() -> Result<()> {
    let entries = fs::read_dir(MODULES).with_context(|| format!("cannot read {MODULES}"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| {
        let load = || -> Result<()> { Ok(finit_module(File::open(path)?, c"", 0)?) };
        load().with_context(|| format!("cannot load {}", path.display()))
    })
}
