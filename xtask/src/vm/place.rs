//! Where everything is kept: a folder of cargo's own, which is never committed. One run at a time has it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Everything: kernels, package lists, logs.
pub fn folder() -> PathBuf {
    process::target_dir().join("vm")
}

/// What is of no use after a run.
pub fn scratch() -> PathBuf {
    folder().join("scratch")
}

/// The folder is this run's as long as this lives; the system gives it back however the run ends.
pub struct Claim {
    _lock: File,
}

/// Claims the folder, and removes what a run that was stopped has left.
///
/// # Errors
/// Another run has it, or it cannot be written.
pub fn claim() -> Result<Claim> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another `cargo xtask vm` uses {}: wait until it has ended", folder.display())
        }
        Err(TryLockError::Error(cause)) => return Err(cause).context(format!("locking {}", path.display())),
    }
    match fs::remove_dir_all(scratch()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(cause).context(format!("cannot remove {}", scratch().display()));
        }
        _ => {}
    }
    fs::create_dir(scratch()).with_context(|| format!("cannot create {}", scratch().display()))?;
    Ok(Claim { _lock: lock })
}
