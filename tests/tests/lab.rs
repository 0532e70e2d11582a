//! The laboratory itself: namespaces come and go, servers answer, load and long-lived connections count right.
//!
//! There is no splitter here: the load balancer's kernel routes between client and backends.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use splitter_tests::{
    harness,
    lab::{
        Connection, HTTP_PORT, Load, LongLived, Namespace, Plan, PoolSizes, Runner, Scratch, Servers,
        Topology, UDP_PORT,
    },
};

fn main() -> ExitCode {
    harness::main(vec![
        harness::root_test("a namespace goes with its value", a_namespace_goes_with_its_value),
        harness::root_test("a namespace goes when its owner panics", a_namespace_goes_when_its_owner_panics),
        harness::root_test("a scratch folder takes its pins along", a_scratch_folder_takes_its_pins_along),
        harness::root_test("leftovers of the dead are removed", leftovers_of_the_dead_are_removed),
        harness::root_test("the network is up at once", the_network_is_up_at_once),
        harness::root_test("pools have the wanted sizes", pools_have_the_wanted_sizes),
        harness::root_test("load counts answers by server", load_counts_answers_by_server),
        harness::root_test("load keeps its rate", load_keeps_its_rate),
        harness::root_test("load counts failures by cause", load_counts_failures_by_cause),
        harness::root_test("long-lived connections finish in order", long_lived_connections_finish_in_order),
        harness::root_test("a cut connection is noticed", a_cut_connection_is_noticed),
        harness::root_test("bulk arrives whole", bulk_arrives_whole),
    ])
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

/// Addresses of one backend's HTTP server: IPv4, IPv6.
fn http_of(topology: &Topology, name: &str) -> Result<[SocketAddr; 2]> {
    let host = topology.hosts().find(|host| host.name == name).context("no such host")?;
    Ok(host.addresses().map(|address| SocketAddr::new(address, HTTP_PORT)))
}

fn lab() -> Result<(Topology, Servers, Runner)> {
    let topology = Topology::build(PoolSizes::default())?;
    let servers = Servers::start(&topology)?;
    let client = Runner::start(&topology.client)?;
    Ok((topology, servers, client))
}

fn a_namespace_goes_with_its_value() -> Result<()> {
    let namespace = Namespace::create("gone")?;
    let name = namespace.name().to_owned();
    ensure!(exists(&name), "{name} was not made");
    drop(namespace);
    ensure!(!exists(&name), "{name} is still there");
    Ok(())
}

fn a_namespace_goes_when_its_owner_panics() -> Result<()> {
    let mut name = String::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let namespace = Namespace::create("panic").expect("root can make namespaces");
        name.push_str(namespace.name());
        std::panic::resume_unwind(Box::new("as a failing test does"));
    }));
    ensure!(panicked.is_err() && !name.is_empty(), "the owner did not panic");
    ensure!(!exists(&name), "{name} is still there");
    Ok(())
}

fn a_scratch_folder_takes_its_pins_along() -> Result<()> {
    let scratch = Scratch::create()?;
    let (folder, bpf) = (scratch.folder().to_owned(), scratch.bpf());
    std::fs::create_dir(bpf.join("splitter")).context("bpffs takes folders")?;
    drop(scratch);
    ensure!(!folder.exists(), "{} is still there", folder.display());
    Ok(())
}

fn leftovers_of_the_dead_are_removed() -> Result<()> {
    let mut child = std::process::Command::new("true").spawn()?;
    child.wait()?;
    let name = format!("sp{}x0-client", child.id());
    let added = std::process::Command::new("ip").args(["netns", "add", &name]).status()?;
    ensure!(added.success() && exists(&name), "cannot make {name}");
    let topology = Topology::build(PoolSizes { blue: 0, green: 0, canary: 0 })?;
    ensure!(!exists(&name), "{name} is still there");
    ensure!(exists(topology.client.name()), "the living one's is gone as well");
    Ok(())
}

fn the_network_is_up_at_once() -> Result<()> {
    let begun = Instant::now();
    let topology = Topology::build(PoolSizes::default())?;
    let servers = Servers::start(&topology)?;
    ensure!(begun.elapsed() < Duration::from_millis(1500), "set-up took {:?}", begun.elapsed());
    let addresses: Vec<_> =
        topology.hosts().flat_map(|host| host.addresses().map(|ip| (ip, &host.name))).collect();
    ensure!(addresses.len() == 10, "five hosts with two addresses each, not {}", addresses.len());
    for (address, name) in addresses {
        let asked = Instant::now();
        let answer = topology.client.run(|| ask_by_udp(address))??;
        ensure!(
            asked.elapsed() < Duration::from_millis(500),
            "{address} answered after {:?}",
            asked.elapsed()
        );
        ensure!(answer == format!("{name} hello"), "{address} answered {answer}");
    }
    drop(servers);
    Ok(())
}

fn ask_by_udp(address: IpAddr) -> Result<String> {
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.send_to(b"hello", (address, UDP_PORT))?;
    let mut buffer = [0; 100];
    let size = socket.recv(&mut buffer).with_context(|| format!("no answer from {address}"))?;
    Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
}

fn pools_have_the_wanted_sizes() -> Result<()> {
    let topology = Topology::build(PoolSizes { blue: 3, green: 0, canary: 1 })?;
    let names: Vec<_> = topology.hosts().map(|host| host.name.as_str()).collect();
    ensure!(names == ["blue1", "blue2", "blue3", "canary1"], "{names:?}");
    ensure!(
        Topology::build(PoolSizes { blue: 1000, green: 0, canary: 0 }).is_err(),
        "no room for a thousand"
    );
    Ok(())
}

fn load_counts_answers_by_server() -> Result<()> {
    let (topology, _servers, client) = lab()?;
    let targets = [http_of(&topology, "blue1")?, http_of(&topology, "green2")?].concat();
    let load = Load::start(&client, Plan { targets, workers: 8, rate: None })?;
    sleep(Duration::from_millis(300));
    let phase = load.mark();
    sleep(Duration::from_millis(700));
    let late = load.counts(phase);
    let counts = load.stop(&client)?;
    ensure!(counts.failed() == 0, "{:?}", counts.failures);
    ensure!(counts.answers.keys().eq(["blue1", "green2"]), "{:?}", counts.answers);
    let (blue, green) = (counts.answers["blue1"], counts.answers["green2"]);
    ensure!(blue > 100 && blue.abs_diff(green) <= blue / 4, "{:?}", counts.answers);
    ensure!(late.answered() > 0 && late.answered() < counts.answered(), "{late:?} of {counts:?}");
    Ok(())
}

fn load_keeps_its_rate() -> Result<()> {
    let (topology, _servers, client) = lab()?;
    let plan = Plan { targets: http_of(&topology, "blue1")?.to_vec(), workers: 10, rate: Some(200.0) };
    let load = Load::start(&client, plan)?;
    sleep(Duration::from_secs(2));
    let counts = load.stop(&client)?;
    ensure!((300..=440).contains(&counts.answered()), "200/s over 2 s gave {}", counts.answered());
    Ok(())
}

fn load_counts_failures_by_cause() -> Result<()> {
    let (topology, mut servers, client) = lab()?;
    let targets = [http_of(&topology, "blue1")?[0], http_of(&topology, "blue2")?[0]].to_vec();
    ensure!(servers.stop("blue2"), "blue2 was not there");
    let load = Load::start(&client, Plan { targets, workers: 4, rate: Some(100.0) })?;
    sleep(Duration::from_secs(1));
    let counts = load.stop(&client)?;
    ensure!(counts.answers.keys().eq(["blue1"]), "{:?}", counts.answers);
    let causes: Vec<_> = counts.failures.keys().collect();
    ensure!(causes.len() == 1 && causes[0].contains("refused"), "{causes:?}");
    ensure!(counts.failed() > 20 && counts.requests() == counts.answered() + counts.failed(), "{counts:?}");
    Ok(())
}

fn long_lived_connections_finish_in_order() -> Result<()> {
    let (topology, _servers, client) = lab()?;
    let targets = [http_of(&topology, "blue1")?, http_of(&topology, "canary1")?].concat();
    let mut connections = LongLived::new();
    connections.open(&client, &targets, 20)?;
    ensure!(connections.census().alive.values().eq([&10, &10]), "{:?}", connections.census());
    ensure!(connections.finish(4, |server| server == "blue1") == 4, "four of blue1 can finish");
    ensure!(connections.finish(100, |server| server == "blue1") == 6, "six are left");
    sleep(Duration::from_secs(1));
    let census = connections.census();
    ensure!(census.finished == 10 && census.alive() == 10 && census.cut() == 0, "{census:?}");
    ensure!(
        connections.clients().iter().all(|(_, server)| server == "canary1"),
        "{:?}",
        connections.clients()
    );
    Ok(())
}

fn a_cut_connection_is_noticed() -> Result<()> {
    let (topology, mut servers, client) = lab()?;
    let targets = [http_of(&topology, "blue1")?, http_of(&topology, "blue2")?].concat();
    let mut connections = LongLived::new();
    connections.open(&client, &targets, 8)?;
    servers.stop("blue1");
    sleep(Duration::from_secs(1));
    let census = connections.census();
    ensure!(census.cut() == 4 && census.alive.keys().eq(["blue2"]), "{census:?}");
    Ok(())
}

fn bulk_arrives_whole() -> Result<()> {
    let (topology, _servers, client) = lab()?;
    for target in http_of(&topology, "green1")? {
        let fetched =
            client.run(async move { Connection::open(target).await?.get("/bytes?n=5000000").await })??;
        ensure!(fetched.len() == 5_000_000, "{target} sent {} bytes", fetched.len());
    }
    Ok(())
}
