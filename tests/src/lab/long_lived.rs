//! Connections that stay open for minutes, and must stay with the server that took them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};

use super::{Connection, Runner};

/// Time between two requests on one connection.
const PERIOD: Duration = Duration::from_millis(200);
/// A request on an open connection that takes longer means that the connection is dead.
const LIMIT: Duration = Duration::from_secs(5);

/// A growing set of connections. Dropping it closes them.
#[derive(Default)]
pub struct LongLived {
    members: Vec<Member>,
}

/// What has become of the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Open connections by server name.
    pub alive: BTreeMap<String, u64>,
    /// Connections that were told to finish, and did so in order.
    pub finished: u64,
    /// Connections that were cut or answered by another server, by cause.
    pub cut: BTreeMap<String, u64>,
}

impl Census {
    /// Connections that are open.
    pub fn alive(&self) -> u64 {
        self.alive.values().sum()
    }

    /// Connections that were cut or moved.
    pub fn cut(&self) -> u64 {
        self.cut.values().sum()
    }

    /// All connections that were ever opened.
    pub fn total(&self) -> u64 {
        self.alive() + self.finished + self.cut()
    }
}

impl LongLived {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens `count` more, to the targets in turn; returns when each has had its first answer.
    pub fn open(&mut self, runner: &Runner, targets: &[SocketAddr], count: usize) -> Result<()> {
        for target in targets.iter().copied().cycle().take(count) {
            let (connection, server) = runner
                .run(async move { timeout(LIMIT, first(target)).await.context("no answer")? })?
                .with_context(|| format!("cannot open a long-lived connection to {target}"))?;
            let member =
                Member { local: connection.local(), state: Arc::new(Mutex::new(State::Open)), server };
            runner.spawn(live(connection, member.clone()));
            self.members.push(member);
        }
        Ok(())
    }

    /// Tells up to `count` open connections whose server `which` picks to finish; gives back how many were told.
    pub fn finish(&self, count: usize, which: impl Fn(&str) -> bool) -> usize {
        let open = self.members.iter().filter(|member| which(&member.server));
        open.filter(|member| member.tell_to_finish()).take(count).count()
    }

    /// What has become of them all.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for member in &self.members {
            match &*member.state() {
                State::Open | State::Finishing => {
                    *census.alive.entry(member.server.clone()).or_default() += 1;
                }
                State::Finished => census.finished += 1,
                State::Cut(cause) => *census.cut.entry(cause.clone()).or_default() += 1,
            }
        }
        census
    }

    /// The clients' addresses of open connections, with the server's name.
    pub fn clients(&self) -> Vec<(SocketAddr, String)> {
        let open = self.members.iter().filter(|member| matches!(*member.state(), State::Open));
        open.map(|member| (member.local, member.server.clone())).collect()
    }
}

impl Drop for LongLived {
    fn drop(&mut self) {
        self.finish(usize::MAX, |_| true);
    }
}

/// One connection, as its task and the set see it.
#[derive(Clone)]
struct Member {
    local: SocketAddr,
    server: String,
    state: Arc<Mutex<State>>,
}

enum State {
    Open,
    Finishing,
    Finished,
    Cut(String),
}

impl Member {
    /// A state is one word, so a panic elsewhere leaves nothing inconsistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if it is not open any more.
    fn tell_to_finish(&self) -> bool {
        let mut state = self.state();
        let open = matches!(*state, State::Open);
        if open {
            *state = State::Finishing;
        }
        open
    }

    fn is_finishing(&self) -> bool {
        matches!(*self.state(), State::Finishing)
    }
}

async fn first(target: SocketAddr) -> Result<(Connection, String)> {
    let mut connection = Connection::open(target).await?;
    let server = connection.server().await?;
    Ok((connection, server))
}

/// Asks again and again, until told to finish or until something is wrong.
async fn live(mut connection: Connection, member: Member) {
    let end = loop {
        sleep(PERIOD).await;
        if member.is_finishing() {
            break State::Finished;
        }
        if let Err(cause) = ping(&mut connection, &member.server).await {
            break State::Cut(format!("{cause:#}"));
        }
    };
    // Closed before it is counted as such.
    drop(connection);
    *member.state() = end;
}

async fn ping(connection: &mut Connection, expected: &str) -> Result<()> {
    let server = timeout(LIMIT, connection.server()).await.context("no answer")??;
    ensure!(server == expected, "moved from {expected} to {server}");
    Ok(())
}
