//! The one pseudo-random order of the slots.

use super::{
    SLOTS,
    hash::{Generator, digest},
};

/// A permutation of the slots that depends on `hash_seed` alone.
///
/// Pools own stretches of it. It is the same for every service, so that with `affinity = "client"` a
/// person who is in one service's canary is in every other's of the same weight too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    slots: Box<[u16]>,
    seed: u64,
}

impl Order {
    /// The order that `hash_seed` names: a Fisher-Yates shuffle by a generator seeded with its hash.
    pub fn new(hash_seed: &str) -> Self {
        let seed = digest(0, hash_seed.as_bytes());
        let mut generator = Generator::new(seed);
        let mut slots: Box<[u16]> = (0..SLOTS).map(|slot| slot as u16).collect();
        for last in (1..SLOTS).rev() {
            slots.swap(last, generator.below(last as u64 + 1) as usize);
        }
        Self { slots, seed }
    }

    /// Slot numbers in their order; every slot occurs once.
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// The hash of `hash_seed`, which keys the backends' preferences too.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_permutation() {
        let mut slots = Order::new("fleet").slots().to_vec();
        slots.sort_unstable();
        assert!(slots.iter().enumerate().all(|(index, &slot)| index == usize::from(slot)));
        assert_eq!(slots.len(), SLOTS);
    }

    #[test]
    fn it_depends_on_the_seed_alone() {
        assert_eq!(Order::new("fleet"), Order::new("fleet"));
        assert_ne!(Order::new("fleet"), Order::new("fleet2"));
    }

    /// Pins the order itself: hosts of different versions must agree on it.
    #[test]
    fn it_never_changes_between_versions() {
        assert_eq!(Order::new("a fleet-wide secret").slots()[..4], [15_399, 9_378, 3_910, 6_544]);
    }

    #[test]
    fn every_stretch_is_spread_over_all_slots() {
        let order = Order::new("fleet");
        for stretch in order.slots().chunks(SLOTS / 16) {
            let low = stretch.iter().filter(|&&slot| usize::from(slot) < SLOTS / 2).count();
            assert!((432..=592).contains(&low), "{low} of 1024 in the lower half");
        }
    }
}
