//! Where the product's own programs lie.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// `splitterd` or `splitter`, as built beside the running program (a test program lies one folder deeper).
pub fn find(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program lies")?;
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    if let Some(path) = beside.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    let folder = this.parent().unwrap_or(Path::new("/"));
    bail!("there is no `{name}` at {}: build it with `cargo build --release`", folder.display())
}
