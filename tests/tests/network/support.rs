//! What the tests share: services, waiting, and short ways to ask the daemon.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use splitter_tests::lab::{
    Connection, Load, Phase, ServicePlan, Stage,
    addresses::{Host, VIP4, VIP6},
    config, xdp,
};
use splitter_userspace::{
    api::{
        client::Client,
        model::{BackendStats, BackendStatus, Change, Health, Place, ServiceStatus, Stats, Status},
    },
    config::{ForwardMode, PoolName, Protocol},
};

/// After this long something will not happen any more. No test depends on how long it takes.
const LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks.
const POLL: Duration = Duration::from_millis(50);

/// The IPv4 service over TCP; `web6` is the same for IPv6.
pub const WEB: ServicePlan = ServicePlan {
    name: "web",
    address: IpAddr::V4(VIP4),
    port: 80,
    protocol: Protocol::Tcp,
    idle_timeout: Duration::from_millis(1500),
    health: None,
    mode: ForwardMode::Dnat,
    crossed: false,
};
/// The IPv6 service over TCP.
pub const WEB6: ServicePlan = ServicePlan { name: "web6", address: IpAddr::V6(VIP6), ..WEB };
/// The IPv4 service over UDP.
pub const DNS: ServicePlan = ServicePlan { name: "dns", port: 53, protocol: Protocol::Udp, ..WEB };
/// The IPv6 service over UDP.
pub const DNS6: ServicePlan = ServicePlan { name: "dns6", port: 53, protocol: Protocol::Udp, ..WEB6 };

/// Both services over TCP, as load takes them.
pub fn web_targets() -> Vec<SocketAddr> {
    targets(&[WEB, WEB6])
}

/// Where services are reached, as load takes them.
pub fn targets(plans: &[ServicePlan]) -> Vec<SocketAddr> {
    plans.iter().map(ServicePlan::target).collect()
}

/// Looks until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > LIMIT {
            bail!("still waiting for {what} after {LIMIT:?}");
        }
        sleep(POLL);
    }
}

/// Waits until a phase of the load has this many requests behind it.
pub fn let_load_run(load: &Load, phase: Phase, requests: u64) -> Result<()> {
    eventually("the load", || Ok((load.counts(phase).requests() >= requests).then_some(())))
}

/// Runs a command that changes something, and must succeed.
pub fn change(stage: &Stage, arguments: &[&str]) -> Result<Change> {
    Ok(stage.cli.json::<Change>(arguments)?.0)
}

/// Runs a command that must end with `code`; gives back what it complained about.
pub fn refused(stage: &Stage, arguments: &[&str], code: i32) -> Result<String> {
    let reply = stage.cli.run(arguments)?;
    let line = arguments.join(" ");
    ensure!(reply.code == Some(code), "`{line}` ended with {:?}, not {code}: {}", reply.code, reply.stderr);
    Ok(reply.stderr)
}

/// Fails unless `text` contains every one of `words`.
pub fn mentions(text: &str, words: &[&str]) -> Result<()> {
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => bail!("no `{word}` in: {text}"),
        None => Ok(()),
    }
}

/// Status of one service.
pub fn service(stage: &Stage, name: &str) -> Result<ServiceStatus> {
    let (status, _) = stage.cli.json::<Status>(&["status", name])?;
    status.services.into_iter().next().with_context(|| format!("no status of {name}"))
}

/// Waits until `blue1` is `health` to a service.
pub fn wait_for_health(stage: &Stage, plan: &ServicePlan, health: Health) -> Result<()> {
    eventually(&format!("{}'s backend to be {health:?}", plan.name), || {
        Ok((backend(stage, plan, "blue1")?.health == health).then_some(()))
    })
}

/// Status of the backend that a host is to a service.
pub fn backend(stage: &Stage, plan: &ServicePlan, host: &str) -> Result<BackendStatus> {
    let address = plan.endpoint(host_of(stage, host)?);
    let service = service(stage, plan.name)?;
    let mut all = service.pools.into_iter().flat_map(|pool| pool.backends);
    all.find(|backend| backend.address == address).with_context(|| format!("no backend {address}"))
}

/// Sends so many bytes to a service, all of which must arrive.
pub fn upload(stage: &Stage, plan: &ServicePlan, size: usize) -> Result<()> {
    let (target, content) = (plan.target(), Bytes::from(vec![7; size]));
    let sent = stage.client.run(async move { Connection::open(target).await?.upload(content).await })?;
    let arrived = sent.with_context(|| format!("{}: upload", plan.name))?;
    ensure!(arrived == size, "{}: {arrived} bytes arrived", plan.name);
    Ok(())
}

/// Gives the client further addresses.
pub fn give_addresses(stage: &Stage, addresses: &[IpAddr]) -> Result<()> {
    let line = |address: &IpAddr| match address {
        IpAddr::V4(address) => format!("address add {address}/24 dev eth0"),
        IpAddr::V6(address) => format!("address add {address}/64 dev eth0 nodad"),
    };
    stage.topology.client.ip(&addresses.iter().map(line).collect::<Vec<_>>())
}

/// Waits until every slot is CLEAN again.
pub fn complete(stage: &Stage, plan: &ServicePlan) -> Result<()> {
    let reply = stage.cli.run(&["wait", plan.name, "--for", "complete", "--timeout", "30s"])?;
    ensure!(reply.code == Some(0), "{}: {}", plan.name, reply.stderr);
    Ok(())
}

/// Packets that a service's counters have for a reason.
pub fn reason(stage: &Stage, plan: &ServicePlan, reason: &str) -> Result<u64> {
    let (stats, _) = stage.cli.json::<Stats>(&["stats", plan.name])?;
    let mut counts = stats.services.iter().flat_map(|service| &service.reasons);
    let count = counts.find(|count| count.reason == reason).with_context(|| format!("no reason {reason}"))?;
    Ok(count.packets)
}

/// New connections of a service by host name, since the daemon's start.
pub fn connections(stage: &Stage, plan: &ServicePlan) -> Result<BTreeMap<String, u64>> {
    let names: BTreeMap<_, _> =
        stage.topology.hosts().map(|host| (plan.endpoint(host), host.name.clone())).collect();
    let named = |address| names.get(address).cloned().with_context(|| format!("no host has {address}"));
    let backends = counted(stage, plan)?;
    backends.iter().map(|backend| Ok((named(&backend.address)?, backend.counters.connections))).collect()
}

/// Packets of a service, both ways, since the daemon's start.
pub fn packets(stage: &Stage, plan: &ServicePlan) -> Result<u64> {
    let counters = counted(stage, plan)?.into_iter().map(|backend| backend.counters);
    Ok(counters.map(|counters| counters.packets_in + counters.packets_out).sum())
}

fn counted(stage: &Stage, plan: &ServicePlan) -> Result<Vec<BackendStats>> {
    let (stats, _) = stage.cli.json::<Stats>(&["stats", plan.name])?;
    Ok(stats.services.into_iter().flat_map(|service| service.backends).collect())
}

/// Where new connections from each of `ports` of the client would go.
pub fn places(
    stage: &Stage,
    plan: &ServicePlan,
    client: IpAddr,
    ports: std::ops::Range<u16>,
) -> Result<BTreeMap<u16, Place>> {
    let api = Client::new(config::socket(stage.scratch.folder()));
    let name = plan.name;
    stage.client.run(async move {
        let mut places = BTreeMap::new();
        for port in ports {
            let explanation = api.explain(name, SocketAddr::new(client, port)).await?;
            places.insert(port, explanation.new_connection.context("a slot without a backend")?);
        }
        Ok(places)
    })?
}

/// A backend host by its name.
pub fn host_of<'a>(stage: &'a Stage, name: &str) -> Result<&'a Host> {
    stage.topology.hosts().find(|host| host.name == name).with_context(|| format!("no host {name}"))
}

/// A host's endpoint for a service, as the command line takes it.
pub fn endpoint(stage: &Stage, plan: &ServicePlan, host: &str) -> Result<String> {
    Ok(plan.endpoint(host_of(stage, host)?).to_string())
}

/// The pool of a host, by its name.
pub fn pool_of(host: &str) -> Result<PoolName> {
    let pool = host.trim_end_matches(|character: char| character.is_ascii_digit());
    pool.parse().map_err(anyhow::Error::msg)
}

/// Stops the daemon, edits its configuration, and starts it again.
pub fn reconfigure(stage: &mut Stage, edit: impl FnOnce(&str) -> String) -> Result<()> {
    stop(stage)?;
    edit_config(stage, edit)?;
    stage.start_daemon()
}

/// Stops the daemon.
pub fn stop(stage: &mut Stage) -> Result<()> {
    stage.daemon.take().context("no daemon runs")?.stop()
}

/// Edits the configuration file, for the next start.
pub fn edit_config(stage: &Stage, edit: impl FnOnce(&str) -> String) -> Result<()> {
    let before = fs::read_to_string(stage.config()).context("cannot read the configuration")?;
    let after = edit(&before);
    ensure!(before != after, "the edit changes nothing");
    fs::write(stage.config(), after).context("cannot write the configuration")
}

/// Fails unless both services answer from `blue1`.
pub fn is_served(stage: &Stage) -> Result<()> {
    for target in web_targets() {
        let server = stage.client.run(async move { Connection::open(target).await?.server().await })??;
        ensure!(server == "blue1", "{target}: {server} answers");
    }
    Ok(())
}

/// Ids of the XDP programs on the load balancer's interfaces.
pub fn programs(stage: &Stage) -> Result<[Option<u64>; 2]> {
    Ok([xdp::program_on(&stage.topology.lb, "eth0")?, xdp::program_on(&stage.topology.lb, "eth1")?])
}
