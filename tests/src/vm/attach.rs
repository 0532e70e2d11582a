//! The program on real drivers, in native mode, and in generic mode.

use std::fs;

use anyhow::{Context as _, Result};
use splitter_userspace::{config::XdpMode, dataplane::DataPlane};

use crate::lab::{Namespace, ip};

/// Attaches to an interface of each driver, and tells how that went.
pub fn each(
    mut data_plane: DataPlane,
    mut tell: impl FnMut(&str, Result<String>) -> Result<()>,
) -> Result<()> {
    tell("veth", to_veth(&mut data_plane, XdpMode::Native))?;
    tell("virtio_net", to_card(&mut data_plane, "virtio_net"))?;
    tell("generic", to_veth(&mut data_plane, XdpMode::Generic))
}

/// The interface goes, and the program with it.
fn to_veth(data_plane: &mut DataPlane, mode: XdpMode) -> Result<String> {
    let namespace = Namespace::create("attach")?;
    namespace.ip(&["link add eth0 type veth peer name peer".to_owned(), "link set eth0 up".to_owned()])?;
    namespace.run(|| attach(data_plane, "eth0", mode))?
}

fn to_card(data_plane: &mut DataPlane, driver: &str) -> Result<String> {
    let interface = interface_of(driver)?;
    ip::batch(None, &[format!("link set {interface} up")])?;
    let attached = attach(data_plane, &interface, XdpMode::Native);
    // Its cable leads nowhere, and the driver complains of what it cannot send.
    ip::batch(None, &[format!("link set {interface} down")])?;
    attached
}

fn attach(data_plane: &mut DataPlane, interface: &str, mode: XdpMode) -> Result<String> {
    let attachment = data_plane.attach(interface, mode, None)?;
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
