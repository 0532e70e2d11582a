//! Load: one new connection per request, counted by who answered and by phase.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};

use super::{Connection, Runner};

/// A request that takes longer has failed. Two lost SYNs in a row take 3 s.
const LIMIT: Duration = Duration::from_secs(5);

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Taken in turn.
    pub targets: Vec<SocketAddr>,
    /// Requests under way at the same time, at most.
    pub workers: usize,
    /// Requests per second, all workers together; as many as will go when `None`.
    pub rate: Option<f64>,
}

/// A stretch of time whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase(usize);

/// What came of the requests of a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by server name.
    pub answers: BTreeMap<String, u64>,
    /// Failures by cause.
    pub failures: BTreeMap<String, u64>,
    /// The longest time that an answered request took. A second or more means that a packet was lost.
    pub slowest: Duration,
}

impl Counts {
    /// Requests, answered or not.
    pub fn requests(&self) -> u64 {
        self.answered() + self.failed()
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Requests that were not.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn record(&mut self, outcome: Result<String>, took: Duration) {
        match outcome {
            Ok(server) => {
                *self.answers.entry(server).or_default() += 1;
                self.slowest = self.slowest.max(took);
            }
            Err(cause) => *self.failures.entry(format!("{cause:#}")).or_default() += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        for (server, count) in &other.answers {
            *self.answers.entry(server.clone()).or_default() += count;
        }
        for (cause, count) in &other.failures {
            *self.failures.entry(cause.clone()).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Running load. Dropping it stops it without waiting for the requests under way.
pub struct Load {
    shared: Arc<Shared>,
    workers: Option<JoinSet<()>>,
}

impl Load {
    /// Starts it, in a first phase.
    pub fn start(runner: &Runner, plan: Plan) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_workers = shared.clone();
        let workers = runner.run(async move {
            let mut workers = JoinSet::new();
            for number in 0..plan.workers {
                workers.spawn(work(for_workers.clone(), plan.clone(), number));
            }
            workers
        })?;
        Ok(Self { shared, workers: Some(workers) })
    }

    /// Begins a new phase: requests that begin from now on are counted in it.
    pub fn mark(&self) -> Phase {
        let mut phases = self.shared.phases();
        phases.push(Counts::default());
        Phase(phases.len() - 1)
    }

    /// What has come of the requests that began in a phase.
    pub fn counts(&self, phase: Phase) -> Counts {
        self.shared.phases()[phase.0].clone()
    }

    /// What has come of all requests.
    pub fn total(&self) -> Counts {
        self.shared.total()
    }

    /// Lets the requests under way finish, and stops.
    pub fn stop(mut self, runner: &Runner) -> Result<Counts> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(mut workers) = self.workers.take() {
            runner
                .run(async move { while workers.join_next().await.is_some() {} })
                .context("stopping the load")?;
        }
        Ok(self.shared.total())
    }
}

struct Shared {
    stop: AtomicBool,
    /// Never empty; the last one is the current one.
    phases: Mutex<Vec<Counts>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { stop: AtomicBool::new(false), phases: Mutex::new(vec![Counts::default()]) }
    }
}

impl Shared {
    /// Counting cannot stop half-way, so a panic elsewhere leaves nothing inconsistent.
    fn phases(&self) -> MutexGuard<'_, Vec<Counts>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn total(&self) -> Counts {
        let mut sum = Counts::default();
        self.phases().iter().for_each(|phase| sum.add(phase));
        sum
    }

    fn current(&self) -> usize {
        self.phases().len() - 1
    }
}

/// One worker: request after request, at its part of the rate.
async fn work(shared: Arc<Shared>, plan: Plan, number: usize) {
    let mut pace = plan.rate.map(|rate| {
        let period = Duration::from_secs_f64(plan.workers as f64 / rate);
        let offset = period.mul_f64(number as f64 / plan.workers as f64);
        let mut pace = interval_at(tokio::time::Instant::now() + offset, period);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    for target in plan.targets.iter().cycle().skip(number) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let (phase, begun) = (shared.current(), Instant::now());
        let outcome = timeout(LIMIT, request(*target)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {LIMIT:?}")));
        shared.phases()[phase].record(outcome, begun.elapsed());
    }
}

async fn request(target: SocketAddr) -> Result<String> {
    Connection::open(target).await?.server().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tell_answers_from_failures() {
        let mut counts = Counts::default();
        counts.record(Ok("blue1".into()), Duration::from_millis(2));
        counts.record(Ok("blue1".into()), Duration::from_millis(1));
        counts.record(Err(anyhow::anyhow!("connect: refused")), Duration::from_secs(9));
        assert_eq!((counts.requests(), counts.answered(), counts.failed()), (3, 2, 1));
        assert_eq!(counts.slowest, Duration::from_millis(2));
        assert_eq!(counts.failures["connect: refused"], 1);
    }

    #[test]
    fn phases_add_up() {
        let shared = Shared::default();
        shared.phases()[0].record(Ok("blue1".into()), Duration::ZERO);
        shared.phases().push(Counts::default());
        assert_eq!(shared.current(), 1);
        shared.phases()[1].record(Ok("blue1".into()), Duration::ZERO);
        assert_eq!(shared.total().answers["blue1"], 2);
    }
}
