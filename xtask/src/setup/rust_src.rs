//! The standard library's source: the BPF target has no ready-made `core`.

use std::fs;

use anyhow::{Context, Result, bail};

use super::{Need, compiler::Compiler, debian};
use crate::process;

/// `rust-src` of exactly the compiler's version.
pub struct RustSrc {
    compiler: Compiler,
}

impl RustSrc {
    /// For this compiler.
    pub fn new(compiler: Compiler) -> Self {
        Self { compiler }
    }

    fn install_from_debian(&self) -> Result<()> {
        let package = debian::Package { name: "rust-src", release: &self.compiler.release };
        let unpacked = package.fetch()?;
        let from = unpacked.path().join(format!("usr/src/rustc-{}/library", self.compiler.release));
        let to = self.compiler.library_source();
        eprintln!("setup: copying its library to {}", to.display());
        let parent = to.parent().context("the sysroot is no folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        process::run(process::command("cp").args(["-r", "--no-target-directory"]).args([&from, &to]))
    }
}

impl Need for RustSrc {
    fn name(&self) -> String {
        format!("rust-src {}", self.compiler.release)
    }

    fn why(&self) -> &'static str {
        "core is built from source for the BPF target"
    }

    fn is_met(&self) -> bool {
        let library = self.compiler.library_source();
        ["Cargo.lock", "core/src/lib.rs"].iter().all(|file| library.join(file).is_file())
    }

    fn install(&self) -> Result<()> {
        let mut rustup = process::command("rustup");
        rustup.args(["component", "add", "rust-src"]);
        eprintln!("setup: running `{}`", process::line(&rustup));
        let Err(first) = process::run(&mut rustup) else { return Ok(()) };
        eprintln!("setup: {first:#}; trying Debian's package");
        let Err(second) = self.install_from_debian() else { return Ok(()) };
        bail!(
            "neither rustup ({first:#}) nor Debian ({second:#}) gave it; give this machine a way to one of them, or \
             unpack the source of Rust {} so that {} exists",
            self.compiler.release,
            self.compiler.library_source().join("core").display()
        )
    }
}
