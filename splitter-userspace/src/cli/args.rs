//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    api::model::{Deadline, End},
    config::Daemon,
};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 undecided or timed out, 4 refused by policy or validation, \
5 daemon not reachable.";

/// Shift the traffic of an L4 service between blue, green and canary backends.
#[derive(Debug, Parser)]
#[command(name = "splitter", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// The daemon's unix socket.
    #[arg(long, global = true, env = "SPLITTER_SOCKET", value_name = "PATH", default_value = Daemon::SOCKET)]
    pub socket: PathBuf,
    /// How to print: for people or for programs.
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text.
    #[default]
    Table,
    /// JSON with stable field names; one object per line where there are many.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show wanted, programmed and measured share, health and slot states.
    Status {
        /// Only this service.
        service: Option<String>,
        /// Show it anew every second until Ctrl-C.
        #[arg(long, short)]
        watch: bool,
    },
    /// Set the shares of pools; the stable pool takes what is left unless it is named.
    Weights {
        /// Service name.
        service: String,
        /// Percentages with at most two decimals, e.g. `canary=5`.
        #[arg(required = true, value_name = "POOL=PERCENT", value_parser = assignment)]
        weights: Vec<(String, String)>,
        #[command(flatten)]
        why: Reason,
    },
    /// Give a pool all new connections and make it the stable one; the other one stays warm.
    Switch {
        /// Service name.
        service: String,
        /// `blue` or `green`.
        pool: String,
        #[command(flatten)]
        leaving: Leaving,
        #[command(flatten)]
        why: Reason,
    },
    /// Go back to the last state before the release.
    Rollback {
        /// Service name.
        service: String,
        #[command(flatten)]
        why: Reason,
    },
    /// Give a backend no new connections; live ones stay.
    Drain(DrainArgs),
    /// Put a backend back into service.
    Ready(BackendArgs),
    /// Take a backend out of service at once; its live connections are not kept.
    Maint(BackendArgs),
    /// Wait until a service has come to rest.
    Wait(WaitArgs),
    /// Say where a client's packets go, and why.
    Explain {
        /// Service name.
        service: String,
        /// The client's address and port, e.g. `198.51.100.7:40000`.
        #[arg(value_parser = endpoint)]
        client: SocketAddr,
    },
    /// Show every counter.
    Stats {
        /// Only this service.
        service: Option<String>,
    },
    /// Show what happened, oldest first.
    Events {
        /// Go on with what happens from now on.
        #[arg(long, short)]
        follow: bool,
    },
    /// Check a config file; needs no daemon and no root.
    Validate {
        /// The config file.
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why a change is made.
#[derive(Args, Clone, Debug, Default)]
pub struct Reason {
    /// Kept with the change.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

/// A backend of a service.
#[derive(Args, Debug)]
pub struct BackendArgs {
    /// Service name.
    pub service: String,
    /// The backend's address and port, e.g. `10.0.1.11:8443`.
    #[arg(value_parser = endpoint)]
    pub backend: SocketAddr,
    #[command(flatten)]
    pub why: Reason,
}

/// A backend to be drained.
#[derive(Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    pub backend: BackendArgs,
    #[command(flatten)]
    pub leaving: Leaving,
}

/// What becomes of live connections that are left.
#[derive(Args, Clone, Debug, Default)]
pub struct Leaving {
    /// How long live connections have, e.g. `10m`; splitterd then does what --then says.
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    pub deadline: Option<Duration>,
    /// What the deadline does to live connections [default: leave].
    #[arg(long, value_enum, value_name = "END", requires = "deadline")]
    pub then: Option<Then>,
    /// Follow until no live connection is left or the deadline has done its work.
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after this long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

impl Leaving {
    /// The deadline for the daemon.
    pub fn deadline(&self) -> Option<Deadline> {
        let then = self.then.map_or(End::Leave, Then::end);
        self.deadline
            .map(|after| Deadline { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX), then })
    }
}

/// What a deadline does to live connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// They go on; an event says how many.
    Leave,
    /// Their next packet is answered with a reset.
    Reset,
}

impl Then {
    const fn end(self) -> End {
        match self {
            Self::Leave => End::Leave,
            Self::Reset => End::Reset,
        }
    }
}

/// What to wait for.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// Service name.
    pub service: String,
    /// The state to wait for.
    #[arg(long = "for", value_enum, value_name = "STATE")]
    pub state: Goal,
    /// Give up after this long, e.g. `30s` or `1h30m`.
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// With `drained`: only this backend.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = endpoint)]
    pub backend: Option<SocketAddr>,
}

/// A state to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// No backend under drain or maint has a slot or a live exception left.
    Drained,
    /// No backend is down.
    Healthy,
    /// Every slot is CLEAN: no exception is left of any shift.
    Complete,
}

impl Goal {
    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Healthy => "healthy",
            Self::Complete => "complete",
        }
    }
}

/// Splits `POOL=PERCENT`; the names in it are judged later, as those of services are.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (pool, percent) = text.split_once('=').ok_or("write POOL=PERCENT, e.g. canary=5")?;
    match percent.trim_end_matches('%').parse::<f64>() {
        Ok(_) => Ok((pool.to_owned(), percent.to_owned())),
        Err(_) => Err(format!("`{percent}` is not a number: write POOL=PERCENT, e.g. canary=5")),
    }
}

fn deadline(text: &str) -> Result<Duration, String> {
    let after =
        humantime::parse_duration(text).map_err(|error| format!("{error}: write a duration, e.g. 10m"))?;
    Deadline::check(after)
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an address and a port, e.g. 198.51.100.7:40000 or [2001:db8::7]:40000".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn assignments_are_split_and_must_be_numbers() {
        assert_eq!(assignment("canary=5"), Ok(("canary".into(), "5".into())));
        assert_eq!(assignment("canary=5.25%"), Ok(("canary".into(), "5.25%".into())));
        assert!(assignment("canary").is_err());
        assert!(assignment("canary=many").unwrap_err().contains("`many` is not a number"));
    }

    #[test]
    fn a_deadline_is_for_the_daemon() {
        let deadline = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["splitter", "drain", "web", "10.0.1.11:8443"], words].concat());
            cli.map(|cli| match cli.command {
                Command::Drain(args) => args.leaving.deadline(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(deadline(&[]).unwrap(), None);
        let after = |after_ms, then| Some(Deadline { after_ms, then });
        assert_eq!(deadline(&["--deadline", "1500ms"]).unwrap(), after(1500, End::Leave));
        let reset = deadline(&["--deadline", "10m", "--then", "reset"]).unwrap();
        assert_eq!(reset, after(600_000, End::Reset));
        assert!(deadline(&["--then", "reset"]).is_err() && deadline(&["--timeout", "1s"]).is_err());
    }

    #[test]
    fn options_may_stand_behind_the_command() {
        let cli = Cli::parse_from(["splitter", "status", "web", "-o", "json", "--socket", "/s"]);
        assert_eq!((cli.output, cli.socket), (Format::Json, "/s".into()));
        assert!(matches!(cli.command, Command::Status { service: Some(_), watch: false }));
    }
}
