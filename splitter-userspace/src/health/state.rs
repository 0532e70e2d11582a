//! Health from a sequence of passes and failures. Pure.

use crate::config::HealthCheck;

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Up,
    Down,
}

/// Decides when a run of equal results is long enough to change a target's health.
#[derive(Clone, Debug)]
pub(super) struct State {
    rise: u32,
    fall: u32,
    health: Health,
    /// Results in a row that speak against `health`.
    run: u32,
    /// Whether the last result was a pass; tells one run from the next while nothing is known.
    passing: bool,
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What the target is from now on.
    pub(super) up: bool,
    /// Length of the run that decided it.
    pub(super) run: u32,
}

impl State {
    /// Nothing known: one pass brings the target up, so that a start is quick; `fall` failures take it down.
    pub(super) fn new(check: &HealthCheck) -> Self {
        Self { rise: check.rise, fall: check.fall, health: Health::Unknown, run: 0, passing: false }
    }

    /// Takes a result in; tells if it changed the target's health.
    pub(super) fn note(&mut self, pass: bool) -> Option<Change> {
        let news = if pass { self.health != Health::Up } else { self.health != Health::Down };
        self.run = if !news {
            0
        } else if pass == self.passing {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.passing = pass;
        let enough = news && self.run >= self.threshold(pass);
        enough.then(|| self.change(pass))
    }

    fn threshold(&self, pass: bool) -> u32 {
        match (pass, self.health) {
            (true, Health::Unknown) => 1,
            (true, _) => self.rise,
            (false, _) => self.fall,
        }
    }

    fn change(&mut self, up: bool) -> Change {
        self.health = if up { Health::Up } else { Health::Down };
        Change { up, run: std::mem::take(&mut self.run) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn state(rise: u32, fall: u32) -> State {
        let second = Duration::from_secs(1);
        State::new(&HealthCheck { interval: second, timeout: second, rise, fall })
    }

    /// The changes that a run of results such as `"+--"` causes, by position.
    fn changes(state: &mut State, results: &str) -> Vec<(usize, bool)> {
        let noted = results.chars().map(|result| state.note(result == '+')).enumerate();
        noted.filter_map(|(at, change)| Some((at, change?.up))).collect()
    }

    #[test]
    fn one_pass_brings_an_unknown_target_up() {
        assert_eq!(changes(&mut state(5, 3), "+"), [(0, true)]);
    }

    #[test]
    fn an_unknown_target_needs_all_failures_to_go_down() {
        assert_eq!(changes(&mut state(2, 3), "---"), [(2, false)]);
        assert_eq!(changes(&mut state(2, 3), "--+"), [(2, true)]);
    }

    #[test]
    fn runs_must_be_unbroken() {
        assert_eq!(changes(&mut state(2, 3), "+--+--+---"), [(0, true), (9, false)]);
        assert_eq!(changes(&mut state(3, 1), "+-++-+++"), [(0, true), (1, false), (7, true)]);
    }

    #[test]
    fn the_length_of_the_run_is_told() {
        let mut state = state(1, 2);
        state.note(false);
        assert_eq!(state.note(false), Some(Change { up: false, run: 2 }));
    }

    proptest! {
        /// Against the definition: the last `n` results agree and the target is not so already.
        #[test]
        fn health_follows_the_last_results(
            rise in 1u32..6, fall in 1u32..6, results in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let mut state = state(rise, fall);
            let mut known = None;
            for end in 1..=results.len() {
                let pass = results[end - 1];
                let wanted = if pass && known.is_none() { 1 } else if pass { rise } else { fall } as usize;
                let agreed = results[..end].iter().rev().take_while(|result| **result == pass).count();
                let expected = known != Some(pass) && agreed >= wanted;
                let change = state.note(pass);
                prop_assert_eq!(change.is_some(), expected, "after {} of {:?}", end, results);
                if let Some(change) = change {
                    prop_assert_eq!(change.up, pass);
                    known = Some(pass);
                }
            }
        }
    }
}
