//! Where the demo shows itself.

mod bars;
mod lines;
mod live;

use std::time::Duration;

use anyhow::Result;

use super::{options::Output, picture::Picture, stop::Stop};

/// One way to show what happens.
pub trait Screen {
    /// Something happened.
    fn line(&mut self, elapsed: Duration, line: &str);
    /// Time has passed. A key that means "stop" is passed on to `stop`.
    fn draw(&mut self, picture: &Picture, stop: &Stop) -> Result<()>;
}

/// The screen for an output.
pub fn choose(output: Output) -> Result<Box<dyn Screen>> {
    Ok(match output {
        Output::Live => Box::new(live::Live::start()?),
        Output::Text => Box::new(lines::Text),
        Output::Json => Box::new(lines::Json),
    })
}
