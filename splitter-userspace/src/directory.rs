//! Builder of the perfect-hash directory in which the kernel finds a key with two array look-ups.
//!
//! "Hash and displace" (Belazzougui, Botelho, Dietzfelbinger 2009): the low half of a key's hash names a
//! bucket, the bucket's displacement sends the high half to a position of its own. Building is the daemon's work; a
//! look-up is one word for the displacement, one entry for the key, and a comparison, as a key that was never
//! put in lands somewhere too.

/// An odd constant with well-spread bits: 2^32 divided by the golden ratio.
const SPREAD: u32 = 0x9E37_79B1;

/// Displacements tried for one bucket; at half load even a bucket of a dozen keys needs a few thousand.
const MAX_TRIES: u32 = 1 << 20;

/// The bucket of a hash whose low half is `low`; `mask` is the number of buckets less one.
pub const fn bucket(low: u32, mask: u32) -> u32 {
    low & mask
}

/// The position of a hash whose high half is `high`; `mask` is the number of positions less one.
///
/// The displacement must go in before the multiplication: added behind it, it would move two keys of a bucket
/// that agree modulo the positions together for ever. The shift lets 15 bits more than the mask has tell keys
/// apart.
pub const fn position(high: u32, displacement: u32, mask: u32) -> u32 {
    let spread = (high ^ displacement).wrapping_mul(SPREAD);
    (spread ^ (spread >> 15)) & mask
}

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
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        let (low, high) = halves(hash);
        let displacement = self.displacements[bucket(low, mask(&self.displacements)) as usize];
        self.slots[position(high, displacement, mask(&self.slots)) as usize]
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
    #[error("keys {first} and {second} have the same hash: hash them with another seed")]
    SameHash {
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

/// Gives every one of `hashes` a position of its own.
pub fn build(hashes: &[u64], buckets: u32, positions: u32) -> Result<Directory, Error> {
    let fits = hashes.len() as u64 * 4 <= u64::from(positions) * 3;
    if !fits || !buckets.is_power_of_two() || !positions.is_power_of_two() {
        return Err(Error::Sizes { keys: hashes.len(), buckets, positions });
    }
    let mut directory =
        Directory { displacements: vec![0; buckets as usize], slots: vec![None; positions as usize] };
    let keys = sorted(hashes, buckets - 1);
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
    high: u32,
    index: u32,
}

fn sorted(hashes: &[u64], bucket_mask: u32) -> Vec<Key> {
    let key = |(index, &hash): (usize, &u64)| {
        let (low, high) = halves(hash);
        Key { bucket: bucket(low, bucket_mask), high, index: index as u32 }
    };
    let mut keys: Vec<Key> = hashes.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys
}

impl Directory {
    /// Finds the displacement of one bucket and settles its keys.
    fn place(&mut self, group: &[Key]) -> Result<(), Error> {
        if let Some(pair) = group.windows(2).find(|pair| pair[0].high == pair[1].high) {
            return Err(Error::SameHash { first: pair[0].index, second: pair[1].index });
        }
        let bucket = group[0].bucket;
        let displacement = (0..MAX_TRIES)
            .map(|attempt| attempt.wrapping_mul(SPREAD))
            .find(|&displacement| self.settle(group, displacement))
            .ok_or(Error::Crowded { bucket, keys: group.len() })?;
        self.displacements[bucket as usize] = displacement;
        Ok(())
    }

    /// Puts every key of the bucket at its position; if one is taken, takes back those before it.
    fn settle(&mut self, group: &[Key], displacement: u32) -> bool {
        let mask = mask(&self.slots);
        let at = |key: &Key| position(key.high, displacement, mask) as usize;
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

/// Low and high half.
const fn halves(hash: u64) -> (u32, u32) {
    (hash as u32, (hash >> 32) as u32)
}

/// Length, a power of two, less one.
const fn mask<T>(entries: &[T]) -> u32 {
    entries.len() as u32 - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// `count` different hashes, spread like real ones.
    fn hashes(seed: u64, count: usize) -> Vec<u64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        (0..count).map(|_| next()).collect()
    }

    fn assert_finds(directory: &Directory, hashes: &[u64]) {
        for (index, &hash) in hashes.iter().enumerate() {
            assert_eq!(directory.candidate(hash), Some(index as u32));
        }
        assert_eq!(directory.slots.iter().flatten().count(), hashes.len());
    }

    #[test]
    fn a_full_size_directory_finds_every_key() {
        let hashes = hashes(1, 70_000);
        assert_finds(&build(&hashes, 32_768, 131_072).unwrap(), &hashes);
    }

    #[test]
    fn an_empty_directory_holds_nothing() {
        let directory = build(&[], 4, 8).unwrap();
        assert_eq!(directory, Directory { displacements: vec![0; 4], slots: vec![None; 8] });
        assert_eq!(directory.candidate(42), None);
    }

    #[test]
    fn keys_that_agree_modulo_the_positions_are_separated() {
        let hashes = [7 << 32, (7 + (1 << 13)) << 32, (7 + (1 << 17)) << 32];
        assert_finds(&build(&hashes, 1, 8).unwrap(), &hashes);
    }

    #[test]
    fn equal_hashes_are_refused() {
        let error = build(&[5 << 32, 9, 5 << 32], 1, 8).unwrap_err();
        assert_eq!(error, Error::SameHash { first: 0, second: 2 });
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (keys, buckets, positions) in [(7, 4, 8), (1, 3, 8), (1, 4, 12), (1, 0, 8), (0, 1, 0)] {
            let error = build(&hashes(1, keys), buckets, positions).unwrap_err();
            assert_eq!(error, Error::Sizes { keys, buckets, positions });
        }
    }

    #[test]
    fn a_bucket_that_cannot_be_placed_is_reported() {
        let mut directory = Directory { displacements: vec![0], slots: vec![Some(9); 2] };
        let group = [Key { bucket: 0, high: 1, index: 0 }];
        assert_eq!(directory.place(&group), Err(Error::Crowded { bucket: 0, keys: 1 }));
        assert_eq!(directory.slots, [Some(9); 2]);
    }

    proptest! {
        #[test]
        fn every_key_has_a_position_of_its_own(
            hashes in prop::collection::btree_set(any::<u64>(), 0..300), buckets in 6..=9u32, spare in 0..=2u32,
        ) {
            let hashes: Vec<u64> = hashes.into_iter().collect();
            let positions = (hashes.len() as u32 * 2).next_power_of_two() << spare;
            let directory = build(&hashes, 1 << buckets, positions).unwrap();
            assert_finds(&directory, &hashes);
            let known: BTreeSet<u64> = hashes.iter().copied().collect();
            for stranger in (0..300).filter(|hash| !known.contains(hash)) {
                let candidate = directory.candidate(stranger);
                prop_assert!(candidate.is_none_or(|index| hashes[index as usize] != stranger));
            }
        }
    }
}
