//! Which kernels the machine's package sources have.
//!
//! The mirrors are those of the machine's own apt; they are asked for every Debian suite that may carry a kernel.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::version::{Version, Wanted};
use crate::apt::{self, Apt, Archive};

/// Releases with kernels from 5.10 on, the oldest first.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// Suites that are not of one release.
const ROLLING: [&str; 2] = ["sid", "experimental"];

/// Every kernel package, and no other: debug symbols, real-time and cloud variants have more behind the version.
const PATTERN: &str = "^linux-image-[0-9]+[.][0-9]+[.][0-9]+[^-]*(-[0-9]+|-0[.][^-]*)?-amd64$";

/// Versions that are tried before a kernel counts as not to be had.
const TRIES: usize = 3;

/// Package lists of all suites.
pub struct Packages {
    apt: Apt,
    kernels: Vec<(String, Version)>,
}

impl Packages {
    /// Asks the mirrors; keeps the lists in `folder`.
    ///
    /// # Errors
    /// The machine has no apt, or none that reads a Debian mirror.
    pub fn ask(folder: &Path) -> Result<Self> {
        let sources: Vec<_> =
            apt::archives()?.iter().filter(|archive| is_debian(archive)).flat_map(sources).collect();
        if sources.is_empty() {
            bail!("this machine's package sources name no Debian mirror");
        }
        let apt = Apt::new(folder, &sources)?;
        eprintln!("vm: asking {} suites of the machine's own mirrors for kernels", sources.len());
        // A suite that a mirror does not carry is no fault: what counts is which kernels are found.
        let updated = apt.update();
        let names = apt.names(PATTERN)?;
        if names.is_empty() {
            updated.context("no package lists")?;
            bail!("no suite carries a kernel");
        }
        let versions = apt.versions(&names)?.into_iter();
        let kernels = versions.map(|(name, version)| (name, Version(version))).collect();
        Ok(Self { apt, kernels })
    }

    /// Unpacks the newest version of a kernel that is to be had into a folder that `into` makes; says which it is.
    ///
    /// # Errors
    /// There is none, or no version of it can be downloaded.
    pub fn fetch(&self, wanted: &Wanted, into: &Path) -> Result<Version> {
        let mut failure = None;
        for (package, version) in self.newest(wanted).into_iter().take(TRIES) {
            match self.unpack(package, version, into) {
                Ok(()) => return Ok(version.clone()),
                Err(cause) => {
                    eprintln!("vm: {package} {version}: {cause:#}");
                    failure = Some(cause);
                }
            }
        }
        Err(failure.with_context(|| format!("no suite carries a kernel {wanted}"))?)
    }

    /// The newest version of a kernel that the lists name.
    pub fn newest_version(&self, wanted: &Wanted) -> Option<&Version> {
        self.newest(wanted).first().map(|(_, version)| *version)
    }

    fn newest(&self, wanted: &Wanted) -> Vec<(&str, &Version)> {
        let ours = self.kernels.iter().filter(|(_, version)| wanted.is(version));
        let mut ours: Vec<_> = ours.map(|(name, version)| (name.as_str(), version)).collect();
        ours.sort_by(|one, other| other.1.cmp(one.1));
        ours.dedup_by(|one, other| one.1 == other.1);
        ours
    }

    /// From 6.19 on the kernel and its modules lie in packages of their own.
    fn unpack(&self, package: &str, version: &Version, into: &Path) -> Result<()> {
        let mut needed = self.apt.dependencies(package, &version.0)?;
        needed.retain(|name| ["linux-binary-", "linux-modules-"].iter().any(|part| name.starts_with(part)));
        needed.push(package.to_owned());
        for name in needed {
            eprintln!("vm: downloading {name} {version}");
            self.apt.unpack(&name, &version.0, into)?;
        }
        Ok(())
    }
}

fn is_debian(archive: &Archive) -> bool {
    archive.suites.iter().any(|suite| {
        let release = suite.split('-').next().unwrap_or_default();
        RELEASES.contains(&release)
            || ["stable", "oldstable", "testing", "unstable", "sid", "forky"].contains(&release)
    })
}

/// Lines of a `sources.list` for every suite of an archive that may carry a kernel.
fn sources(archive: &Archive) -> Vec<String> {
    let suites: Vec<String> = if archive.is_security() {
        RELEASES.iter().map(|release| format!("{release}-security")).collect()
    } else {
        let stable =
            RELEASES.iter().flat_map(|release| [(*release).to_owned(), format!("{release}-backports")]);
        stable.chain(ROLLING.map(str::to_owned)).collect()
    };
    suites.iter().map(|suite| format!("deb [arch=amd64] {} {suite} main", archive.base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(base: &str, suite: &str) -> Archive {
        Archive { base: base.into(), suites: vec![suite.into()] }
    }

    #[test]
    fn security_archives_have_suites_of_their_own() {
        let lines = sources(&archive("http://mirror.example/debian-security", "bookworm-security"));
        assert_eq!(lines[0], "deb [arch=amd64] http://mirror.example/debian-security bullseye-security main");
        let lines = sources(&archive("http://mirror.example/debian", "bookworm"));
        assert!(lines.iter().any(|line| line.ends_with(" trixie-backports main")));
    }

    #[test]
    fn other_distributions_are_left_alone() {
        assert!(is_debian(&archive("http://mirror.example/debian", "bookworm-updates")));
        assert!(!is_debian(&archive("http://mirror.example/node", "nodistro")));
    }
}
