//! One boot: an emulated machine that runs until the guest has said everything, or its time is over.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{finding::Finding, initramfs::SCENARIOS, kernels::Kernel, place::folder, programs::GUEST};
use crate::process;

/// Time between two looks at the machine.
const POLL: Duration = Duration::from_millis(50);

/// Lines of the console that tell why a machine has ended early.
const LAST_LINES: usize = 15;

/// What came of a boot.
pub struct Run {
    /// What the guest said.
    pub findings: Vec<Finding>,
    /// Why there is not more, if the guest did not come to its end.
    pub cut_short: Option<String>,
    /// From power-on to power-off.
    pub took: Duration,
}

/// Boots a kernel and waits for the end, for `limit` seconds at most.
///
/// # Errors
/// The emulator cannot be started.
pub fn run(kernel: &Kernel, archive: &Path, limit: u64) -> Result<Run> {
    let logs = folder().join("logs").join(&kernel.version.0);
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let (console, port) = (logs.join("console.log"), logs.join("findings.jsonl"));
    // Of an earlier boot.
    for file in [&console, &port] {
        let _ = fs::remove_file(file);
    }
    eprintln!("vm: {}: booting; its console is {}", kernel.version, console.display());
    let begun = Instant::now();
    let mut child = start(kernel, archive, &console, &port, &logs.join("qemu.log"))?;
    let in_time = wait(&mut child, Duration::from_secs(limit))?;
    let findings = read(&port);
    let cut_short = (findings.last() != Some(&Finding::End)).then(|| {
        let cause =
            if in_time { "the machine went down".into() } else { format!("{limit} s were not enough") };
        format!("{cause}; the console's last lines:\n{}", last_lines(&console))
    });
    Ok(Run { findings, cut_short, took: begun.elapsed() })
}

fn start(kernel: &Kernel, archive: &Path, console: &Path, port: &Path, log: &PathBuf) -> Result<Child> {
    // The kernel ends it if we are ended, in whatever way.
    let mut qemu = process::command("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(archive);
    // What the kernel does not know it gives to its first process as its environment. A panic ends the machine.
    let append = format!("console=ttyS0 panic=-1 rdinit=/bin/{GUEST} PATH=/bin SPLITTER_GOLDEN={SCENARIOS}");
    qemu.args(["-append", &append]);
    for file in [console, port] {
        qemu.args(["-serial", &format!("file:{}", file.display())]);
    }
    // An interface whose cable leads nowhere.
    qemu.args(["-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-pci,netdev=net,romfile="]);
    let log = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    qemu.spawn().context("cannot start `setpriv qemu-system-x86_64`")
}

/// False if it had to be stopped.
fn wait(child: &mut Child, limit: Duration) -> Result<bool> {
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        sleep(POLL);
    }
    Ok(true)
}

/// A line that a crash has cut is none.
fn read(port: &Path) -> Vec<Finding> {
    let text = fs::read(port).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
}

fn last_lines(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
