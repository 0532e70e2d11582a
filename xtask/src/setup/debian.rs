//! A Debian package of an exact upstream version, from a suite that the machine may not have configured.

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::apt::{self, Apt, Archive};

/// Suites that carry newer compilers than a stable release does, the most likely one first.
const SUITES: [&str; 4] = ["trixie-backports", "stable-backports", "testing", "unstable"];

/// What is wanted.
pub struct Package<'a> {
    /// Name of the package.
    pub name: &'a str,
    /// Upstream version, e.g. `1.95.0`.
    pub release: &'a str,
}

impl Package<'_> {
    /// Downloads the package and unpacks it into a temporary folder.
    pub fn fetch(&self) -> Result<TempDir> {
        let archives = apt::archives()?.into_iter().filter(|archive| !archive.is_security());
        let archives: Vec<Archive> = archives.collect();
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        for (archive, suite) in archives.iter().flat_map(|archive| SUITES.map(|suite| (archive, suite))) {
            let source = format!("deb {} {suite} main", archive.base);
            let apt = Apt::new(scratch.path(), std::slice::from_ref(&source))?;
            if let Some(version) = self.find(&apt, &source) {
                return self.unpack(&apt, &version, &source);
            }
        }
        let asked: Vec<_> = archives.iter().map(|archive| archive.base.as_str()).collect();
        bail!("no suite of {} carries {} {}", asked.join(", "), self.name, self.release);
    }

    /// The version to take from this source, if it has one.
    fn find(&self, apt: &Apt, source: &str) -> Option<String> {
        eprintln!("setup: looking for {} {} in `{source}`", self.name, self.release);
        apt.update().ok()?;
        self.pick(apt.versions(&[self.name.to_owned()]).ok()?)
    }

    fn unpack(&self, apt: &Apt, version: &str, source: &str) -> Result<TempDir> {
        eprintln!("setup: downloading {} {version} from `{source}`", self.name);
        let unpacked = tempfile::tempdir().context("cannot make a temporary folder")?;
        apt.unpack(self.name, version, unpacked.path())?;
        Ok(unpacked)
    }

    /// The first version that is of our release.
    fn pick(&self, versions: Vec<(String, String)>) -> Option<String> {
        let ours = |version: &String| version.split(['+', '-', '~']).next() == Some(self.release);
        versions.into_iter().map(|(_, version)| version).find(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_release_is_picked() {
        let versions = ["1.96.1+dfsg1-2~bpo13+1", "1.95.0+dfsg1-2~bpo13+1"]
            .map(|version| ("rust-src".to_owned(), version.to_owned()));
        let pick = |release| Package { name: "rust-src", release }.pick(versions.to_vec());
        assert_eq!(pick("1.95.0").as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(pick("1.95"), None);
    }
}
