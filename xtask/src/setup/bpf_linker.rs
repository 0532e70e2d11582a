//! bpf-linker, built against the compiler's own LLVM: bitcode of another LLVM version cannot be linked.

use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{
    Need,
    compiler::{Compiler, file_name},
};
use crate::process;

/// The version that everything here is built with; it supports LLVM 21 to 23.
const VERSION: &str = "0.13.0";

/// `bpf-linker` of exactly [`VERSION`].
pub struct BpfLinker {
    compiler: Compiler,
}

impl BpfLinker {
    /// For this compiler.
    pub fn new(compiler: Compiler) -> Self {
        Self { compiler }
    }

    /// What its build takes for an LLVM installation: links to the libraries that rustc itself runs on.
    fn llvm_prefix(&self) -> Result<TempDir> {
        let libraries = self.compiler.llvm_libraries()?;
        let Some(library) = libraries.first() else {
            bail!(
                "{} holds no libLLVM.so.{}.*: this compiler does not carry its own LLVM; use one from rustup, or \
                 install a bpf-linker {VERSION} that was built for LLVM {}",
                self.compiler.lib().display(),
                self.compiler.llvm,
                self.compiler.llvm
            );
        };
        let prefix = tempfile::tempdir().context("cannot make a temporary folder")?;
        let lib = prefix.path().join("lib");
        std::fs::create_dir(&lib)?;
        symlink(library, lib.join("libLLVM.so"))?;
        for library in &libraries {
            symlink(library, lib.join(file_name(library)))?;
        }
        Ok(prefix)
    }
}

impl Need for BpfLinker {
    fn name(&self) -> String {
        format!("bpf-linker {VERSION} for LLVM {}", self.compiler.llvm)
    }

    fn why(&self) -> &'static str {
        "it links the XDP program"
    }

    /// One that was built for a compiler which is gone does not start any more, as its LLVM went with it.
    fn is_met(&self) -> bool {
        let version = process::output(process::command("bpf-linker").arg("--version"));
        version.is_ok_and(|version| version.trim() == format!("bpf-linker {VERSION}"))
    }

    fn install(&self) -> Result<()> {
        let prefix = self.llvm_prefix()?;
        let mut install = process::cargo();
        install.args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
            "--no-default-features",
        ]);
        install.args(["--features", &format!("llvm-{}", self.compiler.llvm)]);
        install.env("LLVM_PREFIX", prefix.path());
        // The prefix goes away with this call; at run time the library is found where it really lies.
        install.env("RUSTFLAGS", format!("-Clink-arg=-Wl,-rpath,{}", self.compiler.lib().display()));
        eprintln!("setup: running `{}` (about a minute)", process::line(&install));
        process::run(&mut install)
    }
}
