//! Everything that the screen shows at one moment.

use std::{collections::VecDeque, time::Duration};

use splitter_userspace::api::model::ServiceStatus;

use super::shares::Shares;
use crate::lab::Census;

/// Lines that are kept for the screen.
const MOST_LINES: usize = 50;

/// The state of the demo.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Name of the step.
    pub step: &'static str,
    /// Its number, from 1.
    pub number: usize,
    /// How many steps there are.
    pub steps: usize,
    /// Since the demo began.
    pub elapsed: Duration,
    /// Requests of the last second.
    pub per_second: f64,
    /// Requests so far.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Long-lived connections.
    pub census: Census,
    /// Shares that the clients have seen in this step.
    pub seen: Shares,
    /// The services as `splitter status` shows them.
    pub services: Vec<ServiceStatus>,
    /// What has happened, oldest first.
    pub lines: VecDeque<String>,
}

impl Picture {
    /// Adds a line; the oldest one goes when there are too many.
    pub fn add_line(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }
}
