//! Shares by pool, and whether what was counted can come from what was wanted.

use std::collections::BTreeMap;

use splitter_userspace::config::PoolName;

use crate::lab::{Counts, binomial::is_plausible};

/// Fractions of one; pools that are absent have none.
pub type Shares = BTreeMap<PoolName, f64>;

/// Answers by pool; absent without any.
pub type Tally = BTreeMap<PoolName, u64>;

/// Probability that a share which is right is taken for wrong.
const DOUBT: f64 = 0.001;

/// Adds the answers of a pool's hosts (`blue1`, `blue2`) up.
pub fn tally(counts: &Counts) -> Tally {
    let mut tally = Tally::new();
    for (server, count) in &counts.answers {
        if let Ok(pool) = server.trim_end_matches(|character: char| character.is_ascii_digit()).parse() {
            *tally.entry(pool).or_default() += count;
        }
    }
    tally
}

/// Fractions of a tally; empty for an empty one.
pub fn of(tally: &Tally) -> Shares {
    let sum: u64 = tally.values().sum();
    tally.iter().map(|(pool, count)| (*pool, *count as f64 / sum as f64)).collect()
}

/// Whether every pool's count lies in its 99.9 % interval around the wanted share. Never so without any answer.
pub fn agree(tally: &Tally, wanted: &Shares) -> bool {
    let sum = tally.values().sum();
    let fits = |pool: &PoolName| {
        let count = tally.get(pool).copied().unwrap_or(0);
        is_plausible(count, sum, wanted.get(pool).copied().unwrap_or(0.0), DOUBT)
    };
    sum > 0 && PoolName::ALL.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(answers: &[(&str, u64)]) -> Counts {
        let answers = answers.iter().map(|(server, count)| ((*server).to_owned(), *count)).collect();
        Counts { answers, ..Counts::default() }
    }

    #[test]
    fn hosts_are_added_up_to_pools() {
        let tally = tally(&counts(&[("blue1", 3), ("blue2", 4), ("canary1", 1)]));
        assert_eq!(tally, [(PoolName::Blue, 7), (PoolName::Canary, 1)].into());
        assert_eq!(of(&tally)[&PoolName::Canary], 0.125);
    }

    #[test]
    fn what_is_likely_agrees_and_what_is_not_does_not() {
        let wanted = Shares::from([(PoolName::Blue, 0.95), (PoolName::Canary, 0.05)]);
        let agrees =
            |canary| agree(&[(PoolName::Blue, 4000 - canary), (PoolName::Canary, canary)].into(), &wanted);
        assert!(agrees(200) && agrees(170) && agrees(235));
        assert!(!agrees(150) && !agrees(255));
    }

    #[test]
    fn a_pool_that_is_to_have_nothing_must_have_nothing() {
        let wanted = Shares::from([(PoolName::Blue, 1.0)]);
        assert!(agree(&[(PoolName::Blue, 4000)].into(), &wanted));
        assert!(!agree(&[(PoolName::Blue, 3999), (PoolName::Canary, 1)].into(), &wanted));
        assert!(!agree(&Tally::new(), &wanted));
    }
}
