//! The program on real drivers, in native mode.

use std::fs;

use anyhow::{Context as _, Result};
use splitter_userspace::{config::XdpMode, dataplane::DataPlane};

use super::SIZES;
use crate::lab::{Namespace, ip};

/// Drivers to try.
pub const DRIVERS: [&str; 2] = ["veth", "virtio_net"];

/// Attaches to an interface of the driver, and says how.
pub fn natively(driver: &str) -> Result<String> {
    match driver {
        "veth" => to_veth(),
        _ => to_interface(&interface_of(driver)?),
    }
}

fn to_veth() -> Result<String> {
    let namespace = Namespace::create("attach")?;
    namespace.ip(&["link add eth0 type veth peer name peer".to_owned(), "link set eth0 up".to_owned()])?;
    namespace.run(|| attach("eth0"))?
}

fn to_interface(interface: &str) -> Result<String> {
    ip::batch(None, &[format!("link set {interface} up")])?;
    attach(interface)
}

/// Off again when it returns.
fn attach(interface: &str) -> Result<String> {
    let mut data_plane = DataPlane::load(&SIZES)?;
    let attachment = data_plane.attach(interface, XdpMode::Native, None)?;
    Ok(attachment.mode.name().to_owned())
}

/// The first interface of a driver.
fn interface_of(driver: &str) -> Result<String> {
    let folder = "/sys/class/net";
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))?;
    let mut interfaces = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        fs::read_link(path.join("device/driver")).is_ok_and(|driven_by| driven_by.ends_with(driver))
    });
    let path = interfaces.next().with_context(|| format!("this machine has no interface of {driver}"))?;
    Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}
