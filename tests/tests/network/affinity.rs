//! `affinity = "client"`: an address is a person, who is to see one version.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Connection, PoolSizes, ServicePlan, Stage};

use crate::support::{self, WEB, WEB6};

/// Clients of each family: all of them in one pool of two at 50 % is a matter of 2 in 2^40.
const CLIENTS: u8 = 40;
/// Connections of each.
const CONNECTIONS: usize = 6;

pub fn a_client_stays_together() -> Result<()> {
    let mut stage = Stage::build(PoolSizes::default(), &[WEB, WEB6])?;
    let by_client =
        |text: &str| text.replace("stable = \"blue\"", "stable = \"blue\"\naffinity = \"client\"");
    support::reconfigure(&mut stage, by_client)?;
    for (plan, clients) in [(WEB, clients4()), (WEB6, clients6())] {
        support::give_addresses(&stage, &clients)?;
        support::change(&stage, &["weights", plan.name, "green=50"])?;
        let servers = servers_of(&stage, &plan, clients)?;
        let used: BTreeSet<_> = servers.values().collect();
        let pools: BTreeSet<_> = used.iter().map(|server| support::pool_of(server)).collect::<Result<_>>()?;
        ensure!(pools.len() == 2 && used.len() > 2, "{}: {CLIENTS} clients share {used:?}", plan.name);
    }
    Ok(())
}

fn clients4() -> Vec<IpAddr> {
    (1..=CLIENTS).map(|number| Ipv4Addr::new(198, 51, 100, 100 + number).into()).collect()
}

fn clients6() -> Vec<IpAddr> {
    let address = |number: u8| Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 1, number.into());
    (1..=CLIENTS).map(|number| address(number).into()).collect()
}

/// The one server of every client.
fn servers_of(stage: &Stage, plan: &ServicePlan, clients: Vec<IpAddr>) -> Result<BTreeMap<IpAddr, String>> {
    let target = plan.target();
    stage
        .client
        .run(async move {
            let mut servers = BTreeMap::new();
            for client in clients {
                for _ in 0..CONNECTIONS {
                    let server = Connection::open_from(client, target).await?.server().await?;
                    let known = servers.entry(client).or_insert_with(|| server.clone());
                    ensure!(*known == server, "{client} met {known} and then {server}");
                }
            }
            Ok(servers)
        })?
        .with_context(|| format!("clients of {}", plan.name))
}
