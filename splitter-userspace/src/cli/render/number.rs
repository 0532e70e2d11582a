//! Numbers with their units.

use std::time::Duration;

use crate::api::model::Measured;

/// A fraction of one as a percentage with up to two decimals.
pub fn percent(fraction: f64) -> String {
    let text = format!("{:.2}", fraction * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A measured share with a ± that covers its whole interval, `-` if nothing was measured.
pub fn measured(measured: Option<&Measured>) -> String {
    measured.map_or_else(
        || "-".to_owned(),
        |m| {
            let reach = (m.high - m.share).max(m.share - m.low).max(0.0);
            format!("{} \u{b1}{}", percent(m.share), percent(reach))
        },
    )
}

/// Events per second.
pub fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}

/// A count with its thousands apart.
pub fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time in whole seconds.
pub fn time(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds() {
        for (seconds, text) in [(0.0, "0s"), (0.4, "0s"), (59.6, "1m"), (723.2, "12m 3s"), (-1.0, "0s")] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn percentages_have_no_needless_zeros() {
        for (fraction, text) in
            [(0.0, "0%"), (1.0, "100%"), (0.1, "10%"), (0.0525, "5.25%"), (0.049_987, "5%"), (1e-5, "0%")]
        {
            assert_eq!(percent(fraction), text);
        }
    }

    #[test]
    fn the_interval_is_covered_on_both_sides() {
        let m = Measured { share: 0.05, low: 0.04, high: 0.065, connections: 1000, window_seconds: 10.0 };
        assert_eq!(measured(Some(&m)), "5% \u{b1}1.5%");
        assert_eq!(measured(None), "-");
    }

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (1_048_576, "1,048,576")] {
            assert_eq!(count(number), text);
        }
    }
}
