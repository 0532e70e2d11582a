//! Arithmetic on address prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Prefix;

/// Length of a whole address in bits: 32 or 128.
pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The prefix that holds `address` alone.
pub(super) fn host(address: IpAddr) -> Prefix {
    Prefix { address, length: bits(address) }
}

/// `address` with all but its first `length` bits cleared.
pub(super) fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_clears_host_bits_at_every_edge() {
        let cases = [
            ("192.0.2.129", 0, "0.0.0.0"),
            ("192.0.2.129", 25, "192.0.2.128"),
            ("192.0.2.129", 32, "192.0.2.129"),
            ("2001:db8::1", 0, "::"),
            ("2001:db8:ffff::1", 33, "2001:db8:8000::"),
            ("2001:db8::1", 128, "2001:db8::1"),
        ];
        for (address, length, expected) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(network(address, length).to_string(), expected, "{address}/{length}");
        }
    }
}
