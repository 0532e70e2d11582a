//! How many slots each pool owns, and which stretch of the order.
//!
//! Canary owns the first positions, the idle pool (the one of blue and green that is not stable) the last,
//! and the stable pool all between them. A candidate's count depends on its own weight alone and the stable
//! pool takes the rest; largest remainder over three pools would now and then hand a third pool's odd slot
//! on when one candidate's weight changes.
//!
//! Why that is exact to one slot: a candidate is off by less than half a slot, so the stable pool is off by
//! less than one. `SLOTS` being a power of two, `weight * SLOTS / 10,000` in lowest terms has an odd
//! denominator, so it never lies halfway; hence the roundings of two candidates that fill everything cancel,
//! and a stable pool of weight 0 owns exactly none. `SLOTS` being above 10,000, every step of 0.01 % adds a
//! slot to a candidate, and a weight above 0 is worth 1.6 slots at least, so it owns one at least.

use std::ops::Range;

use super::SLOTS;
use crate::{
    api::model::Split,
    config::{PoolName, Weight},
};

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS >= Weight::FULL.basis_points() as usize);

/// Who owns which positions of the slot order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    stable: PoolName,
    /// The first position behind canary's.
    canary_end: usize,
    /// The idle pool's first position.
    idle_start: usize,
}

impl Shares {
    /// The shares of `split`, whose stable pool is blue or green and whose weights add up to 100 %.
    pub fn of(split: &Split) -> Self {
        let slots = |pool| split.weights.get(&pool).map_or(0, |&weight| candidate_slots(weight));
        let canary_end = slots(PoolName::Canary);
        let idle_start = SLOTS - slots(idle(split.stable));
        debug_assert!(canary_end <= idle_start, "the weights of {split:?} add up to more than 100 %");
        Self { stable: split.stable, canary_end, idle_start }
    }

    /// The positions in the order that `pool` owns.
    pub fn positions(&self, pool: PoolName) -> Range<usize> {
        match pool {
            PoolName::Canary => 0..self.canary_end,
            pool if pool == self.stable => self.canary_end..self.idle_start,
            _ => self.idle_start..SLOTS,
        }
    }

    /// Number of slots that change from one pool to another between `self` and `after`.
    pub fn slots_moved(&self, after: &Self) -> usize {
        let kept = |pool| overlap(&self.positions(pool), &after.positions(pool));
        SLOTS - PoolName::ALL.into_iter().map(kept).sum::<usize>()
    }
}

/// The one of blue and green that is not stable.
pub const fn idle(stable: PoolName) -> PoolName {
    match stable {
        PoolName::Green => PoolName::Blue,
        PoolName::Blue | PoolName::Canary => PoolName::Green,
    }
}

/// Number of slots that change pools when blue and green change ends while both hold slots before and after,
/// which moves far more clients than the weights ask for; `None` when `after` leaves them at their ends.
pub fn swapped_ends(before: &Split, after: &Split) -> Option<usize> {
    let (shares, next) = (Shares::of(before), Shares::of(after));
    let both_hold = |shares: &Shares| {
        [PoolName::Blue, PoolName::Green].iter().all(|&pool| !shares.positions(pool).is_empty())
    };
    let swapped = before.stable != after.stable && both_hold(&shares) && both_hold(&next);
    swapped.then(|| shares.slots_moved(&next))
}

/// `weight` of all slots, rounded to the nearest number.
fn candidate_slots(weight: Weight) -> usize {
    let full = Weight::FULL.basis_points() as usize;
    (weight.basis_points() as usize * SLOTS + full / 2) / full
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> usize {
    one.end.min(other.end).saturating_sub(one.start.max(other.start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(points: u32) -> Weight {
        Weight::from_basis_points(points).unwrap()
    }

    fn split(stable: PoolName, canary: u32, idle_points: u32) -> Split {
        let weights = [
            (stable, points(10_000 - canary - idle_points)),
            (idle(stable), points(idle_points)),
            (PoolName::Canary, points(canary)),
        ];
        Split { stable, weights: weights.into() }
    }

    fn count(shares: &Shares, pool: PoolName) -> usize {
        shares.positions(pool).len()
    }

    fn stable_pool() -> impl Strategy<Value = PoolName> {
        prop_oneof![Just(PoolName::Blue), Just(PoolName::Green)]
    }

    /// Basis points of canary and of the idle pool, together at most 100 %; the extremes often.
    fn candidates() -> impl Strategy<Value = (u32, u32)> {
        let weight = || prop_oneof![4 => 0..=10_000u32, 1 => Just(0), 1 => Just(1), 1 => Just(9_999)];
        (weight(), weight()).prop_map(|(canary, idle)| (canary, idle.min(10_000 - canary)))
    }

    #[test]
    fn every_weight_owns_what_it_says() {
        for weight in 0..=10_000u32 {
            let slots = candidate_slots(points(weight));
            let off = (slots * 10_000).abs_diff(weight as usize * SLOTS);
            assert!(off * 2 < 10_000, "{weight} basis points own {slots} slots");
            assert_eq!(slots == 0, weight == 0);
            assert!(weight == 0 || slots > candidate_slots(points(weight - 1)));
        }
    }

    #[test]
    fn a_stable_pool_without_weight_owns_nothing() {
        for canary in 0..=10_000 {
            let shares = Shares::of(&split(PoolName::Blue, canary, 10_000 - canary));
            assert_eq!(count(&shares, PoolName::Blue), 0);
        }
    }

    #[test]
    fn the_least_stable_weight_owns_a_slot() {
        for canary in 0..=9_999 {
            let shares = Shares::of(&split(PoolName::Green, canary, 9_999 - canary));
            assert!(count(&shares, PoolName::Green) >= 1, "canary {canary} basis points");
        }
    }

    #[test]
    fn a_handed_over_pool_keeps_its_positions() {
        let as_idle = Shares::of(&split(PoolName::Blue, 500, 9_500));
        let as_stable = Shares::of(&split(PoolName::Green, 500, 0));
        assert_eq!(as_idle.slots_moved(&as_stable), 0);
    }

    #[test]
    fn swapped_ends_are_counted() {
        let (before, after) = (split(PoolName::Blue, 0, 5_000), split(PoolName::Green, 0, 5_000));
        assert_eq!(swapped_ends(&before, &after), Some(SLOTS));
        assert_eq!(swapped_ends(&before, &split(PoolName::Blue, 0, 6_000)), None);
        assert_eq!(swapped_ends(&before, &split(PoolName::Green, 0, 0)), None);
        assert_eq!(swapped_ends(&split(PoolName::Blue, 0, 0), &after), None);
    }

    proptest! {
        #[test]
        fn shares_are_exact_to_one_slot(stable in stable_pool(), (canary, idle) in candidates()) {
            let split = split(stable, canary, idle);
            let shares = Shares::of(&split);
            for (&pool, weight) in &split.weights {
                let exact = weight.basis_points() as usize * SLOTS;
                prop_assert!((count(&shares, pool) * 10_000).abs_diff(exact) < 10_000);
                prop_assert_eq!(count(&shares, pool) == 0, *weight == Weight::ZERO);
            }
        }

        #[test]
        fn the_pools_share_out_all_positions(stable in stable_pool(), (canary, idle) in candidates()) {
            let shares = Shares::of(&split(stable, canary, idle));
            let mut owners = vec![0; SLOTS];
            for pool in PoolName::ALL {
                owners[shares.positions(pool)].iter_mut().for_each(|owners| *owners += 1);
            }
            prop_assert!(owners.iter().all(|&owners| owners == 1));
        }

        #[test]
        fn a_candidate_trades_with_the_stable_pool_alone(
            stable in stable_pool(), (canary, idle_points) in candidates(), more in 0..=10_000u32,
        ) {
            let more = more.min(10_000 - canary - idle_points);
            let before = Shares::of(&split(stable, canary, idle_points));
            let canary_up = Shares::of(&split(stable, canary + more, idle_points));
            let idle_up = Shares::of(&split(stable, canary, idle_points + more));
            prop_assert_eq!(before.positions(idle(stable)), canary_up.positions(idle(stable)));
            prop_assert_eq!(before.positions(PoolName::Canary), idle_up.positions(PoolName::Canary));
        }

        #[test]
        fn a_growing_weight_only_adds(
            stable in stable_pool(), (canary, idle_points) in candidates(), more in 0..=10_000u32,
        ) {
            let more = more.min(10_000 - canary - idle_points);
            let before = Shares::of(&split(stable, canary, idle_points));
            for (pool, after) in [
                (PoolName::Canary, split(stable, canary + more, idle_points)),
                (idle(stable), split(stable, canary, idle_points + more)),
            ] {
                let after = Shares::of(&after);
                let kept = overlap(&before.positions(pool), &after.positions(pool));
                prop_assert_eq!(kept, count(&before, pool));
                prop_assert_eq!(before.slots_moved(&after), count(&after, pool) - kept);
            }
        }
    }
}
