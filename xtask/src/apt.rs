//! apt with a state and sources of its own: it asks the machine's own mirrors for suites that the machine may not have
//! configured. Signatures are checked as ever; the machine's own sources and lists stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process;

/// An archive that the machine's own apt reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its address, up to `/dists/`.
    pub base: String,
    /// The suites that are read.
    pub suites: Vec<String>,
}

impl Archive {
    /// Whether it holds security updates alone: those archives have suites of their own.
    pub fn is_security(&self) -> bool {
        self.base.contains("security")
    }
}

/// Archives that the machine's own apt reads.
///
/// # Errors
/// The machine has no apt.
pub fn archives() -> Result<Vec<Archive>> {
    if process::find("apt-get").is_none() || process::find("dpkg").is_none() {
        bail!("this machine has no apt-get and dpkg");
    }
    Ok(parse_archives(&process::output(process::command("apt-get").args(["--print-uris", "update"]))?))
}

/// apt with a state and sources of its own.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Keeps its state in `folder`, an absolute path; `sources` are lines of a `sources.list`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(folder: &Path, sources: &[String]) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("in {}", folder.display()))?;
        }
        fs::write(folder.join("sources.list"), sources.join("\n") + "\n")?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// A source could not be fetched; the others were.
    pub fn update(&self) -> Result<()> {
        process::output(self.command("apt-get").args(["--quiet", "update"])).map(drop)
    }

    /// Names of packages that match a regular expression.
    ///
    /// # Errors
    /// apt fails.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = process::output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Versions of packages, as pairs of name and version, in apt's order.
    ///
    /// # Errors
    /// apt fails.
    pub fn versions(&self, packages: &[String]) -> Result<Vec<(String, String)>> {
        let madison = process::output(self.command("apt-cache").arg("madison").args(packages))?;
        Ok(parse_madison(&madison))
    }

    /// Names of packages that a version of a package depends on.
    ///
    /// # Errors
    /// apt fails.
    pub fn dependencies(&self, package: &str, version: &str) -> Result<Vec<String>> {
        let shown =
            process::output(self.command("apt-cache").args(["show", &format!("{package}={version}")]))?;
        Ok(parse_depends(&shown))
    }

    /// Downloads a package and unpacks it over what `into` holds.
    ///
    /// # Errors
    /// It is not there any more, or there is no room.
    pub fn unpack(&self, package: &str, version: &str, into: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(&self.folder).context("cannot make a temporary folder")?;
        let mut download = self.command("apt-get");
        download.args(["--quiet", "download", &format!("{package}={version}")]).current_dir(scratch.path());
        process::output(&mut download)?;
        let archive = archive_in(scratch.path())?;
        process::run(process::command("dpkg").arg("-x").arg(&archive).arg(into))
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = process::command(program);
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            "Acquire::Languages=none".into(),
            // Our folder may be closed to apt's unprivileged user.
            "APT::Sandbox::User=".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

fn archive_in(folder: &Path) -> Result<PathBuf> {
    let paths = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let mut archives = paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archives.next().context("apt-get download left no .deb file")
}

/// Out of `apt-get --print-uris update`.
fn parse_archives(print_uris: &str) -> Vec<Archive> {
    let uris = print_uris.lines().filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"));
    let mut archives: Vec<Archive> = Vec::new();
    for (base, rest) in uris {
        let suite = rest.split('/').next().unwrap_or_default().to_owned();
        match archives.iter_mut().find(|archive| archive.base == base) {
            Some(archive) if archive.suites.contains(&suite) => {}
            Some(archive) => archive.suites.push(suite),
            None => archives.push(Archive { base: base.to_owned(), suites: vec![suite] }),
        }
    }
    archives
}

/// Out of `apt-cache madison`: name, version and source between bars.
fn parse_madison(madison: &str) -> Vec<(String, String)> {
    let fields = madison.lines().map(|line| line.split('|').map(str::trim));
    fields.filter_map(|mut fields| Some((fields.next()?.to_owned(), fields.next()?.to_owned()))).collect()
}

/// Out of `apt-cache show`: alternatives and version bounds are left out.
fn parse_depends(shown: &str) -> Vec<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let names = depends.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_once_with_their_suites() {
        let text = "'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_InRelease 0 \n\
                    'http://mirror.example/debian/dists/bookworm/main/Packages.xz' packages 0 \n\
                    'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror.example_InRelease 0 \n\
                    'http://mirror.example/debian-security/dists/bookworm-security/InRelease' security 0 \n";
        let [main, security] = &parse_archives(text)[..] else { panic!("two archives") };
        assert_eq!(main.base, "http://mirror.example/debian");
        assert_eq!(main.suites, ["bookworm", "bookworm-updates"]);
        assert!(security.is_security() && !main.is_security());
    }

    #[test]
    fn versions_stand_behind_names() {
        let madison = " rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror.example main\n \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example main\n";
        let versions = parse_madison(madison);
        assert_eq!(versions[1], ("rust-src".to_owned(), "1.95.0+dfsg1-2~bpo13+1".to_owned()));
    }

    #[test]
    fn dependencies_are_names_alone() {
        let shown =
            "Package: linux-image-7.3\nDepends: dracut | linux-initramfs-tool, linux-binary-7.3 (= 7.3-1)\n";
        assert_eq!(parse_depends(shown), ["dracut", "linux-initramfs-tool", "linux-binary-7.3"]);
        assert!(parse_depends("Package: none\n").is_empty());
    }
}
