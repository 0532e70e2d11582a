//! Values that name places in the network: addresses, prefixes and interfaces.

use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeValue;

use super::{
    Prefix,
    value::{Parsed, string},
};

/// Longest interface name: the kernel's IFNAMSIZ without its final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// A unicast address that packets can be sent to.
pub(super) fn address(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let text = string(value, "an IPv4 or IPv6 address in quotes")?;
    let address: IpAddr = text.parse().map_err(|_| not_an_address(text))?;
    match unusable(address) {
        Some(why) => Err(format!("{text} is {why}: give a unicast address of a host")),
        None => Ok(address),
    }
}

fn not_an_address(text: &str) -> String {
    let cure = if text.parse::<std::net::SocketAddr>().is_ok() {
        "write the port on its own, as `port = ...`"
    } else if text.contains('/') {
        "give one address, not a prefix"
    } else {
        "write it like 192.0.2.10 or 2001:db8::10; names are not resolved"
    };
    format!("`{text}` is not an IP address: {cure}")
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (address == Ipv4Addr::BROADCAST, "the broadcast address"),
        (mapped, "an IPv4 address in IPv6 form, which no packet carries"),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

/// The family's name.
pub(super) const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// A prefix without host bits.
pub(super) fn prefix(value: &DeValue<'_>) -> Parsed<Prefix> {
    string(value, "a prefix in quotes, such as \"10.9.0.0/16\"")?.parse()
}

/// An interface name that the kernel would take.
pub(super) fn interface(value: &DeValue<'_>) -> Parsed<String> {
    let name = string(value, "an interface name in quotes")?;
    let legal = !name.is_empty()
        && name.len() <= INTERFACE_NAME_MAX
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if legal {
        return Ok(name.to_owned());
    }
    Err(format!("`{name}` is not an interface name: 1 to {INTERFACE_NAME_MAX} bytes without blanks and `/`"))
}

#[cfg(test)]
mod tests {
    use super::{super::value::tests::read, *};

    #[test]
    fn unicast_addresses_of_both_families() {
        assert_eq!(read("\"192.0.2.1\"", address), Ok(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert!(read("\"2001:db8::1\"", address).is_ok());
    }

    #[test]
    fn addresses_nobody_can_send_to_are_refused() {
        for (text, why) in [
            ("0.0.0.0", "the unspecified address"),
            ("::", "the unspecified address"),
            ("127.0.0.2", "a loopback address"),
            ("::1", "a loopback address"),
            ("224.0.0.1", "a multicast address"),
            ("ff02::1", "a multicast address"),
            ("255.255.255.255", "the broadcast address"),
            ("::ffff:192.0.2.1", "an IPv4 address in IPv6 form"),
        ] {
            let message = read(&format!("\"{text}\""), address).unwrap_err();
            assert!(message.starts_with(&format!("{text} is {why}")), "{message}");
        }
    }

    #[test]
    fn the_cure_fits_what_was_written() {
        for (text, cure) in [
            ("192.0.2.1:80", "`port = ...`"),
            ("192.0.2.0/24", "not a prefix"),
            ("example.com", "names are not resolved"),
        ] {
            let message = read(&format!("\"{text}\""), address).unwrap_err();
            assert!(message.contains(cure), "{message}");
        }
    }

    #[test]
    fn prefixes_name_the_network_they_should_be() {
        assert_eq!(read("\"10.9.0.0/16\"", prefix).unwrap().to_string(), "10.9.0.0/16");
        let message = read("\"10.9.1.2/16\"", prefix).unwrap_err();
        assert!(message.contains("write 10.9.0.0/16"), "{message}");
    }

    #[test]
    fn interface_names_follow_the_kernels_rules() {
        assert_eq!(read("\"eth0.100\"", interface), Ok("eth0.100".into()));
        for wrong in ["", "sixteen-bytes-xx", "a b", "a/b"] {
            assert!(read(&format!("\"{wrong}\""), interface).is_err(), "{wrong}");
        }
    }
}
