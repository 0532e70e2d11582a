//! A terminal that is redrawn in place and restored however the program ends.

use std::io::{self, Write};

/// The other screen, no cursor, no wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All of it undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Between these two a terminal that can shows nothing half-drawn.
const BEGIN_FRAME: &str = "\x1b[?2026h\x1b[H";
const END_FRAME: &str = "\x1b[J\x1b[?2026l";

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// Size of the terminal on the standard output, if it has one.
pub fn size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { columns: size.ws_col, rows: size.ws_row })
}

/// A screen of its own for as long as this lives.
pub struct Screen(());

impl Screen {
    /// Switches to it.
    pub fn enter() -> io::Result<Self> {
        put(ENTER)?;
        Ok(Self(()))
    }

    /// Shows `text` instead of what was there, cut at the last row.
    pub fn draw(&self, text: &str) -> io::Result<()> {
        put(&frame(text, size().map_or(usize::MAX, |size| usize::from(size.rows))))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = put(LEAVE);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Each line clears what is behind it, so that nothing is blank in between and nothing flickers.
fn frame(text: &str, rows: usize) -> String {
    let all = text.lines().count();
    let shown = if all > rows { rows.saturating_sub(1) } else { all };
    let mut lines: Vec<_> = text.lines().take(shown).map(str::to_owned).collect();
    if shown < all {
        lines.push(format!("... {} more lines: enlarge the terminal or name one service", all - shown));
    }
    format!("{BEGIN_FRAME}{}\x1b[K{END_FRAME}", lines.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_clears_the_rest_of_every_line_and_of_the_screen() {
        assert_eq!(frame("a\nb\n", 2), format!("{BEGIN_FRAME}a\x1b[K\r\nb\x1b[K{END_FRAME}"));
    }

    #[test]
    fn a_frame_keeps_to_the_rows_and_says_what_is_missing() {
        let drawn = frame("1\n2\n3\n4", 3);
        assert_eq!(drawn.matches("\r\n").count(), 2);
        assert!(drawn.contains("2\x1b[K\r\n... 2 more lines"));
    }
}
