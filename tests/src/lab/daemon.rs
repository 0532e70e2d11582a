//! The real daemon as a process in the load balancer's namespace.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Namespace, binaries};

/// Time for the daemon to load, attach and answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Time for one answer while it starts.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Time for the daemon to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often both are looked at.
const POLL: Duration = Duration::from_millis(10);

/// A running `splitterd`. Dropping it stops it.
pub struct DaemonProcess {
    child: Child,
    log: PathBuf,
}

impl DaemonProcess {
    /// Starts it with a config file; returns when its API answers on `socket`. Its output is appended to `log`.
    pub fn start(namespace: &Namespace, config: &Path, socket: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new(binaries::find("splitterd")?);
        command.arg("--config").arg(config).stdin(Stdio::null());
        let file = append_to(log)?;
        command.stdout(file.try_clone().context("cannot share the log")?).stderr(file);
        // A group of its own: Ctrl-C on the terminal is for us to handle.
        command.process_group(0);
        let child = namespace.spawn(&mut command)?;
        let mut daemon = Self { child, log: log.to_owned() };
        daemon.wait_until_it_answers(socket)?;
        Ok(daemon)
    }

    /// Asks it to end (SIGTERM) and waits; kills it when it does not.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Kills it at once, as a crash would (SIGKILL).
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill splitterd")?;
        self.child.wait().context("cannot wait for splitterd")?;
        Ok(())
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_it_answers(&mut self, socket: &Path) -> Result<()> {
        let begun = Instant::now();
        while !answers(socket) {
            if let Some(status) = self.child.try_wait().context("cannot wait for splitterd")? {
                bail!("splitterd ended at once: {status}:\n{}", self.log());
            }
            if begun.elapsed() > START_LIMIT {
                bail!(
                    "splitterd does not answer on {} after {START_LIMIT:?}:\n{}",
                    socket.display(),
                    self.log()
                );
            }
            sleep(POLL);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait().context("cannot wait for splitterd")?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot stop splitterd")?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if self.child.try_wait().context("cannot wait for splitterd")?.is_some() {
                return Ok(());
            }
            sleep(POLL);
        }
        self.child.kill().context("cannot kill splitterd")?;
        self.child.wait().context("cannot wait for splitterd")?;
        bail!("splitterd did not end within {STOP_LIMIT:?} after SIGTERM and was killed")
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        if let Err(cause) = self.end() {
            eprintln!("lab: {cause:#}");
        }
    }
}

/// Whether the API gives its status. The socket is there before that: connections wait in its queue.
fn answers(socket: &Path) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: splitterd\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn append_to(log: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.with_context(|| format!("cannot open {}", log.display()))
}
