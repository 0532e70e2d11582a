//! The only place that writes to the standard output.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use serde::Serialize;

use super::{args::Format, failure::Stop, render::Style, terminal};

/// Columns of a table that goes to no terminal.
const PLAIN_WIDTH: u16 = 100;

/// How and where to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    terminal: bool,
    colour: bool,
}

impl Output {
    /// Looks at the standard output and at `NO_COLOR`.
    pub fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, terminal, colour: terminal && !no_colour }
    }

    /// True for `--output json`.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// True when people watch a terminal.
    pub fn is_live(&self) -> bool {
        self.terminal && !self.is_json()
    }

    /// Colours and width for tables as the terminal is now.
    pub fn style(&self) -> Style {
        let columns = self.terminal.then(terminal::size).flatten().map(|size| size.columns);
        Style { colour: self.colour, width: columns.unwrap_or(PLAIN_WIDTH) }
    }

    /// Prints `value` as JSON, or as `table` makes it of it.
    pub fn show<T: Serialize>(&self, value: &T, table: impl FnOnce(&T, Style) -> String) -> Result<(), Stop> {
        if self.is_json() { self.print(&json(value)) } else { self.print(&table(value, self.style())) }
    }

    /// Prints `text` and a newline if it has none.
    pub fn print(&self, text: &str) -> Result<(), Stop> {
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(format!("{text}{newline}").as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| Stop::output(&error))
    }

    /// Tells on the standard error why the command ends, and with which exit code.
    pub fn finish(&self, result: Result<(), Stop>) -> ExitCode {
        let failure = match result {
            Ok(()) | Err(Stop::ClosedPipe) => return ExitCode::SUCCESS,
            Err(Stop::Failure(failure)) => failure,
        };
        let text = if self.is_json() { json(&failure) } else { format!("splitter: {failure}") };
        // Nobody is left to tell if the standard error is closed too.
        let _ = writeln!(io::stderr(), "{text}");
        failure.exit_code()
    }
}

/// One line of JSON.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .unwrap_or_else(|error| format!("{{\"code\":\"failed\",\"message\":\"{error}\"}}"))
}
