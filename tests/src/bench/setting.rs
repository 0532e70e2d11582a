//! The services under test: three pools of eight backends, canary at 5 %, as a release has them.

use std::{collections::HashMap, net::IpAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use splitter_common::{
    abi::ServiceTable,
    slot::{BackendId, Slot, State},
};
use splitter_userspace::{
    config::{self, Config, Prefix},
    dataplane::{DataPlane, Sizes},
    engine::{compile, service::Service, services},
    image::Image,
    net::{Hop, NextHop, Route, RouteAction, Snapshot},
    table::Order,
};

/// The backend that DIRTY slots name as `previous`.
pub const PREVIOUS: BackendId = BackendId::new(1);

/// The loopback interface: where `BPF_PROG_TEST_RUN` says that packets come in.
const INGRESS: u32 = 1;

/// The program with its services.
pub struct Setting {
    data_plane: DataPlane,
    image: Image,
    services: Vec<Service>,
    generation: u64,
}

impl Setting {
    /// Loads the program and makes the services live.
    pub fn new() -> Result<Self> {
        let config = configuration()?;
        let order = Order::new(&config.daemon.hash_seed);
        let services = services(&config, &order)?;
        let snapshot = snapshot(&services);
        let mut image = Image::empty();
        image.endpoints = Arc::new(compile::endpoints(&services, &[])?);
        image.backends = Arc::new(compile::backends(&services, &snapshot));
        compile::network(&mut image, &snapshot, &[], &services, 16)?;
        let data_plane = DataPlane::load(&Sizes::from(&config))?;
        let mut setting = Self { data_plane, image, services, generation: 0 };
        setting.force(Some(State::Clean))?;
        Ok(setting)
    }

    /// The program under test.
    pub fn program(&self) -> Result<&Xdp> {
        Ok(self.data_plane.program()?)
    }

    /// Puts every slot of every service into a state.
    pub fn force(&mut self, state: Option<State>) -> Result<()> {
        let state = state.unwrap_or(State::Clean);
        let flags = if state == State::Clean { 0 } else { ServiceTable::UNSETTLED };
        for service in &self.services {
            let clean = service.table();
            let slots = clean.slots.map(|slot| Slot::new(slot.current(), state));
            let table = ServiceTable::new(clean.key, clean.idle_timeout_ns, flags, clean.mtu, slots);
            self.image.services.insert(service.number, Arc::new(table));
        }
        self.generation += 1;
        self.data_plane.commit(self.image.clone(), self.generation)?;
        Ok(())
    }
}

/// Every backend and every client is behind the interface that packets come in on.
fn snapshot(services: &[Service]) -> Snapshot {
    let hop = Hop { ifindex: INGRESS, source: [2; 6], destination: [4; 6], mtu: 1500 };
    let way = || NextHop::Resolved { hop, interface: "lo".into(), via: None };
    let addresses =
        services.iter().flat_map(|service| service.members.iter().map(|member| member.address.ip()));
    let default = |network: &str| Route {
        prefix: Prefix { address: network.parse().expect("a literal"), length: 0 },
        action: RouteAction::Via(way()),
    };
    let targets: HashMap<IpAddr, NextHop> = addresses.map(|address| (address, way())).collect();
    Snapshot { targets, routes: vec![default("0.0.0.0"), default("::")], ..Snapshot::default() }
}

fn configuration() -> Result<Config> {
    let mut text = String::from("[daemon]\ninterfaces = [\"lo\"]\nhash_seed = \"a fleet-wide secret\"\n");
    for (name, address, protocol, network) in [
        ("tcp4", "192.0.2.10", "tcp", "10.0."),
        ("udp4", "192.0.2.10", "udp", "10.1."),
        ("tcp6", "2001:db8:10::10", "tcp", "fd00::"),
    ] {
        text += &format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = 443\nprotocol = \"{protocol}\"\nstable = \"blue\"\n"
        );
        for (pool, number, weight) in [("blue", 1, 95), ("green", 2, 0), ("canary", 3, 5)] {
            let separator = if network.contains(':') { ':' } else { '.' };
            let backend =
                |host| format!("{{ address = \"{network}{number}{separator}{host}\", port = 8443 }}");
            let backends: Vec<String> = (11..19).map(backend).collect();
            text +=
                &format!("[service.pool.{pool}]\nweight = {weight}\nbackends = [{}]\n", backends.join(", "));
        }
    }
    config::parse(Path::new("bench.toml"), &text).context("the benchmark's own configuration")
}
