//! Puts the program on an interface: native if the driver can, else generic, saying which and why.

use aya::programs::{ProgramError, loaded_programs};

use super::Error;
use crate::config::XdpMode;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's receive path.
    Generic,
}

impl Mode {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An interface that carries the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Interface name.
    pub interface: String,
    /// Interface index.
    pub index: u32,
    /// How.
    pub mode: Mode,
    /// Why not native; empty if it is, or if generic was asked for.
    pub why: String,
}

/// Attaches with `attempt`, in the modes that `wanted` allows, the better first. `existing`: id of the program that
/// is there already, for the message.
pub fn attach(
    interface: &str,
    wanted: XdpMode,
    existing: Option<u32>,
    mut attempt: impl FnMut(u32, Mode) -> Result<(), ProgramError>,
) -> Result<Attachment, Error> {
    let index = index_of(interface)?;
    let done = |mode, why: String| Ok(Attachment { interface: interface.into(), index, mode, why });
    if wanted != XdpMode::Generic {
        match attempt(index, Mode::Native) {
            Ok(()) => return done(Mode::Native, String::new()),
            Err(error) if occupied(&error) => return Err(occupied_by(interface, existing)),
            Err(error) if wanted == XdpMode::Native => return Err(refused(interface, Mode::Native, &error)),
            Err(error) => {
                let why = format!("native mode refused: {}", root(&error));
                attempt(index, Mode::Generic).map_err(|error| explain(interface, existing, &error))?;
                return done(Mode::Generic, why);
            }
        }
    }
    attempt(index, Mode::Generic).map_err(|error| explain(interface, existing, &error))?;
    done(Mode::Generic, String::new())
}

fn explain(interface: &str, existing: Option<u32>, error: &ProgramError) -> Error {
    if occupied(error) { occupied_by(interface, existing) } else { refused(interface, Mode::Generic, error) }
}

fn refused(interface: &str, mode: Mode, error: &ProgramError) -> Error {
    let cure = match mode {
        Mode::Native => {
            "set xdp_mode = \"auto\" or \"generic\", or see the driver's limits (MTU, queues, offloads)"
        }
        Mode::Generic => "see `dmesg`, and whether the interface is up and of Ethernet type",
    };
    Error::Attach(format!(
        "{interface} does not take the program in {} mode: {}; {cure}",
        mode.name(),
        root(error)
    ))
}

fn occupied(error: &ProgramError) -> bool {
    matches!(root_os_error(error), Some(libc::EBUSY | libc::EEXIST))
}

/// Names the program that is on the interface already.
fn occupied_by(interface: &str, existing: Option<u32>) -> Error {
    let name = |id: u32| {
        let program = loaded_programs().flatten().find(|program| program.id() == id)?;
        program.name_as_str().map(str::to_owned)
    };
    let who = match existing {
        Some(id) => format!("XDP program \"{}\" (id {id})", name(id).unwrap_or_default()),
        None => "another XDP program".into(),
    };
    Error::Occupied(format!(
        "{interface} already carries {who}: splitter does not replace what it did not attach. Remove it \
         (`ip link set dev {interface} xdp off`, or stop its owner), or take {interface} out of [daemon] interfaces"
    ))
}

fn index_of(interface: &str) -> Result<u32, Error> {
    let index = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)
        .and_then(|socket| rustix::net::netdevice::name_to_index(&socket, interface));
    index.map_err(|error| {
        Error::Attach(format!(
            "interface {interface} cannot be used: {error}; see `ip link` and correct [daemon] interfaces"
        ))
    })
}

pub fn root_os_error(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && let Some(number) = io.raw_os_error()
        {
            return Some(number);
        }
        source = cause.source();
    }
    None
}

fn root(error: &ProgramError) -> String {
    root_os_error(error)
        .map_or_else(|| error.to_string(), |number| std::io::Error::from_raw_os_error(number).to_string())
}
