//! Shares and rates from counters sampled once a second. Pure.

use std::collections::{BTreeMap, VecDeque};

use splitter_common::{abi::BackendCounters, slot::BackendId};

use crate::api::model::Measured;

/// Length of the window, nanoseconds.
const WINDOW_NS: u64 = 10_000_000_000;

/// Half a sample's distance: a sample this much older than the window still counts as its start.
const SLACK_NS: u64 = 500_000_000;

/// Counters at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at_ns: u64,
    counters: BTreeMap<BackendId, BackendCounters>,
}

/// The samples of the last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    samples: VecDeque<Sample>,
}

/// What happened in the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Its length.
    pub seconds: f64,
    /// Counts of every backend since its start.
    pub counts: BTreeMap<BackendId, BackendCounters>,
}

impl Meter {
    /// Takes a sample, and forgets those that no window can begin with any more.
    pub fn sample(&mut self, at_ns: u64, counters: BTreeMap<BackendId, BackendCounters>) {
        self.samples.push_back(Sample { at_ns, counters });
        while self
            .samples
            .get(1)
            .is_some_and(|second| at_ns.saturating_sub(second.at_ns) > WINDOW_NS + SLACK_NS)
        {
            self.samples.pop_front();
        }
    }

    /// The newest counters.
    pub fn latest(&self) -> Option<&BTreeMap<BackendId, BackendCounters>> {
        self.samples.back().map(|sample| &sample.counters)
    }

    /// The last ten seconds, or what has passed of them since `not_before_ns`: a share is measured under one split.
    pub fn window(&self, not_before_ns: u64) -> Window {
        let Some(last) = self.samples.back() else { return Window::default() };
        let earliest = last.at_ns.saturating_sub(WINDOW_NS + SLACK_NS).max(not_before_ns);
        let Some(first) = self.samples.iter().find(|sample| sample.at_ns >= earliest) else {
            return Window::default();
        };
        let since = |id: &BackendId, now: &BackendCounters| {
            let then = first.counters.get(id).copied().unwrap_or_default();
            BackendCounters {
                packets_in: now.packets_in.saturating_sub(then.packets_in),
                bytes_in: now.bytes_in.saturating_sub(then.bytes_in),
                packets_out: now.packets_out.saturating_sub(then.packets_out),
                bytes_out: now.bytes_out.saturating_sub(then.bytes_out),
                connections: now.connections.saturating_sub(then.connections),
            }
        };
        let counts = last.counters.iter().map(|(id, now)| (*id, since(id, now))).collect();
        Window { seconds: (last.at_ns - first.at_ns) as f64 / 1e9, counts }
    }
}

/// The share of `part` in `whole` with its 95 % Wilson interval (Wilson 1927); `None` of nothing.
pub fn share(part: u64, whole: u64, window_seconds: f64) -> Option<Measured> {
    const Z: f64 = 1.96;
    if whole == 0 {
        return None;
    }
    let n = whole as f64;
    let share = part as f64 / n;
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let (centre, scale) = (share + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
    // Rounding must not put the share outside of its own interval.
    let low = ((centre - spread) / scale).clamp(0.0, share);
    let high = ((centre + spread) / scale).clamp(share, 1.0);
    Some(Measured { share, low, high, connections: whole, window_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(connections: u64) -> BTreeMap<BackendId, BackendCounters> {
        [(BackendId::new(1), BackendCounters { connections, ..BackendCounters::default() })].into()
    }

    fn connections(window: &Window) -> u64 {
        window.counts.values().map(|counts| counts.connections).sum()
    }

    #[test]
    fn the_window_is_ten_seconds_or_since_the_change() {
        let mut meter = Meter::default();
        for second in 0..30 {
            meter.sample(second * 1_000_000_000, counters(second * 5));
        }
        let window = meter.window(0);
        assert_eq!((window.seconds, connections(&window)), (10.0, 50));
        let window = meter.window(27_000_000_000);
        assert_eq!((window.seconds, connections(&window)), (2.0, 10));
        assert_eq!(meter.window(31_000_000_000), Window::default());
        assert!(meter.samples.len() <= 12);
    }

    #[test]
    fn wilson_interval() {
        assert!(share(0, 0, 1.0).is_none());
        // 10 of 100: 0.0552 to 0.1744, as in the textbooks.
        let measured = share(10, 100, 1.0).unwrap();
        assert!((measured.low - 0.0552).abs() < 1e-3 && (measured.high - 0.1744).abs() < 1e-3);
        let none = share(0, 50, 1.0).unwrap();
        assert!(none.low == 0.0 && none.high > 0.05);
    }
}
