//! Reads `[daemon]`.

use std::collections::HashSet;

use super::{
    Daemon, XdpMode, address,
    mistakes::At,
    ports,
    table::Table,
    value::{absolute_path, hash_seed, integer, keyword, socket_path},
};

const XDP_MODES: [(&str, XdpMode); 3] =
    [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];

/// Most services the maps can be made for.
const MAX_SERVICES: u32 = 4096;
/// Most backends the maps can be made for: their ids are 16 bits wide, some of them reserved.
const MAX_BACKENDS: u32 = 65_000;
/// Bounds of the tables of exceptions, in entries.
const TABLE_ENTRIES: std::ops::RangeInclusive<u32> = 1_024..=67_108_864;

/// Ports for mode `snat` unless told otherwise: below those that the kernel gives to its own connections (32,768).
const SNAT_PORTS: std::ops::RangeInclusive<u16> = 1024..=32_767;

/// The whole section; `None` when a key that has no default is missing or wrong.
pub(super) fn read(table: &mut Table<'_, '_, '_>) -> Option<Daemon> {
    let interfaces = read_interfaces(table);
    let hash_seed = table.required("hash_seed", "hash_seed = \"a fleet-wide secret\"", hash_seed);
    Some(Daemon {
        xdp_mode: table.optional("xdp_mode", XdpMode::default(), keyword(&XDP_MODES)),
        socket: table.optional("socket", Daemon::SOCKET.into(), socket_path),
        state_dir: table.optional("state_dir", Daemon::STATE_DIR.into(), absolute_path),
        pin_dir: table.optional("pin_dir", Daemon::PIN_DIR.into(), absolute_path),
        max_services: table.optional("max_services", 64, integer(1..=MAX_SERVICES)),
        max_backends: table.optional("max_backends", 4096, integer(1..=MAX_BACKENDS)),
        flow_table: table.optional("flow_table", 1_048_576, integer(TABLE_ENTRIES)),
        embryonic_table: table.optional("embryonic_table", 262_144, integer(TABLE_ENTRIES)),
        fragment_table: table.optional("fragment_table", 16_384, integer(TABLE_ENTRIES)),
        preview_table: table.optional("preview_table", 65_536, integer(TABLE_ENTRIES)),
        snat_ports: table.optional("snat_ports", SNAT_PORTS, ports::range),
        direct: values(table.list("direct", address::prefix).unwrap_or_default()),
        interfaces: interfaces?,
        hash_seed: hash_seed?.value,
    })
}

fn read_interfaces(table: &mut Table<'_, '_, '_>) -> Option<Vec<String>> {
    let interfaces = table.required_list("interfaces", "interfaces = [\"eth0\"]", address::interface)?;
    report_duplicates(table, &interfaces);
    Some(values(interfaces))
}

fn report_duplicates(table: &mut Table<'_, '_, '_>, interfaces: &[At<String>]) {
    let mut seen = HashSet::new();
    for interface in interfaces {
        if !seen.insert(&interface.value) {
            let message = format!("`{}` is listed twice: remove one", interface.value);
            table.mistakes().wrong(&interface.place, message);
        }
    }
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}
