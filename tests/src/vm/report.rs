//! Where the findings go.

use std::{fs::File, io::Write as _};

use anyhow::{Context as _, Result};
use rustix::termios::tcdrain;

use super::finding::{Finding, Outcome};

/// The second serial port: the first is the kernel's console.
const PORT: &str = "/dev/ttyS1";

/// Takes findings, one a line.
pub struct Report {
    port: File,
}

impl Report {
    /// To the machine's second serial port.
    ///
    /// # Errors
    /// The machine has none.
    pub fn open() -> Result<Self> {
        let port = File::options().write(true).open(PORT).with_context(|| format!("cannot open {PORT}"))?;
        Ok(Self { port })
    }

    /// Writes a finding; when this returns, it is outside of the machine. (What is in the port's buffer when the machine
    /// is switched off is lost.)
    ///
    /// # Errors
    /// The other side is gone.
    pub fn say(&mut self, finding: &Finding) -> Result<()> {
        let line = serde_json::to_string(finding)? + "\n";
        self.port.write_all(line.as_bytes()).context("cannot write a finding")?;
        tcdrain(&self.port).context("cannot write a finding")
    }
}

impl<T> From<Result<T>> for Outcome<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(found) => Self::Done(found),
            Err(error) => Self::Failed(shortened(&format!("{error:#}"))),
        }
    }
}

/// Lines that are kept at the beginning and at the end of a long text.
const KEPT: (usize, usize) = (1, 30);

/// Without its middle: a verifier's log has thousands of lines, and the last ones say what was wrong.
fn shortened(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let (first, last) = KEPT;
    let Some(left_out) = lines.len().checked_sub(first + last).filter(|count| *count > 1) else {
        return text.to_owned();
    };
    let middle = format!("[{left_out} lines left out]");
    [&lines[..first], &[&middle], &lines[first + left_out..]].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_lose_their_middle() {
        let text: Vec<_> = (1..=100).map(|number| number.to_string()).collect();
        let short = shortened(&text.join("\n"));
        let lines: Vec<_> = short.lines().collect();
        assert_eq!(lines[..3], ["1", "[69 lines left out]", "71"]);
        assert_eq!(lines.last(), Some(&"100"));
    }

    #[test]
    fn short_texts_stay() {
        assert_eq!(shortened("one\ntwo"), "one\ntwo");
    }
}
