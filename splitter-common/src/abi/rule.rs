//! Clients that are sent to a table of their own, by their source prefix.

use crate::net::Addr;

/// What a rule is looked up by, as the longest-prefix trie compares it: scope, then address. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RuleKey {
    scope: [u8; 4],
    address: [u8; 16],
}

impl RuleKey {
    /// Bits in front of the address.
    const SCOPE_BITS: u32 = 32;

    /// A client of service number `service`, on a side.
    #[inline(always)]
    pub const fn new(side: u32, service: u32, client: &Addr) -> Self {
        let scope = super::sided(service, side).to_be_bytes();
        let ([a, b, c, d], [e, f, g, h]) = (client.word(0), client.word(1));
        let ([i, j, k, l], [m, n, o, p]) = (client.word(2), client.word(3));
        Self { scope, address: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] }
    }

    /// Length of a prefix in the trie, bits: that of an IPv4 one counts from bit 96 of the address.
    pub const fn prefix_length(ipv4: bool, length: u8) -> u32 {
        Self::SCOPE_BITS + length as u32 + if ipv4 { 96 } else { 0 }
    }

    /// Length of a key without host bits.
    pub const WHOLE: u32 = Self::SCOPE_BITS + 128;
}
