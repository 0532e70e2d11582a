//! Live connections by backend, as sweep after sweep of the flow table finds them. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use splitter_common::slot::BackendId;

/// Counts older than this say nothing about the present rate, nanoseconds.
const WINDOW_NS: u64 = 60_000_000_000;

/// Most counts kept of a backend: sweeps are a second apart, but changes ask for more.
const KEPT: usize = 120;

/// One backend's live connections in one reading of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub connections: u64,
    /// Since when the oldest has been known, nanoseconds of `CLOCK_MONOTONIC`.
    pub oldest_ns: u64,
}

impl Tally {
    /// One more, known since `since_ns`.
    pub fn add(&mut self, since_ns: u64) {
        self.oldest_ns = if self.connections == 0 { since_ns } else { self.oldest_ns.min(since_ns) };
        self.connections += 1;
    }
}

/// How many there were.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ns: u64,
    connections: u64,
}

/// The last reading, and how the counts of those that get nothing new came to it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    latest: BTreeMap<BackendId, Tally>,
    history: BTreeMap<BackendId, VecDeque<Sample>>,
}

impl Ledger {
    /// Takes a reading. Only `left`, who get no new connections, have a history: what others have may rise and fall.
    pub fn record(&mut self, now_ns: u64, latest: BTreeMap<BackendId, Tally>, left: &BTreeSet<BackendId>) {
        self.latest = latest;
        self.history.retain(|id, _| left.contains(id));
        for id in left {
            let connections = self.tally(*id).connections;
            let samples = self.history.entry(*id).or_default();
            samples.push_back(Sample { at_ns: now_ns, connections });
            while samples.len() > KEPT
                || samples.front().is_some_and(|first| now_ns - first.at_ns > WINDOW_NS)
            {
                samples.pop_front();
            }
        }
    }

    /// A backend's live connections in the last reading.
    pub fn tally(&self, id: BackendId) -> Tally {
        self.latest.get(&id).copied().unwrap_or_default()
    }

    /// How many connections fewer a backend has every second, since it had most of them within the window.
    ///
    /// Not since the window's beginning: after a drain the count rises first, as one connection after the other speaks
    /// and is seen. That is no growth, and what has gone meanwhile would be hidden by it.
    pub fn decline_per_s(&self, id: BackendId) -> f64 {
        let Some(samples) = self.history.get(&id) else { return 0.0 };
        let (Some(most), Some(last)) =
            (samples.iter().max_by_key(|sample| sample.connections), samples.back())
        else {
            return 0.0;
        };
        let seconds = (last.at_ns - most.at_ns) as f64 / 1e9;
        if seconds > 0.0 { (most.connections - last.connections) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const BLUE: BackendId = BackendId::new(1);

    /// A reading a second; the decline after the last.
    fn decline(counts: impl IntoIterator<Item = u64>) -> f64 {
        let mut ledger = Ledger::default();
        for (second, connections) in (1..).zip(counts) {
            let tallies = [(BLUE, Tally { connections, oldest_ns: 0 })].into();
            ledger.record(second * SECOND_NS, tallies, &[BLUE].into());
            assert!(ledger.history[&BLUE].len() <= 61);
        }
        ledger.decline_per_s(BLUE)
    }

    #[test]
    fn a_tally_knows_its_oldest() {
        let mut tally = Tally::default();
        [30, 10, 20].into_iter().for_each(|since_ns| tally.add(since_ns));
        assert_eq!(tally, Tally { connections: 3, oldest_ns: 10 });
    }

    #[test]
    fn a_steady_decline_is_its_rate() {
        assert_eq!(decline((0..200).rev().map(|left| left * 7)), 7.0);
        assert_eq!(decline([100, 100, 100]), 0.0);
        assert_eq!(decline([]), 0.0);
    }

    #[test]
    fn being_seen_is_no_growth_and_hides_no_decline() {
        assert_eq!(decline([0, 1000, 5000]), 0.0);
        assert_eq!(decline([0, 5000, 5000, 2500]), 2500.0);
        assert_eq!(decline([0, 5000, 5000, 2500, 2500, 2500]), 2500.0 / 3.0);
    }

    #[test]
    fn what_fell_long_ago_is_no_rate() {
        let counts = [5000].into_iter().chain(std::iter::repeat_n(10, 61));
        assert_eq!(decline(counts), 0.0);
    }

    #[test]
    fn who_gets_new_connections_again_has_no_history() {
        let mut ledger = Ledger::default();
        let reading = |connections| BTreeMap::from([(BLUE, Tally { connections, oldest_ns: 0 })]);
        ledger.record(SECOND_NS, reading(10), &[BLUE].into());
        ledger.record(2 * SECOND_NS, reading(5), &[BLUE].into());
        assert_eq!(ledger.decline_per_s(BLUE), 5.0);
        ledger.record(3 * SECOND_NS, reading(4), &[].into());
        assert_eq!((ledger.decline_per_s(BLUE), ledger.tally(BLUE).connections), (0.0, 4));
    }
}
