//! The wish to stop: signals, keys, or Enter. Everything that waits looks at it.

use std::{
    io::stdin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// Shared by everyone who may wish to stop and everyone who has to.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everyone to stop.
    pub fn wish(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_wished(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps; an error as soon as somebody asks to stop.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            if self.is_wished() {
                bail!("stopped");
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// From now on, SIGINT, SIGTERM and SIGHUP are wishes to stop and no longer end the process where it stands.
    pub fn watch_signals(&self) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot watch SIGHUP")?;
        drop(guard);
        let stop = self.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
                    stop.wish();
                }
            });
        });
        Ok(())
    }

    /// A line on the standard input is a wish to stop; its end is not.
    pub fn watch_enter(&self) {
        let stop = self.clone();
        thread::spawn(move || {
            if stdin().read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0) {
                stop.wish();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ends_a_long_sleep() {
        let stop = Stop::default();
        let sleeper = stop.clone();
        let begun = Instant::now();
        let sleeping = thread::spawn(move || sleeper.sleep(Duration::from_secs(60)));
        stop.wish();
        assert!(sleeping.join().expect("no panic").is_err());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
