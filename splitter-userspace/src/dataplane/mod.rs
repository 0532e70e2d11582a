//! The kernel half, as the daemon holds it: the only place that touches aya.
//!
//! - `object`: loads the program and its maps, sized by the configuration
//! - `attach`: puts the program on interfaces
//! - `aging`: lets time go by, for tests
//! - `facts`: what the kernel says about the loaded programs
//! - `maps`: typed handles
//! - `translations`: ports and connections of mode `snat`
//! - `batch`: reads whole hash tables with few system calls
//! - [`DataPlane`]: writes aside, flips, waits out the grace period, reads back

mod aging;
mod attach;
mod batch;
mod facts;
mod maps;
mod object;
mod translations;

use std::{collections::BTreeMap, sync::Arc};

use splitter_common::{
    abi::{self, BackendCounters, Control, Flow, FlowKey, ReasonCounters, ServiceTable, TableCounters, Word},
    slot::BackendId,
    tables::Exceptions,
};

pub use self::{
    attach::{Attachment, Mode},
    facts::ProgramFacts,
    object::{
        BENCH_OBJECT, LOCAL_ADDRESSES, Sizes, UNPACK_OBJECT, Variant, Verified, verify, verify_variant,
    },
};
use crate::{
    grace::GracePeriod,
    image::{self, Image, Operation, Rules},
};

/// What can go wrong between the daemon and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program or its maps could not be loaded.
    #[error("{0}")]
    Load(String),
    /// A service is of mode `snat`, and the kernel takes the plain programs alone, which do without.
    #[error(
        "this kernel has no xdp.frags: mode snat needs Linux 5.18 or newer; boot one, or take another mode"
    )]
    NoSnat,
    /// An interface could not be given the program.
    #[error("{0}")]
    Attach(String),
    /// There is an XDP program on it.
    #[error("{0}")]
    Occupied(String),
    /// A map refused a read or a write.
    #[error("map {map}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        source: aya::maps::MapError,
    },
    /// A table could not be read.
    #[error("reading map {map}: {source}")]
    Batch {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// How long is waited where the end of the grace period cannot be proven.
const UNPROVEN_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// The loaded program and its maps.
pub struct DataPlane {
    program: object::Program,
    maps: maps::Maps,
    grace: GracePeriod,
    control: Control,
    /// What each side holds.
    written: [Image; 2],
}

/// An entry of a table of exceptions.
pub type Recorded = (FlowKey, Flow);

impl DataPlane {
    /// Loads the program; nothing is attached yet, and no service is known to it.
    ///
    /// # Errors
    /// No privileges, a kernel that is too old, no memory: what and what to do.
    pub fn load(sizes: &Sizes) -> Result<Self, Error> {
        Self::of(object::load(sizes, false)?)
    }

    /// The same in the form for kernels without `xdp.frags`; for tests.
    ///
    /// # Errors
    /// As [`DataPlane::load`].
    pub fn load_plain(sizes: &Sizes) -> Result<Self, Error> {
        Self::of(object::load(sizes, true)?)
    }

    fn of((program, maps): (object::Program, maps::Maps)) -> Result<Self, Error> {
        let grace = GracePeriod::choose();
        grace.wait().map_err(|error| Error::Load(error.to_string()))?;
        let written = [Image::empty(), Image::empty()];
        Ok(Self { program, maps, grace, control: Control::default(), written })
    }

    /// Puts the program on an interface. `existing`: id of the XDP program that is on it, for the message.
    ///
    /// # Errors
    /// No such interface, another program is on it, the driver refuses.
    pub fn attach(
        &mut self,
        interface: &str,
        wanted: crate::config::XdpMode,
        existing: Option<u32>,
    ) -> Result<Attachment, Error> {
        let attachment = self.program.attach(interface, wanted, existing)?;
        self.maps.allow_device(attachment.index)?;
        Ok(attachment)
    }

    /// The live generation's number.
    pub const fn generation(&self) -> u64 {
        self.control.word.generation()
    }

    /// Makes `image` live as generation `generation`: writes it to the idle side, flips, and waits until no
    /// packet can still be using the old one.
    ///
    /// # Errors
    /// A write was refused: the live side is untouched, and the idle one is written anew the next time.
    pub fn commit(&mut self, image: Image, generation: u64) -> Result<(), Error> {
        let side = self.control.word.side() ^ 1;
        let idle = &mut self.written[side as usize];
        let operations = image::diff(idle, &image);
        // Should a write fail, this side's content is not known any more (but for the rules, which are not written over:
        // those of both are known to be there, perhaps).
        *idle = Image { rules: either(&idle.rules, &image.rules), ..Image::empty() };
        for operation in &operations {
            self.maps.write(side, operation)?;
        }
        self.written[side as usize] = image;
        // The idle side's half first: no packet reads it until the word says so.
        self.control.sides[side as usize] = self.written[side as usize].side();
        self.maps.set_control(&self.control)?;
        let flipped = Control { word: Word::new(generation, side), ..self.control };
        self.maps.set_control(&flipped)?;
        self.control = flipped;
        self.wait();
        Ok(())
    }

    /// Waits until no packet can be using what was live, or was there, before.
    pub fn wait(&self) {
        if let Err(error) = self.grace.wait() {
            // It worked when the daemon started. A packet takes microseconds; this is not proof, but it is long.
            log::error!("{error}; waiting {UNPROVEN_WAIT:?} instead");
            std::thread::sleep(UNPROVEN_WAIT);
        }
    }

    /// The live slot table of a service, read from the kernel.
    ///
    /// # Errors
    /// The read was refused.
    pub fn read_back(&self, service: u32) -> Result<Arc<ServiceTable>, Error> {
        self.maps.service(self.control.word.side(), service).map(Arc::new)
    }

    /// Counters of backends, summed over CPUs.
    ///
    /// # Errors
    /// A read was refused.
    pub fn backend_counters(
        &self,
        backends: impl Iterator<Item = BackendId>,
    ) -> Result<BTreeMap<BackendId, BackendCounters>, Error> {
        backends.map(|id| Ok((id, self.maps.backend_counters(id)?))).collect()
    }

    /// A service's packets by reason, summed over CPUs.
    ///
    /// # Errors
    /// The read was refused.
    pub fn reason_counters(&self, service: u32) -> Result<ReasonCounters, Error> {
        self.maps.reason_counters(service)
    }

    /// What happened to the tables of exceptions, summed over CPUs.
    ///
    /// # Errors
    /// The read was refused.
    pub fn table_counters(&self) -> Result<TableCounters, Error> {
        self.maps.table_counters()
    }

    /// All entries of a table of exceptions.
    ///
    /// # Errors
    /// The read was refused.
    pub fn recorded(&self, table: Exceptions) -> Result<Vec<Recorded>, Error> {
        self.maps.recorded(table)
    }

    /// One connection's entry.
    ///
    /// # Errors
    /// The read was refused.
    pub fn lookup(&self, table: Exceptions, key: &FlowKey) -> Result<Option<Flow>, Error> {
        self.maps.lookup(table, key)
    }

    /// Removes an entry; false when it was gone already.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove(&mut self, table: Exceptions, key: &FlowKey) -> Result<bool, Error> {
        self.maps.remove(table, key)
    }

    /// Carries the program's own log lines to this process's log.
    pub fn follow_log(&mut self) {
        self.program.follow_log();
    }

    /// Which form of the programs this kernel takes.
    pub const fn variant(&self) -> Variant {
        self.program.variant()
    }

    /// The XDP program, for tests that run it without a device.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn program(&self) -> Result<&aya::programs::Xdp, Error> {
        self.program.xdp()
    }

    /// What the kernel made of each program that is loaded.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn programs(&self) -> Result<Vec<ProgramFacts>, Error> {
        self.program.facts()
    }

    /// Writes an entry, as the kernel half would; for tests.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn insert(&mut self, table: Exceptions, key: &FlowKey, flow: &Flow) -> Result<(), Error> {
        self.maps.insert(table, key, flow)
    }
}

/// Rules of either.
fn either(one: &Arc<Rules>, other: &Arc<Rules>) -> Arc<Rules> {
    if Arc::ptr_eq(one, other) {
        return Arc::clone(one);
    }
    // No table has this number: whatever stands there is written again.
    Arc::new(one.keys().chain(other.keys()).map(|key| (*key, u32::MAX)).collect())
}

impl maps::Maps {
    /// One write on the given side.
    fn write(&mut self, side: u32, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Service(number, table) => self.set_service(abi::sided(*number, side), table),
            Operation::Backend(id, backend) => self.set_backend(abi::sided((*id).into(), side), backend),
            Operation::EndpointBuckets(page, content) => {
                self.set_endpoint_buckets(abi::sided(*page, side), content)
            }
            Operation::Endpoints(page, content) => self.set_endpoints(abi::sided(*page, side), content),
            Operation::NeighbourBuckets(page, content) => {
                self.set_neighbour_buckets(abi::sided(*page, side), content)
            }
            Operation::Neighbours(page, content) => self.set_neighbours(abi::sided(*page, side), content),
            Operation::Routes(family, table) => self.set_routes(abi::sided(*family, side), table),
            Operation::Rule(service, prefix, table) => self.set_rule(side, *service, *prefix, *table),
        }
    }
}
