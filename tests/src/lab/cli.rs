//! The real command line, run as a person runs it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use super::binaries;

/// `splitter --socket SOCKET`.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    socket: PathBuf,
}

/// What a call of the command line gave.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Cli {
    /// For the daemon at `socket`.
    pub fn new(socket: &Path) -> Result<Self> {
        Ok(Self { program: binaries::find("splitter")?, socket: socket.to_owned() })
    }

    /// Runs it to its end, whatever its exit code.
    pub fn run(&self, arguments: &[&str]) -> Result<Reply> {
        let begun = Instant::now();
        let output = Command::new(&self.program).arg("--socket").arg(&self.socket).args(arguments).output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Reply {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        })
    }

    /// Runs it with `--output json`; an error unless it succeeds and prints a `T`.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<(T, Duration)> {
        let line = format!("splitter {}", arguments.join(" "));
        let reply = self.run(&[arguments, &["--output", "json"]].concat())?;
        ensure!(reply.code == Some(0), "`{line}` ended with {:?}: {}", reply.code, reply.stderr.trim());
        let value = serde_json::from_str(&reply.stdout);
        Ok((value.with_context(|| format!("`{line}` printed {}", reply.stdout.trim()))?, reply.took))
    }

    /// A shell's line after which a person can just type `splitter status`.
    pub fn shell_setup(&self) -> String {
        let folder = self.program.parent().unwrap_or(Path::new("."));
        format!("export SPLITTER_SOCKET={} PATH={}:$PATH", self.socket.display(), folder.display())
    }
}
