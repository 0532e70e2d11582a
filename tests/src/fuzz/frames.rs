//! Frames through the host's packet path, and through the kernel's.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::input::{Input, number};
use crate::golden::{self, Host, Kernel, Scenario, Setting};

/// Bytes that `BPF_PROG_TEST_RUN` wants at least: an Ethernet header.
const SHORTEST: usize = 14;

/// Every scenario's setting, made when it is first wanted.
pub struct Hosts(BTreeMap<u16, Place>);

struct Place {
    scenario: Scenario,
    made: Option<(Setting, Host)>,
}

impl Place {
    /// As before the scenario's first packet.
    fn fresh(&mut self) -> Result<(&Scenario, &Setting, &Host)> {
        let (setting, mut host) = match self.made.take() {
            Some(made) => made,
            None => {
                let setting = Setting::of(&self.scenario)?;
                let host = Host::of(&self.scenario, &setting)?;
                (setting, host)
            }
        };
        host.reset(&self.scenario, &setting)?;
        let (setting, host) = self.made.insert((setting, host));
        Ok((&self.scenario, setting, host))
    }
}

impl Hosts {
    /// Of all golden scenarios.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new() -> Result<Self> {
        let place = |scenario: Scenario| (number(&scenario.name), Place { scenario, made: None });
        Ok(Self(golden::scenarios()?.into_iter().map(place).collect()))
    }

    /// That of the scenario whose number is next.
    fn place(&mut self, number: u16) -> Result<&mut Place> {
        let next = self.0.range(number..).next().or_else(|| self.0.first_key_value());
        let key = *next.context("there are no golden scenarios")?.0;
        self.0.get_mut(&key).context("it was there a moment ago")
    }

    /// Frames, one after the other; each is judged on its own.
    ///
    /// # Errors
    /// What must not be.
    pub fn run(&mut self, input: &[u8], single: bool) -> Result<()> {
        let Some(input) = Input::read(input, single) else { return Ok(()) };
        let (scenario, _, host) = self.place(input.scenario)?.fresh()?;
        for (number, frame) in input.frames.into_iter().enumerate() {
            host.send(&frame).with_context(|| format!("frame {number} after scenario {}", scenario.name))?;
        }
        Ok(())
    }
}

/// The same, in the kernel too.
pub struct Kernels {
    hosts: Hosts,
    kernel: Kernel,
}

impl Kernels {
    /// Loads the programs.
    ///
    /// # Errors
    /// We are not root, or the kernel refuses.
    pub fn load() -> Result<Self> {
        Ok(Self { hosts: Hosts::new()?, kernel: Kernel::load()? })
    }

    /// Frames, one after the other: the kernel comes to the same as the host.
    ///
    /// # Errors
    /// It does not.
    pub fn run(&mut self, input: &[u8]) -> Result<()> {
        let Some(mut input) = Input::read(input, false) else { return Ok(()) };
        input.frames.retain(|frame| frame.len() >= SHORTEST);
        let (scenario, setting, host) = self.hosts.place(input.scenario)?.fresh()?;
        let found = self.kernel.frames(scenario, setting, &input.frames)?;
        for (number, (frame, found)) in input.frames.into_iter().zip(found).enumerate() {
            let at = || format!("frame {number} after scenario {}", scenario.name);
            let expected = host.send(&frame).with_context(at)?;
            ensure!(
                found == expected,
                "{}: the kernel comes to {found:02x?}, the host to {expected:02x?}",
                at()
            );
        }
        Ok(())
    }
}
