//! The demo's command line.

use std::io::IsTerminal;

use clap::{Parser, ValueEnum};

/// Walk through a release on this machine: 100 % blue, a canary at 1, 5 and 25 %, a rollback, a switch to green and a drain
/// of blue, under load. Ends by itself in under two minutes; exits with 1 if a request failed, a connection was cut or a
/// share was off.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo", version)]
pub struct Options {
    /// How to show it [default: live on a terminal, else text].
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    /// Leave everything up afterwards, and say how to play with it.
    #[arg(long)]
    pub keep: bool,
    /// New connections per second, IPv4 and IPv6 together.
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..=5000))]
    pub rate: u32,
    /// Connections that stay open during the whole release.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=2000))]
    pub long_lived: u32,
}

/// How to show what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A picture that moves.
    Live,
    /// Lines of text.
    Text,
    /// Lines of JSON; the last one is the report.
    Json,
}

impl Options {
    /// What was asked for, or what suits the place where it goes.
    pub fn output(&self) -> Output {
        let fitting = || if std::io::stdout().is_terminal() { Output::Live } else { Output::Text };
        self.output.unwrap_or_else(fitting)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Options;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
