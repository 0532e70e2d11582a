//! What is left on backends that get no new connections, and what is to become of it.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

/// Live connections of a backend or pool that gets no new ones, as far as the data plane has seen them: one that was
/// silent since the shift is seen when it speaks, or is given up after the idle timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Connections seen since new ones go elsewhere: not closed, and not silent for longer than the idle timeout.
    pub connections: u64,
    /// For how long the oldest of them has been known, seconds: it is at least that old. 0 when there is none.
    pub oldest_s: f64,
    /// How many fewer there are every second, over the last 60 s or since they were most. Never negative: what gets
    /// nothing new grows only while it is being seen.
    pub decline_per_s: f64,
    /// True when none can be there that is not counted.
    pub complete: bool,
    /// In how many seconds that will be so, at the latest; 0 when it is.
    pub complete_in_s: f64,
}

impl Live {
    /// Nothing is left, and that is certain.
    pub const NOTHING: Self =
        Self { connections: 0, oldest_s: 0.0, decline_per_s: 0.0, complete: true, complete_in_s: 0.0 };

    /// Two backends' together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            oldest_s: self.oldest_s.max(other.oldest_s),
            decline_per_s: self.decline_per_s + other.decline_per_s,
            complete: self.complete && other.complete,
            complete_in_s: self.complete_in_s.max(other.complete_in_s),
        }
    }

    /// Nothing is left, and that is certain.
    pub const fn nothing(&self) -> bool {
        self.connections == 0 && self.complete
    }
}

/// What a deadline does to the live connections that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// They go on; an event says how many.
    #[default]
    Leave,
    /// Their next packet is answered with a reset (UDP: dropped).
    Reset,
}

impl End {
    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When the connections that a drain or a switch leaves have had their time, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Milliseconds from the change on.
    pub after_ms: u64,
    /// What happens then.
    #[serde(default)]
    pub then: End,
}

impl Deadline {
    /// What is allowed.
    pub const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

    /// From the change to the deadline.
    pub const fn after(&self) -> Duration {
        Duration::from_millis(self.after_ms)
    }

    /// `after`, if it is within the bounds.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(after: Duration) -> Result<Duration, String> {
        if Self::BOUNDS.contains(&after) {
            return Ok(after);
        }
        let text = humantime::format_duration;
        Err(format!(
            "a deadline of {} is out of bounds: give one from {} to {} (`maint` takes a backend out at once)",
            text(after),
            text(*Self::BOUNDS.start()),
            text(*Self::BOUNDS.end())
        ))
    }
}

/// A deadline under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadlineStatus {
    /// Seconds until then; 0 once it has passed.
    pub in_s: f64,
    /// What happens then.
    pub then: End,
    /// It has passed, and that was done.
    pub applied: bool,
}

/// What a drain or a switch leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// `drain` or `switch`.
    pub cause: String,
    /// The backend (`10.0.1.11:8443`), or the pools (`blue, canary`).
    pub what: String,
    /// The backends.
    pub backends: Vec<SocketAddr>,
    /// Their live connections together.
    pub live: Live,
    /// Until when they have time; `None`: as long as they need.
    pub deadline: Option<DeadlineStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_backends_have_is_added_up() {
        let a =
            Live { connections: 2, oldest_s: 5.0, decline_per_s: 1.0, complete: true, complete_in_s: 0.0 };
        let b =
            Live { connections: 3, oldest_s: 9.0, decline_per_s: 0.5, complete: false, complete_in_s: 4.0 };
        let both =
            Live { connections: 5, oldest_s: 9.0, decline_per_s: 1.5, complete: false, complete_in_s: 4.0 };
        assert_eq!((a.and(b), Live::NOTHING.and(a)), (both, a));
        assert!(Live::NOTHING.nothing() && !Live::default().nothing());
    }

    #[test]
    fn a_deadline_is_from_a_second_to_a_month() {
        assert!(Deadline::check(Duration::from_secs(600)).is_ok());
        let wrong = Deadline::check(Duration::ZERO).unwrap_err();
        assert!(
            wrong.starts_with("a deadline of 0s is out of bounds: give one from 1s to 30days"),
            "{wrong}"
        );
        assert!(Deadline::check(Duration::from_secs(31 * 86_400)).is_err());
    }
}
