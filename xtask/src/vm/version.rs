//! Versions of kernel packages, and which of them are asked for.

use std::{fmt, str::FromStr};

/// A package's version, e.g. `6.1.192-2`; ordered by the numbers in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

impl Version {
    /// The numbers in it.
    fn numbers(&self) -> Vec<u64> {
        let parts = self.0.split(|character: char| !character.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.numbers().cmp(&other.numbers()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of a version: `5.10` is every 5.10.x, `7` every 7.x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(Vec<u64>);

impl Wanted {
    /// Whether a version begins so.
    pub fn is(&self, version: &Version) -> bool {
        version.numbers().starts_with(&self.0)
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<_>, _> = text.trim().split('.').map(str::parse).collect();
        numbers.map(Self).map_err(|_| format!("`{text}` is no version: give numbers, e.g. 6.1 or 6.12.94"))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version(text.into())
    }

    #[test]
    fn the_beginning_is_compared_number_by_number() {
        let wanted: Wanted = "6.1".parse().expect("a version");
        assert!(wanted.is(&version("6.1.192-2")));
        assert!(!wanted.is(&version("6.12.118-1")) && !wanted.is(&version("5.6.1")));
        assert!("7".parse::<Wanted>().expect("a version").is(&version("7.3.4-1~bpo13+1")));
        assert!("6.x".parse::<Wanted>().is_err());
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(version("6.12.118-1") > version("6.12.95-1~bpo12+1"));
        assert!(version("7.3.4-1") > version("7.2.13-1"));
    }
}
