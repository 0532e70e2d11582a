//! The demo: one release from blue to green on this machine, with real servers, real clients and the real programs.
//!
//! # Layout
//! - `script`: what happens, in which order, and what share every pool is to have then
//! - `walk`: does it: runs the command line, watches, counts
//! - `report`, `shares`: what was measured, and whether that keeps the promise
//! - `screen`: a live picture on a terminal, else lines of text or JSON
//! - `stop`: Ctrl-C and its kin

mod options;
mod picture;
mod report;
mod screen;
mod script;
mod shares;
mod stop;
mod walk;

use std::{
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Parser;

use crate::lab::Stage;
use options::Options;
use report::Report;
use stop::Stop;
use walk::Walk;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The whole program.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let stop = Stop::default();
    match run(&options, &stop) {
        Ok(report) if report.broken_promises().is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(_) if stop.is_wished() => {
            eprintln!("demo: stopped; everything is cleaned up");
            INTERRUPTED.into()
        }
        Err(cause) => {
            eprintln!("error: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is made here is gone when this returns, however it returns.
fn run(options: &Options, stop: &Stop) -> Result<Report> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo makes network namespaces and loads a program into the kernel: run it as root");
    }
    stop.watch_signals()?;
    eprintln!(
        "demo: making a client, a load balancer and five backend hosts, and starting servers and splitterd"
    );
    let begun = Instant::now();
    let stage = Stage::build(script::POOLS, &script::services())?;
    eprintln!("demo: ready after {:.1} s", begun.elapsed().as_secs_f64());
    let mut screen = screen::choose(options.output())?;
    let mut walk = Walk::begin(&stage, screen.as_mut(), stop, options)?;
    let report = walk.run()?;
    drop(screen);
    report.print(options.output());
    if options.keep {
        linger(&stage, stop);
    }
    Ok(report)
}

/// Leaves everything up, load included, until Enter or Ctrl-C.
fn linger(stage: &Stage, stop: &Stop) {
    eprintln!("\n{}", how_to_play(stage));
    stop.watch_enter();
    while !stop.is_wished() {
        sleep(Duration::from_millis(100));
    }
    eprintln!("demo: cleaning up");
}

fn how_to_play(stage: &Stage) -> String {
    let client = stage.topology.client.name();
    format!(
        "Everything is still up, with load on it. In another terminal:\n\n  \
         {}\n  \
         splitter status --watch\n  \
         splitter weights web canary=10 --reason playing\n  \
         splitter explain web 198.51.100.7:40000\n  \
         splitter events\n  \
         ip netns exec {client} curl -s http://192.0.2.10/\n  \
         ip netns exec {client} curl -s 'http://[2001:db8:10::10]/'\n\n\
         config: {}\n\nEnter or Ctrl-C ends it and cleans up.",
        stage.cli.shell_setup(),
        stage.config().display()
    )
}
