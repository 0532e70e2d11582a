//! Frames through the host's packet path, and through the kernel's.

use std::{collections::BTreeMap, rc::Rc};

use anyhow::{Context as _, Result, ensure};

use super::{
    input::{Input, number},
    settings::Settings,
};
use crate::golden::{self, Host, Kernel, Scenario, Setting};

/// Bytes that `BPF_PROG_TEST_RUN` wants at least: an Ethernet header.
const SHORTEST: usize = 14;

/// Every scenario, and its setting, made when it is first wanted.
pub struct Hosts {
    places: BTreeMap<u16, Place>,
    settings: Settings,
}

struct Place {
    scenario: Scenario,
    made: Option<(Rc<Setting>, Host)>,
}

impl Place {
    /// As before the scenario's first packet.
    fn fresh(&mut self, settings: &mut Settings) -> Result<(&Scenario, &Setting, &Host)> {
        if self.made.is_none() {
            let setting = settings.of(&self.scenario)?;
            let host = Host::of(&self.scenario, &setting)?;
            self.made = Some((setting, host));
        }
        let (setting, host) = self.made.as_mut().context("it was made a moment ago")?;
        host.reset(&self.scenario, setting)?;
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
        let places = golden::scenarios()?.into_iter().map(place).collect();
        Ok(Self { places, settings: Settings::default() })
    }

    /// As before the first packet of the scenario whose number is next.
    fn fresh(&mut self, number: u16) -> Result<(&Scenario, &Setting, &Host)> {
        let next = self.places.range(number..).next().or_else(|| self.places.first_key_value());
        let key = *next.context("there are no golden scenarios")?.0;
        let place = self.places.get_mut(&key).context("it was there a moment ago")?;
        place.fresh(&mut self.settings)
    }

    /// Frames, one after the other; each is judged on its own.
    ///
    /// # Errors
    /// What must not be.
    pub fn run(&mut self, input: &[u8], single: bool) -> Result<()> {
        let Some(input) = Input::read(input, single) else { return Ok(()) };
        let (scenario, _, host) = self.fresh(input.scenario)?;
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
        let (scenario, setting, host) = self.hosts.fresh(input.scenario)?;
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
