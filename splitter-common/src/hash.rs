//! The keyed connection hash, and where an endpoint stands in the perfect-hash directory.
//!
//! The connection hash is a multilinear form over 32-bit words with secret 64-bit multipliers (Carter and
//! Wegman's strongly universal family, as in Lemire and Kaser, "Strongly universal string hashing is fast"),
//! followed by one round of xor-shift and multiplication, from MurmurHash3's finaliser. The first part makes
//! collisions unpredictable to one who does not know the key; the second spreads neighbouring ports over the slots
//! as chance would, where the form alone would lay them out like a lattice.
//! The parts of the 4-tuple that a service fixes are folded into `base` in userspace.

use crate::net::Addr;

/// log2 of the slots of a service.
pub const SLOT_BITS: u32 = 14;

/// Slots of a service: steps of 0.0061 %.
pub const SLOTS: usize = 1 << SLOT_BITS;

/// Key of a service's connection hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HashKey {
    /// Key constant plus the terms of all that the service fixes: destination address, port and protocol.
    pub base: u64,
    /// Multipliers of the source address's four words; an IPv4 address uses the last alone.
    pub source: [u64; 4],
    /// Multiplier of the source port; 0 when the source address alone decides (`affinity = "client"`).
    pub port: u64,
}

impl HashKey {
    /// The slot of an IPv4 client.
    #[inline(always)]
    pub const fn slot_v4(&self, source: [u8; 4], port: [u8; 2]) -> usize {
        slot_of(self.base.wrapping_add(self.term(3, source)).wrapping_add(self.port_term(port)))
    }

    /// The slot of an IPv6 client.
    #[inline(always)]
    pub const fn slot_v6(&self, source: &Addr, port: [u8; 2]) -> usize {
        let high = self.term(0, source.word(0)).wrapping_add(self.term(1, source.word(1)));
        let low = self.term(2, source.word(2)).wrapping_add(self.term(3, source.word(3)));
        slot_of(self.base.wrapping_add(high).wrapping_add(low).wrapping_add(self.port_term(port)))
    }

    /// The slot of any client: what the daemon asks of a flow table's key.
    pub fn slot(&self, source: Addr, port: [u8; 2]) -> usize {
        match core::net::IpAddr::from(source) {
            core::net::IpAddr::V4(v4) => self.slot_v4(v4.octets(), port),
            core::net::IpAddr::V6(_) => self.slot_v6(&source, port),
        }
    }

    #[inline(always)]
    const fn term(&self, index: usize, bytes: [u8; 4]) -> u64 {
        self.source[index].wrapping_mul(u32::from_be_bytes(bytes) as u64)
    }

    #[inline(always)]
    const fn port_term(&self, port: [u8; 2]) -> u64 {
        self.port.wrapping_mul(u16::from_be_bytes(port) as u64)
    }
}

#[inline(always)]
const fn pair(high: [u8; 4], low: [u8; 4]) -> u64 {
    (u32::from_be_bytes(high) as u64) << 32 | u32::from_be_bytes(low) as u64
}

/// One round of MurmurHash3's finaliser (Appleby, public domain), then the top bits.
#[inline(always)]
const fn slot_of(form: u64) -> usize {
    ((form ^ (form >> 32)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> (64 - SLOT_BITS)) as usize
}

/// Where a key stands in a perfect-hash directory ("hash and displace"): first a bucket, whose displacement
/// then moves the key to a position that no other key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot(u64);

impl Spot {
    /// Of an IPv4 address and 32 bits that go with it (port, protocol, family).
    #[inline(always)]
    pub const fn of_v4(seed: u64, address: [u8; 4], rest: u32) -> Self {
        // The address low: a product's high bits know all of the factors' low ones, and none the other way round.
        let word = (rest as u64) << 32 | u32::from_be_bytes(address) as u64;
        Self((word ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Of an IPv6 address and 32 bits that go with it.
    #[inline(always)]
    pub const fn of_v6(seed: u64, address: &Addr, rest: u32) -> Self {
        let high = pair(address.word(0), address.word(1)) ^ seed;
        let low = pair(address.word(2), address.word(3)) ^ (rest as u64).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let low = low.wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(high.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(low))
    }

    /// Of any address.
    pub fn of(seed: u64, address: Addr, rest: u32) -> Self {
        match core::net::IpAddr::from(address) {
            core::net::IpAddr::V4(v4) => Self::of_v4(seed, v4.octets(), rest),
            core::net::IpAddr::V6(_) => Self::of_v6(seed, &address, rest),
        }
    }

    /// From a hash, for the builder's tests.
    pub const fn from_raw(hash: u64) -> Self {
        Self(hash)
    }

    /// Bucket among `mask + 1`, a power of two.
    #[inline(always)]
    pub const fn bucket(self, mask: u32) -> u32 {
        (self.0 >> 24) as u32 & mask
    }

    /// Position among `mask + 1`, a power of two and at most 2^20, once the bucket's displacement is known.
    ///
    /// Two keys of a bucket that agree in these bits cannot be told apart: the builder then takes another seed.
    #[inline(always)]
    pub const fn position(self, displacement: u32, mask: u32) -> u32 {
        ((self.0 >> 44) as u32 ^ displacement) & mask
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    /// MurmurHash3's finaliser, whole.
    fn mix(mut value: u64) -> u64 {
        value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        value ^ (value >> 33)
    }

    fn key(seed: u64) -> HashKey {
        let word = |n: u64| mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))) | 1;
        HashKey { base: word(1), source: [word(2), word(3), word(4), word(5)], port: word(6) }
    }

    /// Chi-squared of `counts` against an even spread, per degree of freedom: about 1 for chance.
    fn spread(counts: &[u32]) -> f64 {
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum::<f64>() / (counts.len() - 1) as f64
    }

    #[test]
    fn clients_spread_over_slots_as_chance_would() {
        for seed in 0..40u64 {
            let mut ports: Vec<u32> = vec![0; 64];
            let mut addresses: Vec<u32> = vec![0; 64];
            for n in 0..60_000u32 {
                ports[key(seed).slot_v4([10, 0, 0, 1], (n as u16).to_be_bytes()) >> 8] += 1;
                addresses[key(seed).slot_v4(n.to_be_bytes(), [0, 80]) >> 8] += 1;
            }
            for counts in [ports, addresses] {
                let chi = spread(&counts);
                assert!(
                    (0.5..1.7).contains(&chi),
                    "chi-squared per degree of freedom {chi} with seed {seed}"
                );
            }
        }
    }

    #[test]
    fn client_affinity_ignores_the_port() {
        let key = HashKey { port: 0, ..key(7) };
        let v6 = Addr::from_bytes([5; 16]);
        assert_eq!(key.slot_v4([1, 2, 3, 4], [0, 1]), key.slot_v4([1, 2, 3, 4], [9, 9]));
        assert_eq!(key.slot_v6(&v6, [0, 1]), key.slot_v6(&v6, [9, 9]));
    }

    #[test]
    fn the_general_forms_agree_with_the_families() {
        let v4 = Addr::from_v4([192, 0, 2, 1]);
        assert_eq!(key(1).slot(v4, [1, 2]), key(1).slot_v4([192, 0, 2, 1], [1, 2]));
        assert_eq!(Spot::of(3, v4, 9), Spot::of_v4(3, [192, 0, 2, 1], 9));
        let v6 = Addr::from_bytes([0x20; 16]);
        assert_eq!(key(1).slot(v6, [1, 2]), key(1).slot_v6(&v6, [1, 2]));
        assert_eq!(Spot::of(3, v6, 9), Spot::of_v6(3, &v6, 9));
    }
}
