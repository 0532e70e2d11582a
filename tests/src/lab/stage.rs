//! A whole laboratory with the daemon in it, ready for clients.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{
    Cli, DaemonProcess, PoolSizes, Runner, Scratch, Servers, Topology,
    config::{self, ServicePlan},
};

/// Network, servers, daemon and command line. Dropped in the order of the fields: daemon first, network last.
pub struct Stage {
    /// The command line.
    pub cli: Cli,
    /// The daemon; `None` while it is stopped.
    pub daemon: Option<DaemonProcess>,
    /// Runs clients' tasks.
    pub client: Runner,
    /// The backends' servers.
    pub servers: Servers,
    /// Config, socket, state, pins and log.
    pub scratch: Scratch,
    /// The network.
    pub topology: Topology,
}

impl Stage {
    /// Builds all of it; when this returns, every service forwards.
    pub fn build(sizes: PoolSizes, services: &[ServicePlan]) -> Result<Self> {
        Ok(Self::prepared(sizes, services, |_, _, _| Ok(()))?.0)
    }

    /// The same; `prepare` changes the network and the configuration before the daemon starts, and gives back what is to
    /// live as long.
    pub fn prepared<T>(
        sizes: PoolSizes,
        services: &[ServicePlan],
        prepare: impl FnOnce(&Topology, &Scratch, &mut String) -> Result<T>,
    ) -> Result<(Self, T)> {
        let topology = Topology::build(sizes)?;
        let servers = Servers::start(&topology)?;
        let client = Runner::start(&topology.client)?;
        let scratch = Scratch::create()?;
        topology.take_redirects(&scratch.bpf())?;
        let cli = Cli::new(&config::socket(scratch.folder()))?;
        let mut stage = Self { cli, daemon: None, client, servers, scratch, topology };
        let mut text = config::text(stage.scratch.folder(), stage.topology.hosts(), services);
        let prepared = prepare(&stage.topology, &stage.scratch, &mut text)?;
        fs::write(stage.config(), text)
            .with_context(|| format!("cannot write {}", stage.config().display()))?;
        stage.start_daemon()?;
        Ok((stage, prepared))
    }

    /// Starts the daemon, for the first time or again.
    pub fn start_daemon(&mut self) -> Result<()> {
        let socket = config::socket(self.scratch.folder());
        let log = self.scratch.path("splitterd.log");
        self.daemon = Some(DaemonProcess::start(&self.topology.lb, &self.config(), &socket, &log)?);
        Ok(())
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.scratch.path("splitter.toml")
    }
}
