//! The TOML configuration: its model, and the checks that find every mistake at once.
//!
//! # Layout
//!
//! `table` walks the parsed text and `value`, `address`, `ports` turn one value each into its type; `daemon`,
//! `service`, `pool` and `rules` read the sections; `split`, `mode` and `choice` check one service, `endpoints` and
//! `cross` all of them. Whatever is wrong goes to `mistakes`, and reading goes on.

mod address;
mod choice;
mod cross;
mod daemon;
mod endpoints;
mod error;
mod mistakes;
mod mode;
mod model;
mod pool;
mod ports;
mod rules;
mod service;
mod split;
mod table;
mod value;
mod words;

use std::{fs, path::Path};

use toml::de::DeTable;

pub use error::{ConfigError, ConfigErrors, LoadError};
pub use model::{
    Affinity, BackendSpec, Config, Daemon, ForwardMode, HealthCheck, NoBackend, Pool, PoolName, Prefix,
    Preview, Protocol, RouteRule, Service, Weight, XdpMode,
};

use mistakes::{Mistakes, Place};
use service::ServiceDraft;
use table::Table;

/// Most `[[service.route]]` of one service.
pub const MAX_ROUTES: usize = 4096;
/// Most `[[service.preview]]` of one service.
pub const MAX_PREVIEWS: usize = 16;

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let read_error = |source| LoadError::Read { path: path.to_path_buf(), source };
    let bytes = fs::read(path).map_err(read_error)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(parse(path, text)?),
        Err(error) => Err(not_utf8(path, &bytes[..error.valid_up_to()]).into()),
    }
}

/// Checks a text; `path` is only for the messages.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let mut mistakes = Mistakes::new(text);
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        mistakes.syntax(error.span(), error.message());
    }
    let (daemon, services) = table::read_root(root.get_ref(), &mut mistakes, read);
    for service in &services {
        split::check(service, &mut mistakes);
        mode::check(service, &mut mistakes);
        choice::check(service, &mut mistakes);
    }
    cross::check(daemon.as_ref(), &services, &mut mistakes);
    let services = services.into_iter().map(ServiceDraft::build).collect::<Option<_>>();
    match (daemon, services) {
        (Some(daemon), Some(services)) if mistakes.is_empty() => Ok(Config { daemon, services }),
        _ => Err(mistakes.into_errors(path)),
    }
}

fn read(root: &mut Table<'_, '_, '_>) -> (Option<Daemon>, Vec<ServiceDraft>) {
    const SERVICES: &str = "write [[service]] above each service";
    root.require("daemon", "[daemon]");
    root.require("service", "[[service]]");
    let daemon = root.child("daemon", daemon::read);
    (daemon.flatten(), root.children("service", SERVICES, service::read))
}

/// `valid` is what comes before the first byte that is not UTF-8.
fn not_utf8(path: &Path, valid: &[u8]) -> ConfigErrors {
    let text = String::from_utf8_lossy(valid);
    let mut mistakes = Mistakes::new(&text);
    let place = Place { offset: text.len(), key: String::new() };
    mistakes.wrong(&place, "not UTF-8, which TOML is written in: save the file as UTF-8");
    mistakes.into_errors(path)
}

#[cfg(test)]
mod tests;
