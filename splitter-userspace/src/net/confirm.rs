//! Which neighbours to have the kernel confirm, and when. Pure: time is passed in.
//!
//! The kernel renews a neighbour entry when its own stack sends through it. Packets that XDP forwards do not
//! count, so entries go stale, and a backend that only XDP talks to is never resolved at all: somebody has to
//! ask, in the kernel's stead, at a pace that does not flood the segment.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::facts::{Condition, NeighbourKey};

/// First wait after asking for a missing neighbour; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between questions for a missing neighbour, and the wait for a stale one.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Remembers what was asked when.
#[derive(Debug, Default)]
pub(super) struct Confirmer {
    asked: HashMap<NeighbourKey, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// Until a missing neighbour is asked for again.
    wait: Duration,
}

impl Confirmer {
    /// The neighbours to ask for at `now`, taken as asked for; the others are forgotten if no longer needed.
    pub(super) fn due(
        &mut self,
        needed: &BTreeMap<NeighbourKey, Condition>,
        now: Instant,
    ) -> Vec<NeighbourKey> {
        self.asked.retain(|key, _| needed.contains_key(key));
        let mut due = Vec::new();
        for (key, condition) in needed {
            if self.next(key, *condition).is_some_and(|at| at.is_none_or(|at| at <= now)) {
                self.note(*key, *condition, now);
                due.push(*key);
            } else if *condition == Condition::Sure {
                self.reset_wait(key);
            }
        }
        due
    }

    /// When a neighbour will be due, if nothing changes until then.
    pub(super) fn deadline(&self, needed: &BTreeMap<NeighbourKey, Condition>) -> Option<Instant> {
        needed.iter().filter_map(|(key, condition)| self.next(key, *condition)?).min()
    }

    /// `None`: never; `Some(None)`: at once; else at that moment.
    fn next(&self, key: &NeighbourKey, condition: Condition) -> Option<Option<Instant>> {
        let asked = self.asked.get(key);
        match condition {
            Condition::Asking | Condition::Sure => None,
            Condition::Missing => Some(asked.map(|asked| asked.at + asked.wait)),
            Condition::Stale => Some(asked.map(|asked| asked.at + LONGEST_WAIT)),
        }
    }

    fn note(&mut self, key: NeighbourKey, condition: Condition, now: Instant) {
        let before = self.asked.get(&key).map(|asked| asked.wait);
        let wait = match (condition, before) {
            (Condition::Missing, Some(wait)) => (wait * 2).min(LONGEST_WAIT),
            _ => FIRST_WAIT,
        };
        self.asked.insert(key, Asked { at: now, wait });
    }

    fn reset_wait(&mut self, key: &NeighbourKey) {
        if let Some(asked) = self.asked.get_mut(key) {
            asked.wait = FIRST_WAIT;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const KEY: NeighbourKey = (2, std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));

    fn needed(condition: Condition) -> BTreeMap<NeighbourKey, Condition> {
        BTreeMap::from([(KEY, condition)])
    }

    /// Seconds, counted from the first, at which a neighbour that stays in `condition` is asked for.
    fn questions(condition: Condition, seconds: u64) -> Vec<u64> {
        let (mut confirmer, start) = (Confirmer::default(), Instant::now());
        (0..seconds)
            .filter(|second| {
                !confirmer.due(&needed(condition), start + Duration::from_secs(*second)).is_empty()
            })
            .collect()
    }

    #[test]
    fn missing_neighbours_are_asked_for_at_once_then_ever_more_rarely() {
        assert_eq!(questions(Condition::Missing, 130), [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    }

    #[test]
    fn stale_neighbours_are_confirmed_every_half_minute() {
        assert_eq!(questions(Condition::Stale, 100), [0, 30, 60, 90]);
    }

    #[test]
    fn nobody_is_asked_for_while_sure_or_while_the_kernel_asks() {
        assert_eq!(questions(Condition::Sure, 100), [0; 0]);
        assert_eq!(questions(Condition::Asking, 100), [0; 0]);
    }

    #[test]
    fn an_answer_resets_the_backoff() {
        let (mut confirmer, start) = (Confirmer::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in [0, 1, 3, 7] {
            assert_eq!(confirmer.due(&needed(Condition::Missing), at(second)), [KEY]);
        }
        assert!(confirmer.due(&needed(Condition::Sure), at(8)).is_empty());
        assert_eq!(confirmer.due(&needed(Condition::Missing), at(9)), [KEY]);
    }

    #[test]
    fn the_deadline_is_the_next_question() {
        let (mut confirmer, now) = (Confirmer::default(), Instant::now());
        confirmer.due(&needed(Condition::Missing), now);
        assert_eq!(confirmer.deadline(&needed(Condition::Missing)), Some(now + FIRST_WAIT));
        assert_eq!(confirmer.deadline(&needed(Condition::Stale)), Some(now + LONGEST_WAIT));
        assert_eq!(confirmer.deadline(&needed(Condition::Sure)), None);
    }

    #[test]
    fn what_is_no_longer_needed_is_forgotten() {
        let (mut confirmer, now) = (Confirmer::default(), Instant::now());
        confirmer.due(&needed(Condition::Missing), now);
        confirmer.due(&BTreeMap::new(), now);
        assert_eq!(confirmer.due(&needed(Condition::Missing), now), [KEY]);
    }
}
