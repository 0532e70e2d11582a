//! A Debian package of an exact upstream version, from a suite that the machine may not have configured.
//!
//! The mirror is the one that the machine's own apt uses; a temporary apt state asks it for other suites, signatures
//! checked as ever, and the machine's own sources and lists stay as they are.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process;

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
        if process::find("apt-get").is_none() || process::find("dpkg").is_none() {
            bail!("this machine has no apt-get and dpkg");
        }
        let mirrors =
            mirrors(&process::output(process::command("apt-get").args(["--print-uris", "update"]))?);
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        for (mirror, suite) in mirrors.iter().flat_map(|mirror| SUITES.map(|suite| (mirror, suite))) {
            let apt = Apt::new(scratch.path(), mirror, suite)?;
            if let Some(version) = apt.find(self) {
                return apt.unpack(self.name, &version);
            }
        }
        bail!("no suite of {} carries {} {}", mirrors.join(", "), self.name, self.release);
    }

    /// The first version in the answer of `apt-cache madison` that is of our release.
    fn pick(&self, madison: &str) -> Option<String> {
        let versions = madison.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
        let ours = |version: &&str| version.split(['+', '-', '~']).next() == Some(self.release);
        versions.filter(ours).map(str::to_owned).next()
    }
}

/// apt with a state and sources of its own.
struct Apt<'a> {
    folder: &'a Path,
    source: String,
}

impl<'a> Apt<'a> {
    fn new(folder: &'a Path, mirror: &str, suite: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "unpacked"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let source = format!("deb {mirror} {suite} main");
        fs::write(folder.join("sources.list"), format!("{source}\n"))?;
        Ok(Self { folder, source })
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = process::command(program);
        command.current_dir(self.folder);
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // Root's own temporary folder is closed to apt's unprivileged user.
            "APT::Sandbox::User=".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// The version to take from this suite, if it has one.
    fn find(&self, package: &Package<'_>) -> Option<String> {
        eprintln!("setup: looking for {} {} in `{}`", package.name, package.release, self.source);
        process::output(self.command("apt-get").args(["--quiet", "update"])).ok()?;
        let madison = process::output(self.command("apt-cache").args(["madison", package.name])).ok()?;
        package.pick(&madison)
    }

    fn unpack(&self, name: &str, version: &str) -> Result<TempDir> {
        eprintln!("setup: downloading {name} {version} from `{}`", self.source);
        process::output(self.command("apt-get").args(["--quiet", "download", &format!("{name}={version}")]))?;
        let archive = archive_in(self.folder)?;
        let unpacked = tempfile::tempdir().context("cannot make a temporary folder")?;
        process::run(process::command("dpkg").arg("-x").arg(&archive).arg(unpacked.path()))?;
        Ok(unpacked)
    }
}

fn archive_in(folder: &Path) -> Result<std::path::PathBuf> {
    let paths = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let mut archives = paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archives.next().context("apt-get download left no .deb file")
}

/// Archives that the machine's apt reads, out of `apt-get --print-uris update`; security archives carry no backports.
fn mirrors(print_uris: &str) -> Vec<String> {
    let uris = print_uris.lines().filter_map(|line| line.strip_prefix('\''));
    let mut bases: Vec<_> =
        uris.filter_map(|uri| uri.split_once("/dists/")).map(|(base, _)| base.to_owned()).collect();
    bases.retain(|base| !base.contains("security"));
    bases.dedup();
    bases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_named_once_and_without_security() {
        let text = "'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_InRelease 0 \n\
                    'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror.example_InRelease 0 \n\
                    'http://mirror.example/debian-security/dists/bookworm-security/InRelease' security 0 \n";
        assert_eq!(mirrors(text), ["http://mirror.example/debian"]);
    }

    #[test]
    fn only_the_exact_release_is_picked() {
        let madison = " rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.example main\n \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example main\n";
        let pick = |release| Package { name: "rust-src", release }.pick(madison);
        assert_eq!(pick("1.95.0").as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(pick("1.95"), None);
    }
}
