//! Mode `snat`: the ports' queues, and the connections at the ports.

use std::{collections::BTreeSet, time::Duration};

use aya::programs::{TestRun as _, TestRunOptions};
use splitter_common::{
    abi::{FlowKey, Fragment, FragmentKey, Ports, Translation},
    release,
};

use super::{DataPlane, Error};

impl DataPlane {
    /// Puts the ports into the CPUs' queues, in turn. Once, before a packet comes.
    ///
    /// # Errors
    /// A write was refused.
    pub fn share_ports(&mut self, ports: &[u16]) -> Result<(), Error> {
        let cpus = cpus();
        let mut queues = vec![Vec::new(); cpus as usize];
        for (port, cpu) in ports.iter().zip((0..cpus).cycle()) {
            self.maps.set_translation(*port, &Translation::free(cpu as u16))?;
            queues[cpu as usize].push(*port);
        }
        (0..).zip(&queues).try_for_each(|(cpu, ports)| self.maps.set_free_ports(cpu, &queue(ports)))
    }

    /// Every port that has had a connection, and the connection.
    ///
    /// # Errors
    /// The read was refused.
    pub fn translations(&self) -> Result<Vec<(u16, Translation)>, Error> {
        let all = self.maps.translations()?.into_iter();
        let used = all.filter(|(_, translation)| translation.state & Translation::USED != 0);
        Ok(used.map(|(port, translation)| (port as u16, translation)).collect())
    }

    /// Closes a connection that has been silent for longer than `idle_timeout`; false when it was not. The kernel half
    /// does it, so that no packet can come in between.
    ///
    /// # Errors
    /// The kernel refused to run it.
    pub fn release(&mut self, port: u16, idle_timeout: Duration) -> Result<bool, Error> {
        let idle_ns = u64::try_from(idle_timeout.as_nanos()).unwrap_or(u64::MAX);
        let order = release::order(port, idle_ns);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&order);
        let outcome = self.program.release()?.test_run(options);
        let outcome = outcome.map_err(|error| Error::Load(format!("a port cannot be released: {error}")))?;
        Ok(outcome.return_value == release::RELEASED)
    }

    /// Free ports, all CPUs together.
    ///
    /// # Errors
    /// A read was refused.
    pub fn free_ports(&self) -> Result<u64, Error> {
        let count = |cpu| self.maps.free_ports(cpu).map(|queue| queue.tail.wrapping_sub(queue.head));
        (0..cpus()).map(count).sum()
    }

    /// Offers the same ports on every CPU, and forgets all connections, which are at those of `taken`; for tests, whose
    /// packets come one at a time.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn offer_ports(&mut self, ports: &[u16], taken: &BTreeSet<u16>) -> Result<(), Error> {
        for port in taken {
            self.maps.set_translation(*port, &Translation::free(0))?;
        }
        self.maps.forget_ports()?;
        (0..cpus()).try_for_each(|cpu| self.maps.set_free_ports(cpu, &queue(ports)))
    }

    /// Writes a connection, as the kernel half would; for tests.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn insert_translation(&mut self, port: u16, translation: &Translation) -> Result<(), Error> {
        self.maps.set_translation(port, translation)?;
        self.maps.set_port_of(&translation.key, port)
    }

    /// Port and entry of a connection.
    ///
    /// # Errors
    /// The read was refused.
    pub fn translation_of(&self, key: &FlowKey) -> Result<Option<(u16, Translation)>, Error> {
        let Some(port) = self.maps.port_of(key)? else { return Ok(None) };
        let translation = self.maps.translation(port)?;
        Ok((translation.key == *key).then_some((port, translation)))
    }

    /// What first fragments decided.
    ///
    /// # Errors
    /// The read was refused.
    pub fn fragments(&self) -> Result<Vec<(FragmentKey, Fragment)>, Error> {
        self.maps.fragments()
    }

    /// Forgets it; for tests.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn forget_fragments(&mut self) -> Result<(), Error> {
        self.maps.forget_fragments()
    }
}

/// CPUs that the kernel could have.
fn cpus() -> u32 {
    aya::util::nr_cpus().unwrap_or(1) as u32
}

fn queue(ports: &[u16]) -> Ports {
    let mut queue = Ports { head: 0, tail: ports.len() as u64, ports: [0; 65_536] };
    queue.ports[..ports.len()].copy_from_slice(ports);
    queue
}
