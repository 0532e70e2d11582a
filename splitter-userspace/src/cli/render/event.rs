//! `splitter events`: one line each.

use std::time::{Duration, UNIX_EPOCH};

use super::{Style, Tone};
use crate::api::model::Event;

/// The end of the year 9999, beyond which a date has no usual form; Unix time, milliseconds.
const END_OF_DATES: u64 = 253_402_300_800_000;

/// Time in UTC, kind, line and the operator's words.
pub fn event(event: &Event, style: Style) -> String {
    let kind = style.paint(tone(&event.kind), &format!("{:<8}", event.kind));
    let reason = if event.reason.is_empty() { String::new() } else { format!(" (reason: {})", event.reason) };
    one_line(&event.line, &reason, &time(event.time_unix_ms), &kind)
}

/// What others wrote must neither break the line nor steer the terminal.
fn one_line(line: &str, reason: &str, time: &str, kind: &str) -> String {
    let text: String =
        format!("{line}{reason}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{time}  {kind}  {text}")
}

fn tone(kind: &str) -> Tone {
    match kind {
        "change" => Tone::Strong,
        "warning" | "table" => Tone::Caution,
        _ => Tone::Plain,
    }
}

fn time(unix_ms: u64) -> String {
    if unix_ms >= END_OF_DATES {
        return format!("{unix_ms} ms");
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(reason: &str) -> Event {
        Event {
            sequence: 7,
            time_unix_ms: 1_700_000_000_123,
            kind: "change".into(),
            service: Some("web".into()),
            generation: 42,
            line: "weights web canary 1% -> 5%".into(),
            reason: reason.into(),
        }
    }

    const PLAIN: Style = Style { colour: false, width: 100 };

    #[test]
    fn is_one_line_with_its_reason() {
        let start = "2023-11-14T22:13:20.123Z  change    weights web canary 1% -> 5%";
        assert_eq!(event(&sample(""), PLAIN), start);
        assert_eq!(event(&sample("ticket 5"), PLAIN), format!("{start} (reason: ticket 5)"));
    }

    #[test]
    fn a_reason_cannot_steer_the_terminal() {
        let line = event(&sample("a\n\x1b[2Jb"), PLAIN);
        assert!(line.ends_with("(reason: a  [2Jb)"), "{line:?}");
    }

    #[test]
    fn a_time_without_a_date_is_a_number() {
        assert_eq!(time(u64::MAX), "18446744073709551615 ms");
        assert_eq!(time(END_OF_DATES - 1), "9999-12-31T23:59:59.999Z");
    }
}
