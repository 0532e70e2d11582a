//! The compiler that will build us: what it is, and where it keeps its things.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// The compiler in use.
#[derive(Clone)]
pub struct Compiler {
    /// E.g. `1.95.0`.
    pub release: String,
    /// Major version of the LLVM it carries, e.g. 22.
    pub llvm: u32,
    sysroot: PathBuf,
}

impl Compiler {
    /// Asks `rustc`.
    pub fn find() -> Result<Self> {
        let version = process::output(process::command("rustc").arg("-vV"))?;
        let sysroot = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
        let (release, llvm) = parse(&version).with_context(|| format!("`rustc -vV` printed {version:?}"))?;
        Ok(Self { release, llvm, sysroot: sysroot.trim().into() })
    }

    /// Its own shared libraries.
    pub fn lib(&self) -> PathBuf {
        self.sysroot.join("lib")
    }

    /// Where `-Z build-std` looks for the standard library's source.
    pub fn library_source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    /// Whether it has a standard library for `target`.
    pub fn has_target(&self, target: &str) -> bool {
        self.sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
    }

    /// Every file of the LLVM it carries, e.g. `libLLVM.so.22.1-rust-1.95.0-stable`.
    pub fn llvm_libraries(&self) -> Result<Vec<PathBuf>> {
        let lib = self.lib();
        let entries = lib.read_dir().with_context(|| format!("cannot read {}", lib.display()))?;
        let ours = format!("libLLVM.so.{}.", self.llvm);
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        Ok(paths.filter(|path| file_name(path).starts_with(&ours)).collect())
    }
}

/// A path's last part.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Release and LLVM major version out of `rustc -vV`.
fn parse(version: &str) -> Option<(String, u32)> {
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ")?.to_owned();
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((release, llvm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_llvm_are_read() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(parse(text), Some(("1.95.0".into(), 22)));
    }

    #[test]
    fn a_compiler_without_llvm_is_no_match() {
        assert_eq!(parse("rustc 1.95.0\nrelease: 1.95.0\n"), None);
    }
}
