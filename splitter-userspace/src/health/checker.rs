//! One checking task per target, started and stopped as targets come and go.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    Target, Verdict,
    probe::{self, Outcome},
    state::{Change, State},
};
use crate::config::HealthCheck;

/// Checks under way at one time, so that thousands of silent backends cannot use up this process's descriptors.
const MAX_CHECKS_UNDER_WAY: usize = 256;

/// Checks targets and sends a verdict whenever the health of one changes.
pub struct Checker {
    verdicts: mpsc::Sender<Verdict>,
    slots: Arc<Semaphore>,
    tasks: HashMap<SocketAddr, Task>,
}

/// A target's task; stopped when dropped.
struct Task {
    check: HealthCheck,
    handle: JoinHandle<()>,
}

impl Checker {
    /// Checks what `targets` holds until its sender is dropped or nobody takes verdicts any more.
    ///
    /// Each target starts unknown: one pass brings it up, `fall` failures take it down. A target whose check
    /// changes starts anew; the others go on undisturbed. Of several targets with one address the first counts.
    /// A verdict already sent may still arrive after its target is gone.
    pub fn start(targets: watch::Receiver<Vec<Target>>, verdicts: mpsc::Sender<Verdict>) -> JoinHandle<()> {
        let slots = Arc::new(Semaphore::new(MAX_CHECKS_UNDER_WAY));
        tokio::spawn(Self { verdicts, slots, tasks: HashMap::new() }.run(targets))
    }

    async fn run(mut self, mut targets: watch::Receiver<Vec<Target>>) {
        loop {
            let wanted = targets.borrow_and_update().clone();
            self.adopt(wanted);
            tokio::select! {
                changed = targets.changed() => if changed.is_err() { return },
                () = self.verdicts.closed() => return,
            }
        }
    }

    /// Stops the tasks of targets that are gone or changed, and starts those that are missing.
    fn adopt(&mut self, wanted: Vec<Target>) {
        let addresses: HashSet<_> = wanted.iter().map(|target| target.address).collect();
        self.tasks.retain(|address, _| addresses.contains(address));
        let mut seen = HashSet::new();
        for target in wanted.into_iter().filter(|target| seen.insert(target.address)) {
            if self.tasks.get(&target.address).is_none_or(|task| task.check != target.check) {
                let handle = tokio::spawn(follow(target.clone(), self.slots.clone(), self.verdicts.clone()));
                self.tasks.insert(target.address, Task { check: target.check, handle });
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Checks one target for ever. It begins somewhere within its first interval, so that targets added together are
/// not checked together.
async fn follow(target: Target, slots: Arc<Semaphore>, verdicts: mpsc::Sender<Verdict>) {
    let mut ticks = time::interval_at(Instant::now() + jitter(&target), target.check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = State::new(&target.check);
    loop {
        ticks.tick().await;
        let outcome = check(&target, &slots).await;
        let Some((change, why)) = judge(&mut state, &target, outcome) else { continue };
        if verdicts.send(Verdict { address: target.address, up: change.up, why }).await.is_err() {
            return;
        }
    }
}

async fn check(target: &Target, slots: &Semaphore) -> Outcome {
    // The semaphore is never closed; without a slot the check would be made all the same.
    let _slot = slots.acquire().await;
    probe::connect(target.address, target.check.timeout).await
}

/// What the outcome changes, and why.
fn judge(state: &mut State, target: &Target, outcome: Outcome) -> Option<(Change, String)> {
    let (pass, result) = match outcome {
        Outcome::Pass { took } => (true, format!("done in {took:.1?}")),
        Outcome::Fail(why) => (false, why),
        Outcome::Inconclusive(why) => {
            log::warn!("health check of {} was not made: {why} on this host", target.address);
            return None;
        }
    };
    let change = state.note(pass)?;
    let did = if pass { "passed" } else { "failed" };
    Some((change, format!("connect: {result} ({run} of {run} {did})", run = change.run)))
}

/// Random, from the seed the standard library draws for hash maps.
fn jitter(target: &Target) -> Duration {
    let share = RandomState::new().hash_one(target.address) as f64 / u64::MAX as f64;
    target.check.interval.mul_f64(share)
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
