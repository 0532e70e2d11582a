//! One network namespace: made, entered, and removed when it is dropped.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ip;

/// Where `ip netns` keeps its namespaces.
pub(super) const FOLDER: &str = "/run/netns";

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, empty but for a loopback interface that is down.
    pub fn create(label: &str) -> Result<Self> {
        Ok(Self::create_all(&[label])?.remove(0))
    }

    /// As many as there are labels, in their order, at the price of one.
    pub fn create_all(labels: &[&str]) -> Result<Vec<Self>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = labels.iter().map(|label| Self { name: format!("{}{number}-{label}", prefix_of(id())) });
        // Made before the attempt, so that a failure half-way is cleaned up by dropping them.
        let made: Vec<_> = names.collect();
        let lines: Vec<_> = made.iter().map(|namespace| format!("netns add {}", namespace.name)).collect();
        ip::batch(None, &lines).context("cannot make network namespaces (are we root?)")?;
        Ok(made)
    }

    /// Its name for `ip -n` and `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) -> Result<()> {
        enter(&self.path())
    }

    /// Runs `work` on a thread inside: the sockets it opens and the processes it starts belong here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a process inside. It sees the mounts that we see, unlike under `ip netns exec`, so bpffs is shared.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let name = format!("{command:?}");
        self.run(|| command.spawn())?.with_context(|| format!("cannot start {name}"))
    }

    /// Runs a tool inside, to its end.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| ip::run(Command::new(program).args(arguments)))?
    }

    /// Runs `ip` inside, once for all lines.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        ip::batch(Some(&self.name), lines)
    }

    /// Sets sysctls inside, e.g. `("ipv4/ip_forward", "1")`.
    pub fn set_sysctls(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            settings.iter().try_for_each(|(key, value)| {
                let path = format!("/proc/sys/net/{key}");
                fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
            })
        })?
    }

    /// The file that names it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(FOLDER).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.path().exists() {
            return;
        }
        if let Err(cause) = ip::batch(None, &[format!("netns delete {}", self.name)]) {
            eprintln!("lab: {cause:#}");
        }
    }
}

/// Moves the calling thread into the namespace that the file names.
pub(super) fn enter(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", path.display()))
}

/// What the names of a process's namespaces begin with.
pub(super) fn prefix_of(process: u32) -> String {
    format!("sp{process}x")
}

/// The process that a namespace's name carries.
pub(super) fn process_of(name: &str) -> Option<i32> {
    let (process, rest) = name.strip_prefix("sp")?.split_once('x')?;
    rest.split_once('-')?.0.parse::<u32>().ok()?;
    process.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_process() {
        assert_eq!(process_of(&format!("{}3-client", prefix_of(4711))), Some(4711));
        assert_eq!(process_of("sp4711"), None);
        assert_eq!(process_of("spine1x-leaf"), None);
    }
}
