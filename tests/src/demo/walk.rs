//! Playing the script: every shift through the real command line, every share counted from the clients' own answers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use splitter_userspace::{
    api::model::{Change, Status},
    config::PoolName,
};

use super::{
    options::Options,
    picture::Picture,
    report::{Percents, Report, Shift, StepReport},
    screen::Screen,
    script::{self, Step, Then},
    shares,
    stop::Stop,
};
use crate::lab::{Load, LongLived, Phase, Plan, Stage};

/// Requests under way at the same time, at most.
const WORKERS: usize = 50;
/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(200);
/// Pictures between two looks at `splitter status`.
const STATUS_EVERY: u32 = 3;
/// Time for blue to lose its last connection. The daemon counts live ones at every sweep only.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);
/// Time over which blue's long-lived connections are closed.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A release under way.
pub struct Walk<'a> {
    stage: &'a Stage,
    screen: &'a mut dyn Screen,
    stop: &'a Stop,
    targets: Vec<SocketAddr>,
    long_lived_wanted: u32,
    load: Load,
    long_lived: LongLived,
    picture: Picture,
    begun: Instant,
    frames: u32,
}

impl<'a> Walk<'a> {
    /// Starts the load.
    pub fn begin(
        stage: &'a Stage,
        screen: &'a mut dyn Screen,
        stop: &'a Stop,
        options: &Options,
    ) -> Result<Self> {
        let targets: Vec<_> = script::services().iter().map(crate::lab::ServicePlan::target).collect();
        let plan = Plan { targets: targets.clone(), workers: WORKERS, rate: Some(options.rate.into()) };
        Ok(Self {
            stage,
            screen,
            stop,
            targets,
            long_lived_wanted: options.long_lived,
            load: Load::start(&stage.client, plan)?,
            long_lived: LongLived::new(),
            picture: Picture::default(),
            begun: Instant::now(),
            frames: 0,
        })
    }

    /// Plays every step, and sums up. The load goes on until the walk is dropped.
    pub fn run(&mut self) -> Result<Report> {
        let steps = script::steps();
        self.picture.steps = steps.len();
        let reports = steps.iter().enumerate().map(|(index, step)| self.play(index + 1, step));
        let reports = reports.collect::<Result<Vec<_>>>()?;
        Ok(Report::new(reports, &self.load.total(), &self.long_lived.census()))
    }

    fn play(&mut self, number: usize, step: &Step) -> Result<StepReport> {
        self.picture.step = step.name;
        self.picture.number = number;
        self.tell(format!("step {number}/{}: {}", self.picture.steps, step.name));
        let shifts = step.commands.iter().map(|command| self.shift(command)).collect::<Result<Vec<_>>>()?;
        let phase = self.load.mark();
        self.open(step.opens)?;
        match step.then {
            Then::Watch(time) => self.watch(phase, time)?,
            Then::EmptyBlue => self.empty_blue(phase)?,
        }
        let report = StepReport::new(step, &self.load.counts(phase), &shifts);
        let verdict = if report.agrees { "agrees with" } else { "IS OFF from" };
        let (seen, wanted) = (Percents(&report.measured), Percents(&report.wanted));
        self.tell(format!("  {} new connections: {seen}; {verdict} {wanted}", report.answers));
        Ok(report)
    }

    /// One call of `splitter`. When it returns, no packet is handled under the old table any more.
    fn shift(&mut self, command: &[String]) -> Result<Shift> {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let (change, took) = self.stage.cli.json::<Change>(&words)?;
        self.tell(format!("  {}, {:.1} ms", change.line, change.took_ms));
        Ok((change, took))
    }

    fn open(&mut self, percent: u32) -> Result<()> {
        let count = self.long_lived_wanted * percent / 100;
        if count > 0 {
            self.long_lived.open(&self.stage.client, &self.targets, count as usize)?;
            self.tell(format!("  {count} long-lived connections opened"));
        }
        Ok(())
    }

    fn watch(&mut self, phase: Phase, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.frame(phase)?;
        }
        Ok(())
    }

    /// Closes blue's connections a few at a time, and waits until the daemon knows of none.
    fn empty_blue(&mut self, phase: Phase) -> Result<()> {
        let on_blue = |server: &str| server.starts_with(PoolName::Blue.as_str());
        let ticks = (DRAIN_TIME.as_millis() / FRAME.as_millis()) as u64;
        let portion = self.alive_on(on_blue).div_ceil(ticks) as usize;
        let begun = Instant::now();
        let mut told = None;
        loop {
            self.long_lived.finish(portion, on_blue);
            self.frame(phase)?;
            let left = (self.alive_on(on_blue), self.exceptions_of_blue());
            if told.is_none_or(|(open, exceptions)| open >= left.0 + 10 || exceptions != left.1) {
                self.tell(format!(
                    "  blue: {} connections open, {} exceptions kept at the last sweep",
                    left.0, left.1
                ));
                told = Some(left);
            }
            if left == (0, 0) {
                return self.wait_for_drained();
            }
            ensure!(
                begun.elapsed() < DRAIN_LIMIT,
                "blue still has {left:?} connections after {DRAIN_LIMIT:?}"
            );
        }
    }

    fn wait_for_drained(&mut self) -> Result<()> {
        for service in script::services() {
            let command = ["wait", service.name, "--for", "drained", "--timeout", "20s"];
            let reply = self.stage.cli.run(&command)?;
            ensure!(reply.code == Some(0), "`splitter {}`: {}", command.join(" "), reply.stderr.trim());
        }
        self.tell("  blue is drained: its hosts can be switched off".to_owned());
        Ok(())
    }

    fn alive_on(&self, which: impl Fn(&str) -> bool) -> u64 {
        let alive = self.long_lived.census().alive;
        alive.iter().filter(|(server, _)| which(server)).map(|(_, count)| count).sum()
    }

    /// Live connections that the daemon keeps with blue although their slots name other backends.
    fn exceptions_of_blue(&self) -> u64 {
        let pools = self.picture.services.iter().flat_map(|service| &service.pools);
        pools.filter(|pool| pool.name == PoolName::Blue).map(|pool| pool.exceptions).sum()
    }

    /// Waits for one frame's time, looks at everything, and shows it.
    fn frame(&mut self, phase: Phase) -> Result<()> {
        self.stop.sleep(FRAME)?;
        if self.frames.is_multiple_of(STATUS_EVERY) {
            self.picture.services = self.stage.cli.json::<Status>(&["status"])?.0.services;
        }
        self.frames += 1;
        let total = self.load.total();
        let (elapsed, requests) = (self.begun.elapsed(), total.requests());
        let new = (requests - self.picture.requests) as f64;
        let time = (elapsed - self.picture.elapsed).as_secs_f64();
        // Smoothed over about a second.
        self.picture.per_second += (new / time - self.picture.per_second) * 0.2;
        self.picture.elapsed = elapsed;
        self.picture.requests = requests;
        self.picture.failed = total.failed();
        self.picture.census = self.long_lived.census();
        self.picture.seen = shares::of(&shares::tally(&self.load.counts(phase)));
        self.screen.draw(&self.picture, self.stop)
    }

    fn tell(&mut self, line: String) {
        self.screen.line(self.begun.elapsed(), &line);
        self.picture.add_line(line);
    }
}
