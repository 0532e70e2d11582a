//! Programs that the distribution packages: the laboratory's network is made with them.

use anyhow::{Result, bail};

use super::Need;
use crate::process;

/// A program, the Debian package it comes in, and what it is for.
pub struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

/// Everything that demo and tests run.
pub const TOOLS: [Tool; 2] = [
    Tool { program: "ip", package: "iproute2", why: "it makes the network namespaces of demo and tests" },
    Tool {
        program: "ethtool",
        package: "ethtool",
        why: "it sets the offloads of the namespaces' interfaces",
    },
];

/// What the fuzzer is built with.
pub const FUZZ_TOOLS: [Tool; 1] = [Tool { program: "c++", package: "g++", why: "it builds libFuzzer" }];

/// What virtual machines are made and run with.
pub const VM_TOOLS: [Tool; 4] = [
    Tool {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        why: "it emulates the machines that kernels are booted on",
    },
    Tool { program: "setpriv", package: "util-linux", why: "it ends the emulator when we end" },
    Tool { program: "cpio", package: "cpio", why: "it packs what a kernel starts with" },
    Tool { program: "xz", package: "xz-utils", why: "it unpacks kernel modules" },
];

impl Need for Tool {
    fn name(&self) -> String {
        self.program.to_owned()
    }

    fn why(&self) -> &'static str {
        self.why
    }

    fn is_met(&self) -> bool {
        process::find(self.program).is_some()
    }

    fn install(&self) -> Result<()> {
        let package = self.package;
        if process::find("apt-get").is_none() {
            bail!(
                "there is no apt-get here: install the package `{package}` with this system's own package manager"
            );
        }
        if !process::is_root() {
            bail!("installing needs root: run `sudo apt-get install {package}`");
        }
        let mut install = process::command("apt-get");
        install.args(["install", "--yes", "--no-install-recommends", package]);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        eprintln!("setup: running `{}`", process::line(&install));
        if process::run(&mut install).is_ok() {
            return Ok(());
        }
        eprintln!(
            "setup: the package lists may be missing or old: running `apt-get update` and trying again"
        );
        process::run(process::command("apt-get").arg("update"))?;
        process::run(&mut install)
    }
}
