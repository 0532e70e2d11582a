//! What runs in a machine: our own programs, linked statically, and the tools of the laboratory with their libraries.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::TARGET;
use crate::process;

/// The machine's first process.
pub const GUEST: &str = "splitter-vm-guest";

/// Our own programs, and the crates they are in.
const OWN: [(&str, &str); 3] =
    [("splitter-userspace", "splitterd"), ("splitter-userspace", "splitter"), ("splitter-tests", GUEST)];

/// This machine's own programs that the laboratory runs.
const TOOLS: [&str; 2] = ["ip", "ethtool"];

/// Files for a machine: where they are here, and where they are there.
pub struct Programs(Vec<(PathBuf, PathBuf)>);

impl Programs {
    /// Where each file is, and where it is to be in the machine.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.0.iter().map(|(here, there)| (here.as_path(), there.as_path()))
    }
}

/// Builds our own, and finds the others.
///
/// # Errors
/// They do not build, or a tool is not installed.
pub fn build() -> Result<Programs> {
    eprintln!("vm: building for {TARGET} (the first time takes a few minutes)");
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--target", TARGET]);
    for (package, program) in OWN {
        cargo.args(["--package", package, "--bin", program]);
    }
    process::run(&mut cargo)?;
    let folder = process::target_dir().join(TARGET).join("release");
    let mut files: Vec<_> = OWN.iter().map(|(_, program)| (folder.join(program), bin(program))).collect();
    for tool in TOOLS {
        let path = process::find(tool).with_context(|| format!("`{tool}` is not installed"))?;
        let libraries = libraries(&process::output(process::command("ldd").arg(&path))?);
        files.push((path, bin(tool)));
        files.extend(libraries.into_iter().map(|library| (library.clone(), library)));
    }
    files.sort();
    files.dedup();
    Ok(Programs(files))
}

fn bin(program: &str) -> PathBuf {
    Path::new("/bin").join(program)
}

/// Out of what `ldd` prints: the loader and every library, by their whole paths.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let words = ldd.split_whitespace();
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_a_library_too() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffb)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007ffb)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007ffb)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(ldd), expected.map(PathBuf::from));
    }
}
