//! Loads the program and its maps, sized by the configuration.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    EbpfError, EbpfLoader, include_bytes_aligned,
    maps::ProgramArray,
    programs::{ProgramError, Xdp, XdpMode as AyaMode},
};
use splitter_common::abi::names;

use super::{Attachment, Error, ProgramFacts, attach, maps::Maps};
use crate::{
    config::{Config, ForwardMode, XdpMode},
    image::directory_pages,
};

/// The program, built by `build.rs`.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/splitter"));

/// The benchmark's wrapper program. No binary that does not name it carries it.
pub static BENCH_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench"));

/// The tests' stand-in for a backend's tunnel devices; the same holds for it.
pub static UNPACK_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/unpack"));

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
    /// Connections of preview listeners.
    pub previews: u32,
    /// Packets in fragments.
    pub fragments: u32,
    /// Rules that send clients to a table of their own.
    pub rules: u32,
    /// Ports, from 0 on, that sources can be translated to; 0: no service translates.
    pub ports: u32,
}

impl Sizes {
    /// For tests: little of everything.
    pub const SMALL: Self = Self {
        services: 64,
        backends: 128,
        neighbours: 64,
        flows: 1024,
        embryonic: 1024,
        previews: 1024,
        fragments: 1024,
        rules: 64,
        ports: 4096,
    };

    /// With mode `snat`.
    const fn snat(&self) -> bool {
        self.ports > 0
    }
}

/// Addresses of this host that packets are told apart from; those beyond are taken for anybody's.
pub const LOCAL_ADDRESSES: usize = 256;

/// Ports there are.
const PORTS: u32 = 65_536;

/// Hosts on our links that replies can be sent to without the kernel's help.
const NEIGHBOURS: u32 = 16_384;

impl From<&Config> for Sizes {
    fn from(config: &Config) -> Self {
        let daemon = &config.daemon;
        Self {
            services: daemon.max_services,
            backends: daemon.max_backends,
            neighbours: NEIGHBOURS,
            flows: daemon.flow_table,
            embryonic: daemon.embryonic_table,
            previews: daemon.preview_table,
            fragments: daemon.fragment_table,
            rules: config.services.iter().map(|service| service.routes.len() as u32).sum(),
            ports: if config.services.iter().any(|it| it.mode == ForwardMode::Snat) { PORTS } else { 0 },
        }
    }
}

/// The loaded programs; dropped, they leave every interface.
pub struct Program {
    object: aya::Ebpf,
    variant: Variant,
    // The programs that frames are handed on to are held by this map.
    _stages: ProgramArray<aya::maps::MapData>,
}

/// Which of each program's two forms is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// For frames in several buffers too.
    Frags = 0,
    /// Plain: the kernel knows no other.
    Plain = 1,
}

impl Variant {
    /// As `splitter status` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frags => "xdp.frags",
            Self::Plain => "plain",
        }
    }

    const fn entry(self) -> &'static str {
        names::PROGRAMS[0][self as usize]
    }
}

/// Loads programs and maps.
pub fn load(sizes: &Sizes, plain: bool) -> Result<(Program, Maps), Error> {
    check_kernel()?;
    let mut object = loader(sizes).load(OBJECT).map_err(|error| explain_load(&error))?;
    let variant = choose(&mut object, plain)?;
    if variant == Variant::Plain && sizes.snat() {
        return Err(Error::NoSnat);
    }
    let stages = load_stages(&mut object, variant, sizes)?;
    if sizes.snat() {
        xdp(&mut object, names::RELEASE)?.load().map_err(|error| explain_program(&error))?;
    }
    let maps = Maps::take(&mut object)?;
    Ok((Program { object, variant, _stages: stages }, maps))
}

/// A loader for maps of the given sizes.
fn loader(sizes: &Sizes) -> EbpfLoader<'static> {
    // A service has an endpoint for each protocol and perhaps an address of its own; a backend has one for each
    // protocol; this host has addresses.
    let keys = sizes.services * 3 + sizes.backends * 2 + LOCAL_ADDRESSES as u32;
    let (endpoint_buckets, endpoints) = directory_pages(keys as usize);
    let (neighbour_buckets, neighbours) = directory_pages(sizes.neighbours as usize);
    let cpus = aya::util::nr_cpus().unwrap_or(1) as u32;
    let (ports, queues) = if sizes.snat() { (sizes.ports, cpus) } else { (1, 1) };
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
        (names::PREVIEWS, sizes.previews),
        (names::FRAGMENTS, sizes.fragments),
        (names::RULES, (sizes.rules * 2).max(1)),
        (names::SNAT_CLIENTS, ports),
        (names::SNAT_PORTS, ports),
        (names::SNAT_FREE, queues),
        (names::BACKEND_COUNTERS, sizes.backends + 1),
        (names::REASON_COUNTERS, sizes.services),
    ] {
        loader.map_max_entries(map, entries);
    }
    loader
}

/// Loads the first program: in the form for frames in several buffers, if the kernel has them (Linux 5.18) and `plain` does
/// not forbid it.
fn choose(object: &mut aya::Ebpf, plain: bool) -> Result<Variant, Error> {
    let unknown = |error: &ProgramError| attach::root_os_error(error) == Some(libc::EINVAL);
    if !plain {
        match xdp(object, Variant::Frags.entry())?.load() {
            Ok(()) => return Ok(Variant::Frags),
            Err(error) if !unknown(&error) => return Err(explain_program(&error)),
            Err(_) => {}
        }
    }
    xdp(object, Variant::Plain.entry())?.load().map_err(|error| explain_program(&error))?;
    Ok(Variant::Plain)
}

/// Loads the programs that frames are handed on to, and puts them where the first one finds them.
fn load_stages(
    object: &mut aya::Ebpf,
    variant: Variant,
    sizes: &Sizes,
) -> Result<ProgramArray<aya::maps::MapData>, Error> {
    let map = object.take_map(names::STAGES).ok_or_else(|| Error::Load("the object has no STAGES".into()))?;
    let of = |source| Error::Map { map: names::STAGES, source };
    let mut stages = ProgramArray::try_from(map).map_err(of)?;
    // The verifier takes its time: what no service needs is left out.
    let needed = |forms: &[&str; 2]| sizes.snat() || !forms[0].contains("snat");
    for (stage, forms) in (0..).zip(&names::PROGRAMS[1..]).filter(|(_, forms)| needed(forms)) {
        let program = xdp(object, forms[variant as usize])?;
        program.load().map_err(|error| explain_program(&error))?;
        let descriptor = program.fd().map_err(|error| explain_program(&error))?;
        stages.set(stage, descriptor, 0).map_err(of)?;
    }
    Ok(stages)
}

fn xdp<'a>(object: &'a mut aya::Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let program =
        object.program_mut(name).ok_or_else(|| Error::Load(format!("the object has no program {name}")))?;
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
        let program = xdp(&mut self.object, self.variant.entry())?;
        attach::attach(interface, wanted, existing, |index, mode| {
            let mode = match mode {
                attach::Mode::Native => AyaMode::Driver,
                attach::Mode::Generic => AyaMode::Skb,
            };
            program.attach_to_if_index(index, mode).map(drop)
        })
    }

    /// Which of the programs' forms is loaded.
    pub const fn variant(&self) -> Variant {
        self.variant
    }

    /// The first XDP program.
    pub fn xdp(&self) -> Result<&Xdp, Error> {
        self.named(self.variant.entry())
    }

    /// The program that closes silent connections of mode `snat`.
    pub fn release(&self) -> Result<&Xdp, Error> {
        self.named(names::RELEASE)
    }

    fn named(&self, name: &str) -> Result<&Xdp, Error> {
        let program = self.object.program(name);
        program
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| Error::Load(format!("the object has no XDP program {name}")))
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
            .map(|(name, program)| ProgramFacts::of(name, self.variant, program))
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

/// A program's name, and what the kernel made of it or why it took it not.
pub type Verified<T> = (String, Result<(ProgramFacts, T), String>);

/// What the kernel makes of every program there is, and what `look` sees in it, or why the kernel takes it not: name, and
/// outcome. Each variant is loaded with maps of its own.
///
/// # Errors
/// The maps cannot be made.
pub fn verify<T>(sizes: &Sizes, look: impl Fn(BorrowedFd<'_>) -> T) -> Result<Vec<Verified<T>>, Error> {
    let mut all = verify_variant(sizes, Variant::Frags, &look)?;
    all.extend(verify_variant(sizes, Variant::Plain, &look)?);
    Ok(all)
}

/// The same for one variant.
///
/// # Errors
/// The maps cannot be made.
pub fn verify_variant<T>(
    sizes: &Sizes,
    variant: Variant,
    look: &impl Fn(BorrowedFd<'_>) -> T,
) -> Result<Vec<Verified<T>>, Error> {
    let mut object = loader(sizes).load(OBJECT).map_err(|error| explain_load(&error))?;
    // What closes connections of mode `snat` is of use where there is `snat`.
    let release = (variant == Variant::Frags).then_some(names::RELEASE);
    let names = names::PROGRAMS.iter().map(|forms| forms[variant as usize]).chain(release);
    Ok(names.map(|name| (name.to_owned(), verify_one(&mut object, name, variant, look))).collect())
}

fn verify_one<T>(
    object: &mut aya::Ebpf,
    name: &str,
    variant: Variant,
    look: &impl Fn(BorrowedFd<'_>) -> T,
) -> Result<(ProgramFacts, T), String> {
    let load = xdp(object, name).map_err(|error| error.to_string())?.load();
    load.map_err(|error| chain(&error))?;
    let program = object.program(name).ok_or_else(|| format!("the object has no program {name}"))?;
    let descriptor = program.fd().map_err(|error| chain(&error))?;
    let facts = ProgramFacts::of(name, variant, program).map_err(|error| error.to_string())?;
    Ok((facts, look(descriptor.as_fd())))
}
