//! The little deterministic randomness that the table needs: a hash and a generator, both from SplitMix64.
//!
//! The same on every host and in every version: a changed constant here would move slots all over a fleet.
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finalizer: a bijection of 64 bits in which every input bit reaches every output bit.
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Hash of `bytes` under `key`. Not cryptographic: it spreads, it does not hide.
pub(super) fn digest(key: u64, bytes: &[u8]) -> u64 {
    let start = mix(key ^ (bytes.len() as u64).wrapping_mul(GOLDEN_GAMMA));
    bytes.chunks(8).fold(start, |state, chunk| mix(state.wrapping_add(GOLDEN_GAMMA) ^ word(chunk)))
}

/// Up to eight bytes as a little-endian number.
fn word(chunk: &[u8]) -> u64 {
    chunk.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

/// The SplitMix64 generator.
pub(super) struct Generator(u64);

impl Generator {
    /// The sequence that `seed` names.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// The next number below `bound`; its bias is below `bound / 2^64`.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        let mut generator = Generator::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected, [generator.next(), generator.next(), generator.next()]);
    }

    #[test]
    fn the_digest_depends_on_key_bytes_and_length() {
        let digests =
            [digest(0, b""), digest(0, b"\0"), digest(0, b"\0\0"), digest(1, b"\0"), digest(0, b"a")];
        for (index, one) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(one));
        }
    }

    #[test]
    fn words_are_little_endian() {
        assert_eq!(word(&[1, 2]), 0x0201);
    }
}
