//! The standard library for programs that need no libraries: there are none in a virtual machine's first memory.

use anyhow::{Result, bail};

use super::{Need, compiler::Compiler};
use crate::{process, vm::TARGET};

/// The compiler's standard library for [`TARGET`].
pub struct MuslTarget {
    compiler: Compiler,
}

impl MuslTarget {
    /// For this compiler.
    pub fn new(compiler: Compiler) -> Self {
        Self { compiler }
    }
}

impl Need for MuslTarget {
    fn name(&self) -> String {
        format!("Rust {} for {TARGET}", self.compiler.release)
    }

    fn why(&self) -> &'static str {
        "the programs that run in virtual machines are linked statically"
    }

    fn is_met(&self) -> bool {
        self.compiler.has_target(TARGET)
    }

    fn install(&self) -> Result<()> {
        let mut rustup = process::command("rustup");
        rustup.args(["target", "add", TARGET]);
        eprintln!("setup: running `{}`", process::line(&rustup));
        let Err(cause) = process::run(&mut rustup) else { return Ok(()) };
        bail!("{cause:#}; give this machine a way to rustup's server, or use a compiler that has {TARGET}")
    }
}
