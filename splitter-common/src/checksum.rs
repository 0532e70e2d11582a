//! The Internet checksum, updated incrementally (RFC 1071, RFC 1624 equation 3).
//!
//! A header's checksum field holds `!sum`. When words `m` become `m'`, the new field is
//! `!(!field + !m + m')` in one's complement arithmetic. The part that does not depend on the packet,
//! `!m + m'` over all the words that change, is a [`Delta`]: computed once per backend in userspace, added
//! once per packet in the kernel. One's complement sums do not depend on byte order; here words are read in
//! network order throughout.

/// What a rewrite adds to a checksum's sum: the folded one's complement difference of the changed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// Nothing changes.
    pub const NONE: Self = Self(0);

    /// One hop less in an IPv4 header: the word that holds TTL (high byte) and protocol sinks by 0x0100.
    pub const TTL_LESS_ONE: Self = Self(!0x0100);

    /// From the raw difference, as it is kept in a map.
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The raw difference.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The difference that turns the words of `old` into those of `new` (even numbers of bytes).
    pub fn between(old: &[u8], new: &[u8]) -> Self {
        let sum =
            words(old).map(|word| u32::from(!word)).sum::<u32>() + words(new).map(u32::from).sum::<u32>();
        Self(fold(sum))
    }

    /// The difference between words that add up to `old` and words that add up to `new`.
    #[inline(always)]
    pub const fn of_sums(old: u32, new: u32) -> Self {
        Self(fold(!fold(old) as u32 + fold(new) as u32))
    }

    /// The difference that one word makes.
    #[inline(always)]
    pub const fn of_word(old: [u8; 2], new: [u8; 2]) -> Self {
        Self::of_sums(u16::from_be_bytes(old) as u32, u16::from_be_bytes(new) as u32)
    }

    /// Both differences, one after the other.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0 as u32 + other.0 as u32))
    }

    /// The difference of the way back.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The checksum field after the change.
    #[inline(always)]
    pub const fn apply(self, field: [u8; 2]) -> [u8; 2] {
        let sum = (!u16::from_be_bytes(field)) as u32 + self.0 as u32;
        (!fold(sum)).to_be_bytes()
    }

    /// The same for UDP (RFC 768): 0 means "no checksum" and stays, a computed 0 is sent as 0xffff.
    #[inline(always)]
    pub const fn apply_udp(self, field: [u8; 2]) -> [u8; 2] {
        if u16::from_be_bytes(field) == 0 {
            return field;
        }
        let updated = self.apply(field);
        if u16::from_be_bytes(updated) == 0 { [0xff, 0xff] } else { updated }
    }
}

/// The checksum field of data whose words add up to `sum`.
#[inline(always)]
pub const fn of_sum(sum: u32) -> [u8; 2] {
    (!fold(sum)).to_be_bytes()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// Folds the carries back in. Two rounds are enough for sums of fewer than 65,536 words.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum of `bytes` from scratch (RFC 1071).
    fn from_scratch(bytes: &[u8]) -> [u8; 2] {
        (!fold(words(bytes).map(u32::from).sum())).to_be_bytes()
    }

    proptest! {
        #[test]
        fn incremental_equals_from_scratch(old in prop::array::uniform20(any::<u8>()), new in prop::array::uniform18(any::<u8>())) {
            // A header whose words are not all zero has one representation only; RFC 1624 section 3.
            prop_assume!(old[18..].iter().any(|&byte| byte != 0));
            let mut changed = old;
            changed[..18].copy_from_slice(&new);
            let delta = Delta::between(&old[..18], &new);
            prop_assert_eq!(delta.apply(from_scratch(&old)), from_scratch(&changed));
            prop_assert_eq!(delta.reversed().apply(from_scratch(&changed)), from_scratch(&old));
        }

        #[test]
        fn ttl_delta_is_the_general_one(ttl in 1u8..=255, protocol: u8, rest in 1u16..) {
            let old = [ttl, protocol];
            let general = Delta::between(&old, &[ttl - 1, protocol]);
            prop_assert_eq!(general.apply(rest.to_be_bytes()), Delta::TTL_LESS_ONE.apply(rest.to_be_bytes()));
        }
    }

    #[test]
    fn udp_zero_stays_and_computed_zero_is_sent_as_ones() {
        let delta = Delta::between(&[0x00, 0x00], &[0x00, 0x01]);
        assert_eq!(delta.apply_udp([0, 0]), [0, 0]);
        assert_eq!(delta.apply([0, 1]), [0, 0]);
        assert_eq!(delta.apply_udp([0, 1]), [0xff, 0xff]);
    }
}
