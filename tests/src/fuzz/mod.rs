//! What is done with inputs that nobody thought of: the fuzzer makes them (`cargo xtask fuzz`), and each `cargo test`
//! replays those that are kept.
//!
//! # Layout
//! - `frames`: packets through the host's packet path and the kernel's
//! - `input`: how an input is packets
//! - `settings`: what the packets find
//! - `corpus`: inputs that are kept

mod corpus;
mod frames;
mod input;
mod settings;

use std::path::Path;

use anyhow::{Result, bail, ensure};
use splitter_userspace::config;

pub use self::{
    corpus::{kept, plant, seed},
    frames::{Hosts, Kernels},
};

/// A target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One frame.
    Packet,
    /// Frames one after the other, state kept.
    IcmpFragments,
    /// A configuration file.
    Config,
    /// Frames in the kernel and on the host.
    Kernel,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Packet, Self::IcmpFragments, Self::Config, Self::Kernel];

    /// As its folders are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::IcmpFragments => "icmp_fragments",
            Self::Config => "config",
            Self::Kernel => "kernel",
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|target| target.name() == name) {
            Some(target) => Ok(target),
            None => bail!("there is no fuzz target `{name}`: there are {:?}", Self::ALL.map(Self::name)),
        }
    }

    /// Whether it needs root.
    pub fn needs_root(self) -> bool {
        self == Self::Kernel
    }
}

/// Runs inputs of one target.
pub enum Runner {
    /// Frames on the host; a single one, if so.
    Frames(Box<Hosts>, bool),
    /// Configurations.
    Config,
    /// Frames in the kernel too.
    Kernel(Box<Kernels>),
}

impl Runner {
    /// For a target.
    ///
    /// # Errors
    /// The scenarios cannot be read, or the kernel refuses.
    pub fn of(target: Target) -> Result<Self> {
        Ok(match target {
            Target::Packet => Self::Frames(Box::new(Hosts::new()?), true),
            Target::IcmpFragments => Self::Frames(Box::new(Hosts::new()?), false),
            Target::Config => Self::Config,
            Target::Kernel => Self::Kernel(Box::new(Kernels::load()?)),
        })
    }

    /// One input.
    ///
    /// # Errors
    /// What must not be.
    pub fn run(&mut self, input: &[u8]) -> Result<()> {
        match self {
            Self::Frames(hosts, single) => hosts.run(input, *single),
            Self::Config => configuration(input),
            Self::Kernel(kernels) => kernels.run(input),
        }
    }
}

/// A text is a configuration, or its mistakes are named.
fn configuration(input: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    if let Err(errors) = config::parse(Path::new("fuzz.toml"), text) {
        ensure!(!errors.mistakes().is_empty(), "refused without a mistake");
        ensure!(errors.mistakes().iter().all(|it| !it.message.is_empty()), "a mistake without a message");
        ensure!(errors.mistakes().iter().all(|it| it.line > 0 && it.column > 0), "a mistake without a place");
        ensure!(!errors.to_string().is_empty(), "mistakes without a text");
    }
    Ok(())
}
