//! Builder of the perfect-hash directory in which the kernel finds a key with two array look-ups.
//!
//! "Hash and displace" (Belazzougui, Botelho, Dietzfelbinger 2009): the low half of a key's hash names a
//! bucket, the bucket's displacement sends the high half to a position of its own. Building is the daemon's work; a
//! look-up is one word for the displacement, one entry for the key, and a comparison, as a key that was never
//! put in lands somewhere too.

use splitter_common::hash::Spot;

/// What the kernel's arrays hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Displacement by bucket.
    pub displacements: Vec<u32>,
    /// Index of the key by position; `None` where no key lives.
    pub slots: Vec<Option<u32>>,
}

impl Directory {
    /// Index of the only key that can have this hash; whether it has is for the caller to compare.
    pub fn candidate(&self, spot: Spot) -> Option<u32> {
        let displacement = self.displacements[spot.bucket(mask(&self.displacements)) as usize];
        self.slots[spot.position(displacement, mask(&self.slots)) as usize]
    }
}

/// Why there is no directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sizes cannot work.
    #[error(
        "{keys} keys do not fit a directory of {buckets} buckets and {positions} positions: both must be powers of \
         two, and the keys fill three quarters of the positions at most"
    )]
    Sizes {
        /// Number of keys.
        keys: usize,
        /// Number of buckets.
        buckets: u32,
        /// Number of positions.
        positions: u32,
    },
    /// No displacement tells these two keys apart. Another seed does, unless the keys are equal.
    #[error("keys {first} and {second} have the same place in the same bucket: hash them with another seed")]
    SameSpot {
        /// Index of one.
        first: u32,
        /// Index of the other.
        second: u32,
    },
    /// No displacement was found; very unlikely, and another seed cures it.
    #[error("no displacement separates the {keys} keys of bucket {bucket}: hash them with another seed")]
    Crowded {
        /// The bucket.
        bucket: u32,
        /// How many keys it has.
        keys: usize,
    },
}

/// Gives every one of `spots` a position of its own.
///
/// # Errors
/// Sizes that cannot work; or keys that this seed's hashes do not tell apart: at half load that happens to about one
/// seed in two for 70,000 keys, and hardly ever for a thousand.
pub fn build(spots: &[Spot], buckets: u32, positions: u32) -> Result<Directory, Error> {
    let fits = spots.len() as u64 * 4 <= u64::from(positions) * 3;
    if !fits || !buckets.is_power_of_two() || !positions.is_power_of_two() {
        return Err(Error::Sizes { keys: spots.len(), buckets, positions });
    }
    let mut directory =
        Directory { displacements: vec![0; buckets as usize], slots: vec![None; positions as usize] };
    let keys = sorted(spots, buckets - 1, positions - 1);
    let mut groups: Vec<&[Key]> = keys.chunk_by(|one, other| one.bucket == other.bucket).collect();
    // The largest first, while there is still much room; the sort is stable, so the result is always the same.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    for group in groups {
        directory.place(group)?;
    }
    Ok(directory)
}

/// A key as the builder sees it; ordered by bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    bucket: u32,
    /// Its position under displacement 0.
    home: u32,
    index: u32,
}

fn sorted(spots: &[Spot], bucket_mask: u32, position_mask: u32) -> Vec<Key> {
    let key = |(index, spot): (u32, &Spot)| {
        let (bucket, home) = (spot.bucket(bucket_mask), spot.position(0, position_mask));
        Key { bucket, home, index }
    };
    let mut keys: Vec<Key> = (0..).zip(spots).map(key).collect();
    keys.sort_unstable();
    keys
}

impl Directory {
    /// Finds the displacement of one bucket and settles its keys.
    fn place(&mut self, group: &[Key]) -> Result<(), Error> {
        if let Some(pair) = group.windows(2).find(|pair| pair[0].home == pair[1].home) {
            return Err(Error::SameSpot { first: pair[0].index, second: pair[1].index });
        }
        let bucket = group[0].bucket;
        let mask = mask(&self.slots);
        let displacement = (0..=mask)
            .map(|attempt| attempt.wrapping_mul(STRIDE) & mask)
            .find(|&displacement| self.settle(group, displacement))
            .ok_or(Error::Crowded { bucket, keys: group.len() })?;
        self.displacements[bucket as usize] = displacement;
        Ok(())
    }

    /// Puts every key of the bucket at its position; if one is taken, takes back those before it.
    fn settle(&mut self, group: &[Key], displacement: u32) -> bool {
        let at = |key: &Key| (key.home ^ displacement) as usize;
        for (settled, key) in group.iter().enumerate() {
            if self.slots[at(key)].is_some() {
                group[..settled].iter().for_each(|key| self.slots[at(key)] = None);
                return false;
            }
            self.slots[at(key)] = Some(key.index);
        }
        true
    }
}

/// Displacements are tried in an order that spreads: steps of an odd number visit every one.
const STRIDE: u32 = 0x9E37_79B1;

/// Length, a power of two, less one.
const fn mask<T>(entries: &[T]) -> u32 {
    entries.len() as u32 - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `count` different hashes, spread like real ones.
    fn spots(seed: u64, count: usize) -> Vec<Spot> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        (0..count).map(|_| Spot::from_raw(next())).collect()
    }

    fn assert_finds(directory: &Directory, spots: &[Spot]) {
        for (index, &spot) in spots.iter().enumerate() {
            assert_eq!(directory.candidate(spot), Some(index as u32));
        }
        assert_eq!(directory.slots.iter().flatten().count(), spots.len());
    }

    #[test]
    fn a_full_size_directory_finds_every_key() {
        let attempt = |seed| build(&spots(seed, 70_000), 32_768, 131_072).map(|directory| (seed, directory));
        let (seed, directory) = (1..16).find_map(|seed| attempt(seed).ok()).unwrap();
        assert_finds(&directory, &spots(seed, 70_000));
    }

    #[test]
    fn an_empty_directory_holds_nothing() {
        let directory = build(&[], 4, 8).unwrap();
        assert_eq!(directory, Directory { displacements: vec![0; 4], slots: vec![None; 8] });
        assert_eq!(directory.candidate(Spot::from_raw(42)), None);
    }

    #[test]
    fn keys_that_no_displacement_separates_are_refused() {
        let spots = [5 << 44, 9 << 44, (5 + (1 << 13)) << 44].map(Spot::from_raw);
        assert_eq!(build(&spots, 1, 8).unwrap_err(), Error::SameSpot { first: 0, second: 2 });
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (keys, buckets, positions) in [(7, 4, 8), (1, 3, 8), (1, 4, 12), (1, 0, 8), (0, 1, 0)] {
            let error = build(&spots(1, keys), buckets, positions).unwrap_err();
            assert_eq!(error, Error::Sizes { keys, buckets, positions });
        }
    }

    #[test]
    fn a_bucket_that_cannot_be_placed_is_reported() {
        let mut directory = Directory { displacements: vec![0], slots: vec![Some(9); 2] };
        let group = [Key { bucket: 0, home: 1, index: 0 }];
        assert_eq!(directory.place(&group), Err(Error::Crowded { bucket: 0, keys: 1 }));
        assert_eq!(directory.slots, [Some(9); 2]);
    }

    proptest! {
        #[test]
        fn every_key_has_a_position_of_its_own(seed: u64, count in 0..300usize, buckets in 6..=9u32, spare in 0..=2u32) {
            let positions = ((count as u32 * 2).next_power_of_two() << spare).max(8);
            let built = (0..16).map(|more| spots(seed.wrapping_add(more), count)).find_map(|spots| {
                build(&spots, 1 << buckets, positions).ok().map(|directory| (directory, spots))
            });
            let (directory, spots) = built.unwrap();
            assert_finds(&directory, &spots);
            let strangers = super::tests::spots(!seed, 300);
            for stranger in strangers.into_iter().filter(|spot| !spots.contains(spot)) {
                let candidate = directory.candidate(stranger);
                prop_assert!(candidate.is_none_or(|index| spots[index as usize] != stranger));
            }
        }
    }
}
