//! A range of ports.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::value::{Parsed, string};

/// The ports below are for a host's own services.
const LOWEST: u16 = 1024;
/// Fewer would be used up by a handful of connections.
const FEWEST: usize = 16;

/// Ports of this host to give to connections, such as `1024-32767`.
pub(super) fn range(value: &DeValue<'_>) -> Parsed<RangeInclusive<u16>> {
    let text = string(value, "a range of ports in quotes, such as \"1024-32767\"")?;
    let ends = text.split_once('-').and_then(|(low, high)| Some((end(low)?, end(high)?)));
    let (low, high) =
        ends.ok_or_else(|| format!("`{text}` is not a range of ports: write it like 1024-32767"))?;
    if low > high {
        return Err(format!("`{text}` runs backwards: write {high}-{low}"));
    }
    if low < LOWEST {
        return Err(format!("`{text}` has ports that a host's own services use: begin at {LOWEST} or above"));
    }
    match (low..=high).len() {
        count if count < FEWEST => Err(format!("`{text}` has {count} ports: give at least {FEWEST}")),
        _ => Ok(low..=high),
    }
}

/// Digits only: a number's parser would take a sign.
fn end(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{super::value::tests::read, *};

    #[test]
    fn ranges_have_two_ends() {
        assert_eq!(read("\"1024-32767\"", range), Ok(1024..=32_767));
        assert_eq!(read("\"65520-65535\"", range), Ok(65_520..=65_535));
        for wrong in
            ["", "1024", "1024-", "-2000", "1024-70000", "+1024-2000", "1024..2000", "a-b", "1024-2000-3000"]
        {
            let message = read(&format!("\"{wrong}\""), range).unwrap_err();
            assert!(message.ends_with("write it like 1024-32767"), "{message}");
        }
        assert!(read("1024", range).unwrap_err().starts_with("expected a range of ports in quotes"));
    }

    #[test]
    fn ranges_are_forward_high_and_long_enough() {
        assert_eq!(read("\"2000-1024\"", range).unwrap_err(), "`2000-1024` runs backwards: write 1024-2000");
        assert!(read("\"1023-2000\"", range).unwrap_err().ends_with("begin at 1024 or above"));
        assert_eq!(read("\"1024-1038\"", range).unwrap_err(), "`1024-1038` has 15 ports: give at least 16");
        assert_eq!(read("\"1024-1039\"", range), Ok(1024..=1039));
    }
}
