//! Addresses, ports and protocols as byte arrays in network order.
//!
//! `core::net` types appear only at the edges (configuration, display): a map field in host order is a bug that
//! no compiler finds.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network_types::ip::IpProto;

/// A port in network order.
pub type Port = [u8; 2];

/// An Ethernet address.
pub type Mac = [u8; 6];

/// An IPv4 or IPv6 address: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
///
/// Kept as four words of four bytes each, as they lie in memory: the BPF target handles words, and byte arrays
/// would be taken apart byte by byte. Aligned as words of eight bytes, which the compiler makes of them: on the stack the
/// verifier wants each aligned ("misaligned stack access").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C, align(8))]
pub struct Addr([u32; 4]);

const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// `::`.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// From 16 bytes in network order.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        Self([0, 1, 2, 3].map(|at: usize| u32::from_ne_bytes(words[at])))
    }

    /// From four words of four bytes in network order.
    #[inline(always)]
    pub const fn from_words([a, b, c, d]: [[u8; 4]; 4]) -> Self {
        Self([u32::from_ne_bytes(a), u32::from_ne_bytes(b), u32::from_ne_bytes(c), u32::from_ne_bytes(d)])
    }

    /// From the 4 bytes of an IPv4 address.
    #[inline(always)]
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self([0, 0, MAPPED, u32::from_ne_bytes(bytes)])
    }

    /// All 16 bytes.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(self.0)
            .for_each(|(chunk, word)| *chunk = word.to_ne_bytes());
        bytes
    }

    /// Four bytes of it: `index` 0 to 3.
    #[inline(always)]
    pub const fn word(&self, index: usize) -> [u8; 4] {
        self.0[index].to_ne_bytes()
    }

    /// The last 4 bytes: the whole of an IPv4 address.
    #[inline(always)]
    pub const fn v4(&self) -> [u8; 4] {
        self.word(3)
    }

    /// True when the bits that `mask` has set are those of `network`.
    #[inline(always)]
    pub const fn within(&self, network: &Self, mask: &Self) -> bool {
        let ([a, b, c, d], [n, o, p, q], [k, l, m, r]) = (self.0, network.0, mask.0);
        (a & k) == n && (b & l) == o && (c & m) == p && (d & r) == q
    }

    /// Equality word by word; `==` on arrays becomes a call of `memcmp` on the BPF target.
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        d == h && c == g && b == f && a == e
    }

    /// Whether the first 80 bits are zero: `::`, `::1` and the forms that hold an IPv4 address.
    #[inline(always)]
    pub const fn small(&self) -> bool {
        let [a, b, c, _] = self.0;
        a == 0 && b == 0 && (c == 0 || c == MAPPED)
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.0;
        a == 0 && b == 0 && c == MAPPED
    }

    /// The sum of its eight 16-bit words, for a pseudo-header's checksum.
    #[inline(always)]
    pub const fn sum(&self) -> u32 {
        let [a, b, c, d] = self.0;
        halves(a) + halves(b) + halves(c) + halves(d)
    }
}

/// The sum of a word's two halves, in network order.
#[inline(always)]
const fn halves(word: u32) -> u32 {
    let word = u32::from_be(word);
    (word >> 16) + (word & 0xffff)
}

impl From<IpAddr> for Addr {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_bytes(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(address: Addr) -> Self {
        let v6 = Ipv6Addr::from(address.bytes());
        v6.to_ipv4_mapped().map_or(Self::V6(v6), |v4: Ipv4Addr| Self::V4(v4))
    }
}

/// A transport protocol that services are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp = IpProto::Tcp as u8,
    /// UDP (RFC 768).
    Udp = IpProto::Udp as u8,
}

impl Transport {
    /// From the protocol number of an IP header.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        if number == Self::Tcp as u8 {
            Some(Self::Tcp)
        } else if number == Self::Udp as u8 {
            Some(Self::Udp)
        } else {
            None
        }
    }
}

/// The flags byte of a TCP header (RFC 9293, 3.1); 0 for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// No flag set, as for UDP.
    pub const NONE: Self = Self(0);

    /// From the header's byte 13.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// SYN without ACK: the client opens a connection.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// ACK, whatever else.
    #[inline(always)]
    pub const fn acknowledges(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// SYN, whatever else.
    #[inline(always)]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// FIN.
    #[inline(always)]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// RST.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.10", "2001:db8::1", "::", "255.255.255.255"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(address)), address);
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(TcpFlags::from_byte(0x02).opens());
        assert!(TcpFlags::from_byte(0xc2).opens(), "ECN set-up SYN, RFC 3168");
        assert!(!TcpFlags::from_byte(0x12).opens());
        assert!(!TcpFlags::NONE.opens());
    }
}
