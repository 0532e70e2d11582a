//! `status --watch`: the status anew every second.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    failure::{Failure, FailureKind, Stop},
    output::Output,
    render,
    terminal::Screen,
};
use crate::api::client::{Client, ClientError};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Goes on until Ctrl-C. Without a terminal every look is printed below the last one.
pub async fn run(client: &Client, service: Option<&str>, output: Output) -> Result<(), Stop> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(FailureKind::Failed, format!("cannot listen for Ctrl-C: {error}")))?;
    tokio::select! {
        result = look(client, service, output) => result,
        () = signals.any() => Ok(()),
    }
}

async fn look(client: &Client, service: Option<&str>, output: Output) -> Result<(), Stop> {
    if output.is_live() {
        redraw(client, service, output).await
    } else {
        repeat(client, service, output).await
    }
}

async fn repeat(client: &Client, service: Option<&str>, output: Output) -> Result<(), Stop> {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        output.show(&client.status(service).await?, render::status)?;
    }
}

/// The first look must succeed; later a daemon that is away is shown as such, since it may only restart.
async fn redraw(client: &Client, service: Option<&str>, output: Output) -> Result<(), Stop> {
    let mut status = Ok(client.status(service).await?);
    let screen = Screen::enter().map_err(|error| Stop::output(&error))?;
    let mut ticks = ticks();
    loop {
        let text = match &status {
            Ok(status) => render::status(status, output.style()),
            Err(error) => away(error),
        };
        screen.draw(&text).map_err(|error| Stop::output(&error))?;
        ticks.tick().await;
        status = client.status(service).await;
    }
}

/// In short lines, since the screen does not wrap.
fn away(error: &ClientError) -> String {
    format!("{}\n\ntrying again every second; Ctrl-C ends", error.to_string().replace(": ", ":\n"))
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The signals that end a program, taken so that the terminal is restored first.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
