//! Events: kept in memory, a bounded number, and sent to whoever follows.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::broadcast;

use crate::api::model::Event;

/// Events kept for `splitter events`.
const KEPT: usize = 1000;

/// Events that a follower may lag behind.
const LAG: usize = 1000;

/// The event log; clones share it.
#[derive(Clone)]
pub struct EventLog {
    kept: Arc<Mutex<VecDeque<Event>>>,
    sender: broadcast::Sender<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { kept: Arc::default(), sender: broadcast::channel(LAG).0 }
    }
}

impl EventLog {
    /// Records an event; `kind` as `api::model::Event` lists them.
    pub fn push(&self, kind: &str, service: Option<&str>, generation: u64, line: String, reason: &str) {
        log::info!("{line}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            sequence: kept.back().map_or(1, |last| last.sequence + 1),
            time_unix_ms: unix_ms(),
            kind: kind.into(),
            service: service.map(Into::into),
            generation,
            line,
            reason: reason.into(),
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Nobody follows: nothing to do.
        let _ = self.sender.send(event);
    }

    /// What is kept, oldest first, and what is to come, without a gap between.
    pub fn follow(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.sender.subscribe())
    }
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_numbers_go_on() {
        let log = EventLog::default();
        for number in 0..KEPT + 5 {
            log.push("warning", None, 0, number.to_string(), "");
        }
        let (kept, mut live) = log.follow();
        assert_eq!((kept.len(), kept[0].sequence), (KEPT, 6));
        log.push("warning", Some("web"), 3, "next".into(), "why");
        assert_eq!(live.try_recv().unwrap().sequence, KEPT as u64 + 6);
    }
}
