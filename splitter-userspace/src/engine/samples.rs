//! A service for tests.

use splitter_common::slot::BackendId;

use super::service::{Member, Service};
use crate::{
    api::model::{Admin, Health},
    config::{self, Config, PoolName},
    table::Order,
};

const CONFIG: &str = r#"
[daemon]
interfaces = ["eth0"]
hash_seed = "a fleet-wide secret"
[[service]]
name = "web"
address = "192.0.2.10"
port = 80
protocol = "tcp"
idle_timeout = "60s"
stable = "blue"
[service.pool.blue]
weight = 100
backends = [{ address = "10.0.1.11", port = 8080 }]
[service.pool.green]
weight = 0
backends = [{ address = "10.0.2.11", port = 8080 }]
"#;

/// One service with one blue backend (number 1), which has all, and one green (number 2).
pub fn service(order: &Order) -> Service {
    let config: Config =
        config::parse(std::path::Path::new("test.toml"), CONFIG).expect("the sample is valid");
    let member = |(pool, id): (PoolName, u16)| {
        let spec = &config.services[0].pools[&pool].backends[0];
        let (admin, health) = (Admin::Ready, Health::Unchecked);
        let (id, address) = (BackendId::new(id), spec.endpoint());
        Member { id, pool, address, weight: spec.weight, admin, health, resetting: false }
    };
    let members = [(PoolName::Blue, 1), (PoolName::Green, 2)].map(member).to_vec();
    Service::new(0, config.services[0].clone(), members, Vec::new(), (&config.daemon.hash_seed, order))
}
