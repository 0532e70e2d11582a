//! Whether a count can come from a share: the exact binomial test.

/// False if so few or so many successes would come about with a probability below `doubt / 2` each.
pub fn is_plausible(count: u64, trials: u64, share: f64, doubt: f64) -> bool {
    if share <= 0.0 || share >= 1.0 {
        return count as f64 == share * trials as f64;
    }
    at_most(count, trials, share) > doubt / 2.0 && at_most(trials - count, trials, 1.0 - share) > doubt / 2.0
}

/// Probability of at most `count` successes. Summed from logarithms: single terms can be too small for a float.
fn at_most(count: u64, trials: u64, share: f64) -> f64 {
    let odds = share.ln() - (1.0 - share).ln();
    let mut term = trials as f64 * (1.0 - share).ln();
    let mut sum = term.exp();
    for successes in 0..count {
        term += ((trials - successes) as f64 / (successes + 1) as f64).ln() + odds;
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn against_known_values() {
        // Of ten fair coins: at most two heads in 56 of 1024 cases.
        assert!((at_most(2, 10, 0.5) - 56.0 / 1024.0).abs() < 1e-12);
        assert!((at_most(4000, 4000, 0.05) - 1.0).abs() < 1e-9);
        // Far below what a float can hold as a single term: (1 - 0.5)^5000.
        assert!((at_most(2500, 5000, 0.5) - 0.5056).abs() < 1e-3);
    }

    #[test]
    fn the_interval_has_two_ends() {
        // 4000 at 5 %: 200 expected, standard deviation 13.8; the 99.99 % interval ends near 148 and 256.
        let fits = |count| is_plausible(count, 4000, 0.05, 1e-4);
        assert!(fits(200) && fits(155) && fits(248));
        assert!(!fits(140) && !fits(265));
        assert!(is_plausible(0, 10, 0.0, 1e-4) && !is_plausible(1, 10, 0.0, 1e-4));
        assert!(is_plausible(10, 10, 1.0, 1e-4) && !is_plausible(9, 10, 1.0, 1e-4));
    }
}
