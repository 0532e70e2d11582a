//! The route and neighbour watcher against a real kernel, in network namespaces of its own. Needs root.

use std::{
    fs::File,
    net::IpAddr,
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use splitter_userspace::net::{self, Egress, NextHop, RouteAction, Snapshot};
use tokio::sync::watch;

/// More than anything here should take; a real failure, not a slow machine, gets this far.
const PATIENCE: Duration = Duration::from_secs(20);

const LB_MAC: &str = "02:00:00:00:00:01";
const PEER_MAC: &str = "02:00:00:00:00:02";
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Two namespaces: `lb` (eth0, 10.0.0.1/24, 2001:db8::1/64) and `peer` (eth0, .2 of each).
struct Net {
    lb: String,
    peer: String,
}

impl Net {
    /// `None`, with the reason printed, where namespaces cannot be made.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("spn{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: making network namespaces needs root");
            return None;
        }
        if let Err(error) = Command::new("ip").arg("-V").output() {
            println!("SKIPPED: cannot run ip (package iproute2): {error}");
            return None;
        }
        let net = Self { lb: format!("{prefix}-lb"), peer: format!("{prefix}-peer") };
        net.build();
        Some(net)
    }

    fn build(&self) {
        for name in [&self.lb, &self.peer] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
            // No duplicate address detection: addresses are usable at once.
            sysctl(name, "net.ipv6.conf.default.accept_dad=0");
        }
        ip(&format!(
            "-n {} link add eth0 address {LB_MAC} type veth peer name eth0 address {PEER_MAC} netns {}",
            self.lb, self.peer
        ));
        for (name, host) in [(&self.lb, 1), (&self.peer, 2)] {
            ip(&format!("-n {name} addr add 10.0.0.{host}/24 dev eth0"));
            ip(&format!("-n {name} addr add 2001:db8::{host}/64 dev eth0 nodad"));
            ip(&format!("-n {name} link set eth0 up"));
        }
    }

    /// Runs `ip` in the load balancer's namespace.
    fn lb(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.lb));
    }

    /// Runs `ip` in the peer's namespace.
    fn peer(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.peer));
    }

    fn watch(&self, targets: &[&str]) -> Watched {
        Watched::start(&self.lb, targets)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.lb, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sysctl(namespace: &str, setting: &str) {
    ip(&format!("netns exec {namespace} sysctl -qw {setting}"));
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().copied().map(address).collect()
}

/// A watcher on a thread of its own inside a namespace; ends when dropped.
struct Watched {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    targets: Option<watch::Sender<Vec<IpAddr>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    fn start(namespace: &str, targets: &[&str]) -> Self {
        let (targets, receiver) = watch::channel(addresses(targets));
        let path = format!("/run/netns/{namespace}");
        let (sender, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let link = File::open(path).unwrap();
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (snapshots, task) = net::watch(vec!["eth0".to_owned()], receiver).unwrap();
                sender.send(snapshots).unwrap();
                task.await.unwrap();
            });
        });
        let snapshots = started.recv().unwrap();
        Self { snapshots, targets: Some(targets), thread: Some(thread) }
    }

    fn set_targets(&self, targets: &[&str]) {
        self.targets.as_ref().unwrap().send_replace(addresses(targets));
    }

    /// Waits until `condition` holds; returns how long that took.
    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Duration {
        let start = Instant::now();
        while !condition(&self.snapshots.borrow()) {
            assert!(
                start.elapsed() < PATIENCE,
                "not so after {PATIENCE:?}: {what}\n{:#?}",
                *self.snapshots.borrow()
            );
            thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }

    #[track_caller]
    fn until_resolved(&self, target: &str) -> Duration {
        self.until(&format!("{target} resolved"), |snapshot| destination(snapshot, target) == Some(PEER))
    }

    #[track_caller]
    fn until_unresolved(&self, target: &str, reason: &str) -> Duration {
        self.until(&format!("{target} unresolved: {reason}"), |snapshot| {
            matches!(snapshot.targets.get(&address(target)), Some(NextHop::Unresolved { why }) if why.contains(reason))
        })
    }

    #[track_caller]
    fn until_left_to_kernel(&self, client: &str, reason: &str) -> Duration {
        self.until(&format!("{client} left to the kernel: {reason}"), |snapshot| {
            matches!(snapshot.lookup(address(client)), Egress::Kernel { why } if why.contains(reason))
        })
    }

    #[track_caller]
    fn until_forwarded(&self, client: &str) -> Duration {
        self.until(&format!("{client} forwarded"), |snapshot| {
            matches!(snapshot.lookup(address(client)), Egress::Hop(hop) if hop.destination == PEER)
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.targets.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the watcher panicked");
    }
}

/// The Ethernet address packets for `target` are sent to, if it is resolved.
fn destination(snapshot: &Snapshot, target: &str) -> Option<[u8; 6]> {
    match snapshot.targets.get(&address(target)) {
        Some(NextHop::Resolved { hop, .. }) => Some(hop.destination),
        _ => None,
    }
}

/// The largest packet for `target`, if it is resolved.
fn target_mtu(snapshot: &Snapshot, target: &str) -> Option<u32> {
    match snapshot.targets.get(&address(target)) {
        Some(NextHop::Resolved { hop, .. }) => Some(hop.mtu),
        _ => None,
    }
}

#[test]
fn backends_on_link_are_resolved_without_any_traffic() {
    let Some(net) = Net::new() else { return };
    let watched = net.watch(&["10.0.0.2", "2001:db8::2"]);
    watched.until_resolved("10.0.0.2");
    watched.until_resolved("2001:db8::2");
    let snapshot = watched.snapshots.borrow().clone();
    assert_eq!(snapshot.problems, [] as [String; 0]);
    assert_eq!(snapshot.interfaces.len(), 1);
    assert_eq!((snapshot.interfaces[0].mac, snapshot.interfaces[0].up), ([2, 0, 0, 0, 0, 1], true));
    assert_eq!(snapshot.lookup(address("10.0.0.1")), Egress::Local);
    assert_eq!(snapshot.lookup(address("2001:db8::1")), Egress::Local);
    assert!(matches!(snapshot.lookup(address("10.0.0.2")), Egress::Hop(hop) if hop.destination == PEER));
}

#[test]
fn backends_behind_a_gateway_and_clients_on_the_default_route() {
    let Some(net) = Net::new() else { return };
    net.lb("route add 10.7.0.0/16 via 10.0.0.2");
    net.lb("route add default via 10.0.0.2");
    net.lb("-6 route add default via 2001:db8::2");
    net.lb("route add 10.8.0.0/16 via inet6 2001:db8::2 dev eth0");
    let watched = net.watch(&["10.7.0.1", "2001:db8:7::1", "10.8.0.1"]);
    for target in ["10.7.0.1", "2001:db8:7::1", "10.8.0.1"] {
        watched.until_resolved(target);
    }
    watched.until_forwarded("198.51.100.7");
    watched.until_forwarded("2001:db8:ffff::7");
    let via = watched.snapshots.borrow().targets[&address("10.8.0.1")].to_string();
    assert_eq!(via, "via 2001:db8::2 dev eth0");
}

#[test]
fn sources_are_the_kernels_choice_and_a_routes_mtu_counts() {
    let Some(net) = Net::new() else { return };
    net.lb("addr add 192.0.2.1/32 dev lo");
    net.lb("addr add 2001:db8:10::1/128 dev lo nodad");
    net.lb("route add 10.7.0.0/16 via 10.0.0.2 src 192.0.2.1 mtu 1400");
    net.lb("-6 route add 2001:db8:7::/48 via 2001:db8::2 src 2001:db8:10::1 mtu 1380");
    net.lb("route add 10.8.0.0/16 via inet6 2001:db8::2 dev eth0");
    net.lb("route change 10.0.0.0/24 dev eth0 mtu 1420");
    net.lb("route add 10.9.0.0/16 via 10.0.0.2 mtu 9000");
    // Target, source, MTU.
    let expected = [
        ("10.7.0.1", "192.0.2.1", 1400),
        ("2001:db8:7::1", "2001:db8:10::1", 1380),
        ("10.8.0.1", "10.0.0.1", 1500),
        ("10.0.0.2", "10.0.0.1", 1420),
        ("10.9.0.1", "10.0.0.1", 1500),
        ("2001:db8::2", "2001:db8::1", 1500),
    ];
    let watched = net.watch(&expected.map(|(target, ..)| target));
    for (target, source, mtu) in expected {
        watched.until_resolved(target);
        watched.until_forwarded(target);
        let snapshot = watched.snapshots.borrow().clone();
        assert_eq!(snapshot.sources.get(&address(target)), Some(&address(source)), "{target}");
        assert_eq!(target_mtu(&snapshot, target), Some(mtu), "{target}");
        assert!(matches!(snapshot.lookup(address(target)), Egress::Hop(hop) if hop.mtu == mtu), "{target}");
    }
    net.lb("route change 10.7.0.0/16 via 10.0.0.2 src 10.0.0.1 mtu 1300");
    watched.until("the new source", |now| now.sources[&address("10.7.0.1")] == address("10.0.0.1"));
    watched.until("the new MTU", |now| target_mtu(now, "10.7.0.1") == Some(1300));
    net.lb("link set eth0 mtu 1280");
    watched.until("the interface's MTU", |now| target_mtu(now, "10.7.0.1") == Some(1280));
}

#[test]
fn a_silent_backend_is_found_when_it_comes_up() {
    let Some(net) = Net::new() else { return };
    let watched = net.watch(&["10.0.0.9"]);
    watched.until_unresolved("10.0.0.9", "does not answer on eth0");
    // Longer than the kernel's own three questions: only a new request can find it now.
    thread::sleep(Duration::from_secs(4));
    net.peer("addr add 10.0.0.9/24 dev eth0");
    watched.until_resolved("10.0.0.9");
}

#[test]
fn a_stale_neighbour_is_confirmed_without_any_traffic() {
    let Some(net) = Net::new() else { return };
    sysctl(&net.lb, "net.ipv4.neigh.eth0.delay_first_probe_time=1");
    net.lb(&format!("neigh replace 10.0.0.2 lladdr {PEER_MAC} dev eth0 nud stale"));
    let watched = net.watch(&["10.0.0.2"]);
    watched.until_resolved("10.0.0.2");
    let start = Instant::now();
    let reachable = || {
        let arguments = ["-n", &net.lb, "neigh", "show", "10.0.0.2"];
        let shown = Command::new("ip").args(arguments).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("REACHABLE")
    };
    while !reachable() {
        assert!(start.elapsed() < PATIENCE, "the kernel was not asked to confirm the neighbour");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_reached_says_why() {
    let Some(net) = Net::new() else { return };
    net.lb("link add eth9 type veth peer name eth8");
    net.lb("link set eth8 up");
    net.lb("link set eth9 up");
    net.lb("route add 10.9.0.0/16 dev eth9");
    net.lb("route add blackhole 10.6.0.0/16");
    let watched =
        net.watch(&["10.9.0.1", "10.0.0.1", "127.0.0.1", "::1", "10.10.0.1", "10.6.0.1", "2001:db9::1"]);
    watched.until_unresolved("10.9.0.1", "goes out eth9, which is not in [daemon] interfaces");
    watched.until_unresolved("10.0.0.1", "is an address of this host");
    watched.until_unresolved("127.0.0.1", "is an address of this host");
    watched.until_unresolved("::1", "is an address of this host");
    watched.until_unresolved("10.10.0.1", "Network is unreachable");
    watched.until_unresolved("10.6.0.1", "no route to 10.6.0.1");
    watched.until_unresolved("2001:db9::1", "Network is unreachable");
}

#[test]
fn targets_and_neighbours_change_within_the_promised_time() {
    let Some(net) = Net::new() else { return };
    let watched = net.watch(&[]);
    watched.set_targets(&["10.0.0.2"]);
    watched.until_resolved("10.0.0.2");

    net.lb("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:77 dev eth0 nud permanent");
    let moved = watched.until("the new address", |snapshot| {
        destination(snapshot, "10.0.0.2") == Some([2, 0, 0, 0, 0, 0x77])
    });
    net.lb("link set eth0 down");
    let down = watched.until("eth0 is a problem", |snapshot| !snapshot.problems.is_empty());
    net.lb("link set eth0 up");
    watched.until_resolved("10.0.0.2");
    println!("a neighbour moved: {moved:?}; an interface went down: {down:?}");
    assert!(moved < Duration::from_secs(1) && down < Duration::from_secs(1), "{moved:?}, {down:?}");
}

#[test]
fn routes_that_only_the_kernel_can_follow_are_left_to_it() {
    let Some(net) = Net::new() else { return };
    net.lb("route add default via 10.0.0.2");
    let watched = net.watch(&[]);
    watched.until_forwarded("198.51.100.7");

    net.lb("route add 198.51.100.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.3");
    watched.until_left_to_kernel("198.51.100.7", "multipath");
    net.lb("route replace unreachable 198.51.100.0/24");
    watched.until_left_to_kernel("198.51.100.7", "type unreachable");
    net.lb("nexthop add id 7 via 10.0.0.2 dev eth0");
    net.lb("route replace 198.51.100.0/24 nhid 7");
    watched.until_left_to_kernel("198.51.100.7", "next-hop object");
    net.lb("route del 198.51.100.0/24");
    watched.until_forwarded("198.51.100.7");
}

#[test]
fn policy_rules_leave_replies_to_the_kernel_while_they_exist() {
    let Some(net) = Net::new() else { return };
    net.lb("route add default via 10.0.0.2");
    let watched = net.watch(&["10.0.0.2"]);
    watched.until_forwarded("198.51.100.7");
    net.lb("rule add pref 100 from 10.0.0.0/8 lookup 7");
    watched
        .until("a problem", |snapshot| snapshot.problems.iter().any(|problem| problem.contains("pref 100")));
    watched.until_left_to_kernel("198.51.100.7", "no route");
    assert_eq!(watched.snapshots.borrow().lookup(address("10.0.0.1")), Egress::Local);
    watched.until_resolved("10.0.0.2");
    net.lb("rule del pref 100");
    watched.until_forwarded("198.51.100.7");
}

#[test]
fn a_storm_of_changes_ends_in_the_right_snapshot() {
    let Some(net) = Net::new() else { return };
    let watched = net.watch(&["10.0.0.2"]);
    watched.until_resolved("10.0.0.2");
    let batch = std::env::temp_dir().join(format!("{}-batch", net.lb));
    let lines: String = (0..20_000u32)
        .map(|n| format!("route add blackhole 172.{}.{}.{}/32\n", 16 + n / 65_536, n / 256 % 256, n % 256))
        .collect();
    std::fs::write(&batch, lines).unwrap();
    net.lb(&format!("-batch {}", batch.display()));
    std::fs::remove_file(&batch).unwrap();
    let blackholes = |snapshot: &Snapshot| {
        snapshot.routes.iter().filter(|route| matches!(route.action, RouteAction::Kernel { .. })).count()
    };
    // One more: the link-local prefix, which IPv6 always leaves to the kernel.
    let lag = watched.until("all routes are seen", |snapshot| blackholes(snapshot) == 20_001);
    println!("20,000 routes seen {lag:?} after the last was added");
    net.lb("route flush type blackhole");
    watched.until("all routes are gone", |snapshot| blackholes(snapshot) == 1);
    watched.until_resolved("10.0.0.2");
}
