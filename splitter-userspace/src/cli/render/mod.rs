//! From answers to text: pure functions, so that what people see is tested without a daemon.

mod event;
mod explain;
mod left;
mod number;
#[cfg(test)]
pub mod sample;
mod stats;
mod status;
mod table;

pub use event::event;
pub use explain::explanation;
pub use left::{change, left};
pub use number::time;
pub use stats::stats;
pub use status::status;

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours may be used.
    pub colour: bool,
    /// Columns that a table should keep to.
    pub width: u16,
}

/// Meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Strong,
    Caution,
    Alarm,
}

impl Style {
    /// A piece of a line in its tone.
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Caution => "33",
            Tone::Alarm => "31",
            Tone::Plain => return text.to_owned(),
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_only_when_colours_may_be_used() {
        let style = |colour| Style { colour, width: 100 };
        assert_eq!(style(true).paint(Tone::Alarm, "down"), "\x1b[31mdown\x1b[0m");
        assert_eq!(style(true).paint(Tone::Plain, "up"), "up");
        assert_eq!(style(false).paint(Tone::Alarm, "down"), "down");
    }
}
