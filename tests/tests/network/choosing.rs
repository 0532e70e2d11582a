//! Who always gets one pool: clients that a rule is about, and connections to a preview listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use splitter_tests::lab::{Connection, PoolSizes, ServicePlan, Stage, addresses::CLIENT};

use crate::{
    forwarding,
    support::{self, DNS, DNS6, WEB, WEB6},
};

const SIZES: PoolSizes = PoolSizes { blue: 1, green: 2, canary: 1 };
/// Connections of each client.
const CONNECTIONS: usize = 12;
/// Port of the listener.
const PREVIEW: u16 = 8443;

/// Clients and rules of one family: one within the longest prefix, one within a shorter one, one within none.
struct Ruled {
    plan: ServicePlan,
    rules: [&'static str; 2],
    clients: [(IpAddr, &'static str); 3],
}

fn ruled() -> [Ruled; 2] {
    let v4 = |last| IpAddr::from(Ipv4Addr::new(198, 51, 100, last));
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 1, last));
    [
        Ruled {
            plan: WEB,
            rules: ["198.51.100.64/26", "198.51.100.100/31"],
            clients: [(v4(101), "canary"), (v4(102), "green"), (CLIENT.ipv4.into(), "blue")],
        },
        Ruled {
            plan: WEB6,
            rules: ["2001:db8:c::1:0/112", "2001:db8:c::1:64/127"],
            clients: [(v6(0x65), "canary"), (v6(0x66), "green"), (CLIENT.ipv6.into(), "blue")],
        },
    ]
}

/// The rule comes before the weights, whatever they are; a backend that is drained keeps the connections of clients with
/// rules too.
pub fn rules_go_ahead_of_the_weights() -> Result<()> {
    let all = ruled();
    let (stage, ()) = Stage::prepared(SIZES, &[WEB, WEB6], |_, _, text| {
        for Ruled { plan, rules: [wide, narrow], .. } in &all {
            add(text, plan, &format!("[[service.route]]\nsource = {wide:?}\npool = \"green\""));
            add(text, plan, &format!("[[service.route]]\nsource = {narrow:?}\npool = \"canary\""));
        }
        Ok(())
    })?;
    for Ruled { plan, clients, .. } in &all {
        let addresses: Vec<_> = clients[..2].iter().map(|(address, _)| *address).collect();
        support::give_addresses(&stage, &addresses)?;
        each_meets(&stage, plan, clients)?;
        support::change(&stage, &["weights", plan.name, "blue=0", "canary=100", "green=0"])?;
        each_meets(&stage, plan, &[clients[0], clients[1], (clients[2].0, "canary")])?;
        drained_for(&stage, plan, clients[1].0)?;
    }
    Ok(())
}

/// Connections of a client whose rule leads to green stay with `green1` while it is drained, and new ones avoid it.
fn drained_for(stage: &Stage, plan: &ServicePlan, client: IpAddr) -> Result<()> {
    let mut held = connect(stage, client, plan.target())?;
    let before = servers(stage, &mut held)?;
    ensure!(before.iter().any(|server| server == "green1"), "{}: green1 has no connection", plan.name);
    support::change(stage, &["drain", plan.name, &support::endpoint(stage, plan, "green1")?])?;
    let after = servers(stage, &mut held)?;
    ensure!(before == after, "{}: {before:?} became {after:?}", plan.name);
    let fresh = servers(stage, &mut connect(stage, client, plan.target())?)?;
    ensure!(fresh.iter().all(|server| server == "green2"), "{}: green1 is drained: {fresh:?}", plan.name);
    Ok(())
}

/// An idle green is reached by the listener before the switch, and after it, by TCP and UDP, at a port or an address of its
/// own; the service itself follows its weights.
pub fn a_preview_reaches_its_pool() -> Result<()> {
    let plans = [WEB, WEB6, DNS, DNS6];
    let (stage, ()) = Stage::prepared(SIZES, &plans, |_, _, text| {
        for plan in &plans {
            let place = match plan.address {
                IpAddr::V4(_) => format!("port = {PREVIEW}"),
                IpAddr::V6(_) => format!("address = \"{}\"\nport = {}", second_address(), plan.port),
            };
            add(text, plan, &format!("[[service.preview]]\n{place}\npool = \"green\""));
        }
        Ok(())
    })?;
    for plan in &plans {
        let preview = preview_of(plan);
        if plan.port == DNS.port {
            let socket = stage.topology.client.run(|| forwarding::socket(preview))??;
            for words in ["once", "and again"] {
                let server = forwarding::ask(&socket, preview, words.as_bytes())?;
                ensure!(server.starts_with("green"), "{}: {server} answered a preview", plan.name);
            }
            continue;
        }
        let client = client_of(plan);
        let mut held = connect(&stage, client, preview)?;
        let before = servers(&stage, &mut held)?;
        ensure!(before.iter().all(|server| server.starts_with("green")), "{}: {before:?}", plan.name);
        each_meets(&stage, plan, &[(client, "blue")])?;
        support::change(&stage, &["switch", plan.name, "green"])?;
        each_meets(&stage, plan, &[(client, "green")])?;
        support::change(&stage, &["rollback", plan.name])?;
        ensure!(before == servers(&stage, &mut held)?, "{}: a preview's connection moved", plan.name);
        each_meets(&stage, plan, &[(client, "blue")])?;
    }
    Ok(())
}

fn preview_of(plan: &ServicePlan) -> SocketAddr {
    if plan.address.is_ipv4() { (plan.address, PREVIEW).into() } else { (second_address(), plan.port).into() }
}

/// No host has it, as no host has the service's.
fn second_address() -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x11).into()
}

fn client_of(plan: &ServicePlan) -> IpAddr {
    if plan.address.is_ipv4() { CLIENT.ipv4.into() } else { CLIENT.ipv6.into() }
}

/// Adds tables to a service of the configuration.
fn add(text: &mut String, plan: &ServicePlan, tables: &str) {
    let own = text.find(&format!("name = {:?}\n", plan.name)).expect("the service is there");
    let end = text[own..].find("\n\n").map_or(text.len(), |end| own + end);
    text.insert_str(end, &format!("\n\n{tables}"));
}

/// Every connection of each client is answered by its pool.
fn each_meets(stage: &Stage, plan: &ServicePlan, clients: &[(IpAddr, &str)]) -> Result<()> {
    for (client, pool) in clients {
        let servers = servers(stage, &mut connect(stage, *client, plan.target())?)?;
        let all = servers.iter().all(|server| server.starts_with(pool));
        ensure!(all, "{}: {client} should meet {pool}, not {servers:?}", plan.name);
    }
    Ok(())
}

fn connect(stage: &Stage, client: IpAddr, target: SocketAddr) -> Result<Vec<Connection>> {
    let opened = stage.client.run(async move {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            held.push(Connection::open_from(client, target).await?);
        }
        anyhow::Ok(held)
    })?;
    opened.with_context(|| format!("{client} to {target}"))
}

/// Who answers on each connection.
fn servers(stage: &Stage, held: &mut Vec<Connection>) -> Result<Vec<String>> {
    let mut connections = std::mem::take(held);
    let (back, servers) = stage.client.run(async move {
        let mut servers = Vec::new();
        for connection in &mut connections {
            servers.push(connection.server().await);
        }
        (connections, servers)
    })?;
    *held = back;
    servers.into_iter().collect()
}
