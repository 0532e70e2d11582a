//! Turns one TOML value into one typed value, or says what is wrong with it and what to write.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{Weight, words::did_you_mean};

/// A typed value, or the cause and the cure.
pub(super) type Parsed<T> = Result<T, String>;

/// Shortest seed that is not guessed at once.
const HASH_SEED_MIN: usize = 8;
/// Long enough for a DNS label, short enough for a table's column.
const SERVICE_NAME_MAX: usize = 63;
/// Longest socket path: `sun_path` without its final zero.
const SOCKET_PATH_MAX: usize = 107;

/// A value's type with its article.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn mismatch(expected: &str, value: &DeValue<'_>) -> String {
    format!("expected {expected}, found {}", kind_of(value))
}

/// A string, which `wanted` describes.
pub(super) fn string<'v>(value: &'v DeValue<'_>, wanted: &str) -> Parsed<&'v str> {
    value.as_str().ok_or_else(|| mismatch(wanted, value))
}

/// A whole number within bounds.
pub(super) fn integer(bounds: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Parsed<u32> {
    move |value| {
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let number = value.as_integer().ok_or_else(|| mismatch(&wanted, value))?;
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        parsed.filter(|n| bounds.contains(n)).ok_or_else(|| format!("{number} is not {wanted}"))
    }
}

/// A port.
pub(super) fn port(value: &DeValue<'_>) -> Parsed<u16> {
    integer(1..=u32::from(u16::MAX))(value).map(|port| port as u16)
}

/// A percentage.
pub(super) fn weight(value: &DeValue<'_>) -> Parsed<Weight> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        other => return Err(mismatch("a percentage from 0 to 100, such as 12.5", other)),
    };
    text.parse()
}

/// One of a few words.
pub(super) fn keyword<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let word = string(value, &format!("one of the strings {}", names.join(", ")))?;
        let found = words.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| format!("no `{word}` here: {}", did_you_mean(word, &names)))
    }
}

/// A duration within bounds, such as `1h30m`.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        let text = string(value, "a duration in quotes with its unit, such as \"250ms\" or \"15m\"")?;
        let parsed = humantime::parse_duration(text).map_err(|cause| {
            format!(
                "`{text}` is not a duration ({cause}): write a number and a unit, such as 250ms, 2s or 1h30m"
            )
        })?;
        if bounds.contains(&parsed) { Ok(parsed) } else { Err(outside(text, &bounds)) }
    }
}

fn outside(text: &str, bounds: &RangeInclusive<Duration>) -> String {
    let (low, high) =
        (humantime::format_duration(*bounds.start()), humantime::format_duration(*bounds.end()));
    format!("`{text}` is out of bounds: give a duration from {low} to {high}")
}

/// An absolute path.
pub(super) fn absolute_path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    let text = string(value, "a path in quotes")?;
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("`{text}` is not an absolute path: begin it with `/`"))
    }
}

/// An absolute path that a unix socket can have.
pub(super) fn socket_path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    let path = absolute_path(value)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        return Err(format!("{length} bytes is too long for a socket's path: use at most {SOCKET_PATH_MAX}"));
    }
    Ok(path)
}

/// The key of the connection hash.
pub(super) fn hash_seed(value: &DeValue<'_>) -> Parsed<String> {
    let seed = string(value, "a string, the secret that all hosts of a fleet share")?;
    if seed.chars().count() < HASH_SEED_MIN {
        return Err(format!("is too short to be a secret: use at least {HASH_SEED_MIN} characters"));
    }
    Ok(seed.to_owned())
}

/// A service's name.
pub(super) fn service_name(value: &DeValue<'_>) -> Parsed<String> {
    let name = string(value, "a name in quotes")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > SERVICE_NAME_MAX || !name.chars().all(legal) {
        return Err(format!(
            "`{name}` is not a service name: use 1 to {SERVICE_NAME_MAX} ASCII letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Parses one TOML value and hands it to `parse`.
    pub fn read<T>(text: &str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> Parsed<T> {
        parse(DeValue::parse(text).expect("valid TOML").get_ref())
    }

    #[test]
    fn integers_keep_their_bounds_in_every_radix() {
        assert_eq!(read("0x1F", integer(1..=31)), Ok(31));
        assert_eq!(read("1_000", integer(1..=1000)), Ok(1000));
        for wrong in ["0", "32", "-1", "99999999999999999999"] {
            let message = read(wrong, integer(1..=31)).unwrap_err();
            assert_eq!(message, format!("{wrong} is not a whole number from 1 to 31"));
        }
        assert_eq!(
            read("\"5\"", integer(1..=31)).unwrap_err(),
            "expected a whole number from 1 to 31, found a string"
        );
    }

    #[test]
    fn ports_are_not_zero() {
        assert_eq!(read("65535", port), Ok(65535));
        assert!(read("0", port).is_err());
        assert!(read("65536", port).is_err());
    }

    #[test]
    fn weights_are_integers_or_have_two_decimals() {
        assert_eq!(read("100", weight), Ok(Weight::FULL));
        assert_eq!(read("0.01", weight).unwrap().basis_points(), 1);
        for wrong in ["0.001", "100.01", "-1", "nan", "inf", "0x10", "true", "\"5\""] {
            assert!(read(wrong, weight).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keywords_name_the_nearest_word() {
        let words = [("tcp", 6), ("udp", 17)];
        assert_eq!(read("\"udp\"", keyword(&words)), Ok(17));
        assert_eq!(read("\"tpc\"", keyword(&words)).unwrap_err(), "no `tpc` here: did you mean `tcp`?");
        assert_eq!(
            read("6", keyword(&words)).unwrap_err(),
            "expected one of the strings tcp, udp, found an integer"
        );
    }

    #[test]
    fn durations_have_units_and_bounds() {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(7200);
        assert_eq!(read("\"1h30m\"", duration(bounds.clone())), Ok(Duration::from_secs(5400)));
        assert_eq!(read("\"250ms\"", duration(bounds.clone())), Ok(Duration::from_millis(250)));
        let message = read("\"1ms\"", duration(bounds.clone())).unwrap_err();
        assert_eq!(message, "`1ms` is out of bounds: give a duration from 100ms to 2h");
        assert!(read("\"15\"", duration(bounds.clone())).unwrap_err().contains("write a number and a unit"));
        assert!(read("15", duration(bounds)).unwrap_err().contains("in quotes with its unit"));
    }

    #[test]
    fn paths_are_absolute_and_sockets_short() {
        assert!(read("\"run/x\"", absolute_path).unwrap_err().contains("begin it with `/`"));
        let longest = format!("\"/{}\"", "x".repeat(SOCKET_PATH_MAX - 1));
        assert!(read(&longest, socket_path).is_ok());
        let longer = format!("\"/{}\"", "x".repeat(SOCKET_PATH_MAX));
        assert!(read(&longer, socket_path).unwrap_err().contains("108 bytes"));
    }

    #[test]
    fn names_and_seeds() {
        assert_eq!(read("\"web-1.a_b\"", service_name), Ok("web-1.a_b".into()));
        for wrong in ["\"\"", "\"a b\"", "\"\u{e9}\"", "\"a/b\""] {
            assert!(read(wrong, service_name).is_err(), "{wrong}");
        }
        assert!(read("\"1234567\"", hash_seed).is_err());
        assert!(read("\"12345678\"", hash_seed).is_ok());
    }
}
