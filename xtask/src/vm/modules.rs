//! What of a kernel's modules is needed: the network drivers that the program is attached to, and what they need.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};

use super::kernels::find;
use crate::process;

/// Modules that the guest needs, the ones that a kernel has built in among them.
const NEEDED: [&str; 4] = ["virtio_pci", "virtio_net", "veth", "bridge"];

/// Copies them with all that they depend on from an unpacked package into a new folder, named in the order in which they
/// are to be loaded.
pub fn collect(unpacked: &Path, into: &Path) -> Result<()> {
    fs::create_dir(into)?;
    let mut collection = Collection { unpacked, into, done: BTreeSet::new() };
    NEEDED.iter().try_for_each(|name| collection.add(name))
}

struct Collection<'a> {
    unpacked: &'a Path,
    into: &'a Path,
    done: BTreeSet<String>,
}

impl Collection<'_> {
    /// What it depends on comes first. A module without a file is built in.
    fn add(&mut self, name: &str) -> Result<()> {
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let is_it =
            |file: &str| file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name);
        let Some(file) = find(self.unpacked, &is_it) else { return Ok(()) };
        let module = read(&file).with_context(|| format!("module {}", file.display()))?;
        for dependency in dependencies(&module) {
            self.add(&dependency.replace('-', "_"))?;
        }
        let number = fs::read_dir(self.into)?.count();
        fs::write(self.into.join(format!("{number:02}-{name}.ko")), module)?;
        Ok(())
    }
}

/// A module, unpacked.
fn read(file: &Path) -> Result<Vec<u8>> {
    let unpack = |program: &str| {
        let output = process::command(program).args(["--decompress", "--stdout"]).arg(file).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(output.stdout)
    };
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => unpack("xz"),
        Some("zst") => unpack("zstd"),
        _ => Ok(fs::read(file)?),
    }
}

/// The names behind `depends=` in a module's information (section `.modinfo`: strings that end with zeros). Debian makes
/// `modules.dep` only when a package is installed.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value: Vec<u8> = module[at + KEY.len()..].iter().copied().take_while(|byte| *byte != 0).collect();
    let names = String::from_utf8_lossy(&value).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_stand_in_the_module_information() {
        let module = b"\x7fELF..\0license=GPL\0depends=net_failover,virtio\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["net_failover", "virtio"]);
        assert!(dependencies(b"\0depends=\0name=x\0").is_empty());
    }
}
