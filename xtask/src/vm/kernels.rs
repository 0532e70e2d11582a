//! Kernels that were fetched: each in a folder of its own, named after its version, with what booting it needs.

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    modules,
    packages::Packages,
    place,
    version::{Version, Wanted},
};

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its package's version.
    pub version: Version,
    folder: PathBuf,
}

impl Kernel {
    /// The kernel itself.
    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Its modules, to be loaded in the order of their names.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }
}

/// Those that were fetched, and where others come from.
pub struct Kernels {
    folder: PathBuf,
    refresh: bool,
    /// Asked once, and only if something is missing.
    packages: OnceCell<Result<Packages, String>>,
}

impl Kernels {
    /// With `refresh`, a newer version is fetched even if there is one.
    ///
    /// # Errors
    /// There is no room.
    pub fn new(refresh: bool) -> Result<Self> {
        let folder = place::folder().join("kernels");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder, refresh, packages: OnceCell::new() })
    }

    /// The newest one that is there, else that is to be had.
    ///
    /// # Errors
    /// It is not to be had.
    pub fn get(&self, wanted: &Wanted) -> Result<Kernel> {
        let there = self.newest(wanted);
        match there {
            Some(kernel) if !self.refresh => Ok(kernel),
            Some(kernel) if self.packages()?.newest_version(wanted) <= Some(&kernel.version) => Ok(kernel),
            _ => self.fetch(wanted),
        }
    }

    fn newest(&self, wanted: &Wanted) -> Option<Kernel> {
        let entries = fs::read_dir(&self.folder).ok()?.filter_map(Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let version = names.map(Version).filter(|version| wanted.is(version)).max()?;
        Some(self.kernel(version))
    }

    fn kernel(&self, version: Version) -> Kernel {
        let folder = self.folder.join(&version.0);
        Kernel { version, folder }
    }

    fn packages(&self) -> Result<&Packages> {
        let asked = self.packages.get_or_init(|| {
            Packages::ask(&place::folder().join("apt")).map_err(|cause| format!("{cause:#}"))
        });
        asked.as_ref().map_err(|cause| anyhow!("{cause}"))
    }

    /// Made elsewhere, so that one that is there is whole.
    fn fetch(&self, wanted: &Wanted) -> Result<Kernel> {
        let packages = self.packages()?;
        let scratch = tempfile::tempdir_in(place::scratch()).context("cannot make a temporary folder")?;
        let (unpacked, made) = (scratch.path().join("unpacked"), scratch.path().join("made"));
        let version = packages.fetch(wanted, &unpacked)?;
        fs::create_dir(&made)?;
        let image =
            find(&unpacked, &|name| name.starts_with("vmlinuz")).context("the package has no vmlinuz")?;
        fs::copy(&image, made.join("vmlinuz"))?;
        modules::collect(&unpacked, &made.join("modules"))?;
        let kernel = self.kernel(version);
        if kernel.folder.exists() {
            fs::remove_dir_all(&kernel.folder)?;
        }
        fs::rename(&made, &kernel.folder)?;
        Ok(kernel)
    }
}

/// The first file below `folder` whose name is right.
pub fn find(folder: &Path, is_right: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        let kind = entry.file_type().ok()?;
        let found = if kind.is_dir() {
            find(&entry.path(), is_right)
        } else {
            (kind.is_file() && is_right(&entry.file_name().to_string_lossy())).then(|| entry.path())
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
