//! The archive that a kernel starts with: programs, modules, scenarios.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::{NamedTempFile, TempDir};

use super::{kernels::Kernel, place::scratch, programs::Programs};
use crate::process;

/// Where the scenarios are in the machine.
pub const SCENARIOS: &str = "/golden";

/// Packs everything for one kernel.
///
/// # Errors
/// There is no room.
pub fn pack(kernel: &Kernel, programs: &Programs) -> Result<NamedTempFile> {
    let root = tempfile::tempdir_in(scratch()).context("cannot make a temporary folder")?;
    fill(&root, kernel, programs)?;
    let archive = NamedTempFile::new_in(scratch()).context("cannot make a temporary file")?;
    let mut cpio = process::command("cpio");
    cpio.args(["--create", "--format=newc", "--null", "--quiet", "--owner=0:0"]).current_dir(root.path());
    cpio.stdin(Stdio::piped()).stdout(archive.reopen()?);
    let mut child = cpio.spawn().context("cannot start `cpio`")?;
    let mut stdin = child.stdin.take().context("cpio has no input")?;
    for path in below(root.path(), Path::new(""))? {
        write!(stdin, "{}\0", path.display())?;
    }
    drop(stdin);
    ensure!(child.wait()?.success(), "`{}` failed", process::line(&cpio));
    Ok(archive)
}

fn fill(root: &TempDir, kernel: &Kernel, programs: &Programs) -> Result<()> {
    for (here, there) in programs.files() {
        put(root.path(), here, there)?;
    }
    for (from, to) in
        [(kernel.modules(), "/modules"), (process::workspace_root().join("tests/golden"), SCENARIOS)]
    {
        for file in files(&from)? {
            put(root.path(), &file, &Path::new(to).join(file.file_name().unwrap_or_default()))?;
        }
    }
    // Old versions of `ip` keep namespaces there.
    fs::create_dir_all(root.path().join("var"))?;
    symlink("../run", root.path().join("var/run"))?;
    Ok(())
}

fn put(root: &Path, here: &Path, there: &Path) -> Result<()> {
    let to = root.join(there.strip_prefix("/").unwrap_or(there));
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)?;
    if is_ours(here) {
        // Most of it is debug information, which the emulator would copy for seconds.
        return process::run(process::command("strip").arg("--strip-debug").arg("-o").arg(&to).arg(here));
    }
    fs::copy(here, &to).with_context(|| format!("cannot copy {}", here.display()))?;
    Ok(())
}

fn is_ours(file: &Path) -> bool {
    file.starts_with(process::target_dir()) && file.extension().is_none()
}

/// Files of a folder, without those in folders below.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    Ok(files)
}

/// Everything below a folder of the root, relative to the root; a folder stands before what is in it.
fn below(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        found.push(path.clone());
        if entry.file_type()?.is_dir() {
            found.extend(below(root, &path)?);
        }
    }
    Ok(found)
}
