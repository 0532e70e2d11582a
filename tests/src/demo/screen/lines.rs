//! Lines for pipes and files.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Screen;
use crate::demo::{picture::Picture, stop::Stop};

/// Text with the time in front.
pub struct Text;

impl Screen for Text {
    fn line(&mut self, elapsed: Duration, line: &str) {
        println!("{:>6.1} s  {line}", elapsed.as_secs_f64());
    }

    fn draw(&mut self, _: &Picture, _: &Stop) -> Result<()> {
        Ok(())
    }
}

/// One JSON object per line.
pub struct Json;

impl Screen for Json {
    fn line(&mut self, elapsed: Duration, line: &str) {
        println!("{}", json!({ "seconds": elapsed.as_secs_f64(), "line": line.trim_start() }));
    }

    fn draw(&mut self, _: &Picture, _: &Stop) -> Result<()> {
        Ok(())
    }
}
