//! A temporary folder with a BPF file system of its own, so that pins vanish with it and meet no others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::id,
};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// What the names of the folders begin with.
const PREFIX: &str = "splitter-lab-";

/// The folder. Dropping it removes it with all that is in it.
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// Makes the folder and mounts its BPF file system.
    pub fn create() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", id())).tempdir();
        let scratch = Self { folder: folder.context("cannot make a temporary folder")? };
        let bpf = scratch.bpf();
        fs::create_dir(&bpf).with_context(|| format!("cannot create {}", bpf.display()))?;
        mount("bpf", &bpf, "bpf", MountFlags::empty(), None)
            .with_context(|| format!("cannot mount a BPF file system on {}", bpf.display()))?;
        Ok(scratch)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Its BPF file system.
    pub fn bpf(&self) -> PathBuf {
        bpf_folder(self.folder())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Detached, as a process may still hold a file in it; fails only if it was never mounted.
        let _ = unmount(self.bpf(), UnmountFlags::DETACH);
    }
}

/// Where the BPF file system of a laboratory's folder lies.
pub(super) fn bpf_folder(folder: &Path) -> PathBuf {
    folder.join("bpf")
}

/// The process that a folder's name carries.
pub(super) fn process_of(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::process_of;

    #[test]
    fn folders_carry_their_process() {
        assert_eq!(process_of("splitter-lab-4711-aB3"), Some(4711));
        assert_eq!(process_of("splitter-lab-x"), None);
        assert_eq!(process_of("somebody-elses-4711-aB3"), None);
    }
}
