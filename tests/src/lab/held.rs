//! Thousands of connections that are silent until they are told to speak.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{task::JoinSet, time::timeout};

use super::{Connection, Runner};

/// How many are opened, or speak, at a time.
const AT_ONCE: usize = 64;
/// An answer that takes longer does not come.
const LIMIT: Duration = Duration::from_secs(5);

/// Connections to one server. Dropping it closes them.
#[derive(Default)]
pub struct Held {
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Held {
    /// Opens connections to `target` until `count` are with `server`; those that others took are closed again.
    pub fn open(runner: &Runner, target: SocketAddr, server: &'static str, count: usize) -> Result<Self> {
        // Both ends are in this process.
        allow_files(2 * count as u64 + 1000)?;
        let connections = runner.run(async move {
            let mut held = Vec::new();
            while held.len() < count {
                let opened = at_once((0..AT_ONCE).map(|_| async move {
                    let mut connection = Connection::open(target).await?;
                    Ok((connection.server().await? == server).then_some(connection))
                }));
                held.extend(opened.await?.into_iter().flatten());
            }
            held.truncate(count);
            anyhow::Ok(held)
        })??;
        Ok(Self { connections: Arc::new(Mutex::new(connections)) })
    }

    /// Everyone asks for the server's name, and must get `server`; those that do not are given up. Returns how many
    /// those were.
    pub fn speak(&self, runner: &Runner, server: &'static str) -> Result<usize> {
        let connections = Arc::clone(&self.connections);
        runner.run(async move {
            let mut all = std::mem::take(&mut *connections.lock().unwrap_or_else(PoisonError::into_inner));
            let before = all.len();
            let mut alive = Vec::with_capacity(before);
            while !all.is_empty() {
                let some = all.split_off(all.len().saturating_sub(AT_ONCE));
                let answered = at_once(some.into_iter().map(|mut connection| async move {
                    let answer = timeout(LIMIT, connection.server()).await;
                    Ok(answer.is_ok_and(|name| name.is_ok_and(|name| name == server)).then_some(connection))
                }));
                alive.extend(answered.await?.into_iter().flatten());
            }
            let lost = before - alive.len();
            *connections.lock().unwrap_or_else(PoisonError::into_inner) = alive;
            Ok(lost)
        })?
    }

    /// Closes `count` of them.
    pub fn close(&self, count: usize) -> Result<()> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(connections.len() >= count, "only {} are open", connections.len());
        let rest = connections.len() - count;
        connections.truncate(rest);
        Ok(())
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Runs tasks side by side; their results in no order.
async fn at_once<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let mut set: JoinSet<Result<T>> = tasks.collect();
    let mut results = Vec::new();
    while let Some(result) = set.join_next().await {
        results.push(result.context("a task panicked")??);
    }
    Ok(results)
}

/// Lets this process open so many files.
fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    let maximum = maximum.map(|maximum| maximum.max(count));
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })
        .with_context(|| format!("cannot raise the limit of open files from {current:?} to {count}"))
}
