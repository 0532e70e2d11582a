//! Loads the program and its maps, sized by the configuration.

use aya::{
    EbpfError, EbpfLoader, include_bytes_aligned,
    programs::{ProgramError, Xdp, XdpMode as AyaMode},
};
use splitter_common::abi::names;

use super::{Attachment, Error, ProgramFacts, attach, maps::Maps};
use crate::{
    config::{Daemon, XdpMode},
    image::directory_pages,
};

/// The program, built by `build.rs`.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/splitter"));

/// The benchmark's wrapper program. No binary that does not name it carries it.
pub static BENCH_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench"));

/// Oldest kernel supported, major and minor.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// How many of each thing the maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Services.
    pub services: u32,
    /// Backends, all services together.
    pub backends: u32,
    /// Hosts on our links.
    pub neighbours: u32,
    /// Recorded exceptions.
    pub flows: u32,
    /// Embryonic connections.
    pub embryonic: u32,
}

/// Hosts on our links that replies can be sent to without the kernel's help.
const NEIGHBOURS: u32 = 16_384;

impl From<&Daemon> for Sizes {
    fn from(daemon: &Daemon) -> Self {
        Self {
            services: daemon.max_services,
            backends: daemon.max_backends,
            neighbours: NEIGHBOURS,
            flows: daemon.flow_table,
            embryonic: daemon.embryonic_table,
        }
    }
}

/// The loaded program; dropped, it leaves every interface.
pub struct Program {
    object: aya::Ebpf,
}

/// Loads program and maps.
pub fn load(sizes: &Sizes) -> Result<(Program, Maps), Error> {
    check_kernel()?;
    // A service has an endpoint and perhaps an address of its own.
    let (endpoint_buckets, endpoints) = directory_pages((sizes.services * 2 + sizes.backends) as usize);
    let (neighbour_buckets, neighbours) = directory_pages(sizes.neighbours as usize);
    let mut loader = EbpfLoader::new();
    for (map, entries) in [
        (names::SERVICES, sizes.services * 2),
        // Backend 0 is none.
        (names::BACKENDS, (sizes.backends + 1) * 2),
        (names::ENDPOINT_BUCKETS, endpoint_buckets * 2),
        (names::ENDPOINTS, endpoints * 2),
        (names::NEIGHBOUR_BUCKETS, neighbour_buckets * 2),
        (names::NEIGHBOURS, neighbours * 2),
        (names::FLOWS, sizes.flows),
        (names::EMBRYONIC, sizes.embryonic),
        (names::BACKEND_COUNTERS, sizes.backends + 1),
        (names::REASON_COUNTERS, sizes.services),
    ] {
        loader.map_max_entries(map, entries);
    }
    let mut object = loader.load(OBJECT).map_err(|error| explain_load(&error))?;
    let program: &mut Xdp = xdp(&mut object)?;
    program.load().map_err(|error| explain_program(&error))?;
    let maps = Maps::take(&mut object)?;
    Ok((Program { object }, maps))
}

fn xdp(object: &mut aya::Ebpf) -> Result<&mut Xdp, Error> {
    let program =
        object.program_mut(names::PROGRAM).ok_or_else(|| Error::Load("the object has no program".into()))?;
    program.try_into().map_err(|error: ProgramError| Error::Load(error.to_string()))
}

impl Program {
    /// Puts the program on an interface.
    ///
    /// # Errors
    /// What [`attach::attach`] says.
    pub fn attach(
        &mut self,
        interface: &str,
        wanted: XdpMode,
        existing: Option<u32>,
    ) -> Result<Attachment, Error> {
        let program = xdp(&mut self.object)?;
        attach::attach(interface, wanted, existing, |index, mode| {
            let mode = match mode {
                attach::Mode::Native => AyaMode::Driver,
                attach::Mode::Generic => AyaMode::Skb,
            };
            program.attach_to_if_index(index, mode).map(drop)
        })
    }

    /// The XDP program.
    pub fn xdp(&self) -> Result<&Xdp, Error> {
        let program = self.object.program(names::PROGRAM);
        program
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| Error::Load("the object has no XDP program".into()))
    }

    /// What the kernel made of each loaded program, in the order of their names.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn facts(&self) -> Result<Vec<ProgramFacts>, Error> {
        let mut facts = self
            .object
            .programs()
            .filter(|(_, program)| program.fd().is_ok())
            .map(|(name, program)| ProgramFacts::of(name, program))
            .collect::<Result<Vec<_>, _>>()?;
        facts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(facts)
    }

    /// Carries the program's own log lines to this process's log, until the process ends.
    pub fn follow_log(&mut self) {
        let logger = match aya_log::EbpfLogger::init(&mut self.object) {
            Ok(logger) => logger,
            Err(error) => return log::warn!("the program's own log cannot be read: {error}"),
        };
        // SAFETY: the logger owns the map whose descriptor is waited for, and nothing closes it before the task ends.
        let logger = match unsafe { tokio::io::unix::AsyncFd::register(logger) } {
            Ok(logger) => logger,
            Err(error) => return log::warn!("the program's own log cannot be waited for: {error}"),
        };
        tokio::spawn(drain_log(logger));
    }
}

async fn drain_log(mut logger: tokio::io::unix::AsyncFd<aya_log::EbpfLogger<&'static dyn log::Log>>) {
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// Says that the kernel is too old before the verifier says it less clearly.
fn check_kernel() -> Result<(), Error> {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST_KERNEL {
        let (major, minor) = OLDEST_KERNEL;
        return Err(Error::Load(format!(
            "this host runs Linux {release}: splitter needs {major}.{minor} or newer; boot a newer kernel"
        )));
    }
    Ok(())
}

fn explain_load(error: &EbpfError) -> Error {
    let text = chain(error);
    if denied(&text) {
        return Error::Load(no_privileges());
    }
    Error::Load(format!("the kernel did not take splitter's maps: {text}"))
}

fn explain_program(error: &ProgramError) -> Error {
    let text = chain(error);
    if denied(&text) {
        return Error::Load(no_privileges());
    }
    Error::Load(format!("the kernel's verifier did not take splitter's program: {text}"))
}

fn no_privileges() -> String {
    "splitterd may not use BPF: the kernel answered \"operation not permitted\". Run it as root, or give it \
     CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
        .into()
}

fn denied(text: &str) -> bool {
    // Not EACCES ("permission denied"): that is how the verifier says no.
    text.contains("Operation not permitted")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
