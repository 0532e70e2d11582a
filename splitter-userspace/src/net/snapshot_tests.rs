use super::*;
use crate::{
    config::Prefix,
    net::{
        facts::{Answer, KernelRoute, Neighbour, Rule},
        model::Egress,
    },
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(prefix: &str, metric: u32, path: Path) -> KernelRoute {
    let (address, length) = prefix.split_once('/').unwrap();
    KernelRoute { prefix: Prefix { address: ip(address), length: length.parse().unwrap() }, metric, path }
}

fn via(ifindex: u32, gateway: &str) -> Path {
    Path::Gateway { ifindex, gateway: ip(gateway), mtu: None }
}

fn on_link(ifindex: u32) -> Path {
    Path::OnLink { ifindex, mtu: None }
}

fn answer(path: Path, source: Option<&str>) -> Answer {
    Answer { path, source: source.map(ip) }
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.to_owned(), mac: Some(MAC), mtu: 1500, up: true, program: None }
}

/// eth0 (2) and eth1 (3) are ours, eth9 (9) is not; 10.0.0.1 and 10.0.0.7 answer on eth0, fe80::1 on eth1.
fn facts(routes: Vec<KernelRoute>) -> Facts {
    let neighbour = Neighbour { condition: Condition::Sure, mac: Some(PEER) };
    let keys = [(2, ip("10.0.0.1")), (2, ip("10.0.0.7")), (3, ip("fe80::1"))];
    Facts {
        links: vec![link(2, "eth0"), link(3, "eth1"), link(9, "eth9")],
        addresses: vec![(2, ip("10.0.0.2"))],
        rules: vec![standard_rule(32766, 254)],
        routes,
        answers: HashMap::new(),
        neighbours: keys.map(|key| (key, neighbour.clone())).into(),
    }
}

fn standard_rule(priority: u32, table: u32) -> Rule {
    Rule { ipv6: false, priority, table: Some(table), unconditional: true }
}

fn ours() -> [String; 2] {
    ["eth0", "eth1"].map(str::to_owned)
}

fn snapshot(routes: Vec<KernelRoute>) -> Snapshot {
    build(&facts(routes), &ours(), &[])
}

fn hop(ifindex: u32) -> Egress {
    Egress::Hop(Hop { ifindex, source: MAC, destination: PEER, mtu: 1500 })
}

fn why(snapshot: &Snapshot, address: &str) -> String {
    match snapshot.lookup(ip(address)) {
        Egress::Kernel { why } => why,
        other => panic!("{address}: {other:?}"),
    }
}

/// Why `target` is unresolved, or "resolved".
fn target_why(facts: &Facts, target: &str) -> String {
    match build(facts, &ours(), &[ip(target)]).targets.remove(&ip(target)).unwrap() {
        NextHop::Unresolved { why } => why,
        NextHop::Resolved { .. } => "resolved".to_owned(),
    }
}

#[test]
fn the_longest_prefix_wins() {
    let snapshot = snapshot(vec![
        route("0.0.0.0/0", 0, via(2, "10.0.0.1")),
        route("10.0.0.0/24", 0, on_link(2)),
        route("10.0.0.128/25", 0, Path::Special("it is of type blackhole".into())),
        route("::/0", 1024, via(3, "fe80::1")),
    ]);
    assert_eq!(snapshot.lookup(ip("198.51.100.7")), hop(2));
    assert_eq!(snapshot.lookup(ip("10.0.0.7")), hop(2));
    assert_eq!(snapshot.lookup(ip("10.0.0.2")), Egress::Local);
    assert_eq!(snapshot.lookup(ip("2001:db8::1")), hop(3));
    assert_eq!(why(&snapshot, "10.0.0.200"), "it is of type blackhole");
    assert!(why(&snapshot, "10.0.0.9").contains("not resolved yet"));
}

#[test]
fn routes_are_sorted_by_family_and_length() {
    let snapshot = snapshot(vec![
        route("::/0", 0, via(3, "fe80::1")),
        route("0.0.0.0/0", 0, via(2, "10.0.0.1")),
        route("10.0.0.0/24", 0, on_link(2)),
        route("2001:db8::/32", 0, on_link(3)),
    ]);
    let order: Vec<_> =
        snapshot.routes.iter().map(|route| (route.prefix.address.is_ipv6(), route.prefix.length)).collect();
    assert_eq!(order, [(false, 32), (false, 24), (false, 0), (true, 32), (true, 10), (true, 0)]);
}

#[test]
fn the_lowest_metric_wins_and_at_equal_ones_the_first() {
    let snapshot = snapshot(vec![
        route("0.0.0.0/0", 200, via(3, "10.1.0.1")),
        route("0.0.0.0/0", 100, via(2, "10.0.0.1")),
        route("0.0.0.0/0", 100, on_link(3)),
    ]);
    assert_eq!(snapshot.lookup(ip("198.51.100.7")), hop(2));
}

#[test]
fn equal_ipv6_routes_are_the_kernels_choice() {
    let snapshot =
        snapshot(vec![route("::/0", 1024, via(3, "fe80::1")), route("::/0", 1024, via(2, "fe80::2"))]);
    assert_eq!(why(&snapshot, "2001:db8::1"), "several routes of the same metric");
}

#[test]
fn local_comes_before_anything_more_specific() {
    let snapshot = snapshot(vec![
        route("203.0.113.0/24", 0, Path::Local),
        route("203.0.113.0/25", 0, on_link(2)),
        route("203.0.113.0/24", 0, on_link(2)),
    ]);
    assert_eq!(snapshot.lookup(ip("203.0.113.1")), Egress::Local);
    assert_eq!(snapshot.lookup(ip("203.0.113.200")), Egress::Local);
}

#[test]
fn link_local_never_takes_the_default_route() {
    let snapshot = snapshot(vec![route("::/0", 0, via(3, "fe80::1")), route("fe80::/64", 0, on_link(3))]);
    assert_eq!(why(&snapshot, "fe80::1"), "link-local addresses are not forwarded");
}

#[test]
fn other_interfaces_are_the_kernels() {
    let snapshot = snapshot(vec![route("0.0.0.0/0", 0, via(9, "10.9.0.1"))]);
    assert_eq!(
        why(&snapshot, "198.51.100.7"),
        "goes out eth9, which is not in [daemon] interfaces: add it there"
    );
}

#[test]
fn neighbours_count_on_the_interface_of_their_route_only() {
    let mut facts = facts(vec![route("10.0.0.0/24", 0, on_link(3))]);
    assert_eq!(build(&facts, &ours(), &[]).neighbours, HashMap::new());
    let neighbour = Neighbour { condition: Condition::Stale, mac: Some(PEER) };
    facts.neighbours.insert((3, ip("10.0.0.7")), neighbour);
    assert_eq!(build(&facts, &ours(), &[]).lookup(ip("10.0.0.7")), hop(3));
}

#[test]
fn policy_rules_leave_a_family_to_the_kernel_but_keep_its_own_addresses() {
    let mut facts = facts(vec![
        route("0.0.0.0/0", 0, via(2, "10.0.0.1")),
        route("203.0.113.0/24", 0, Path::Local),
        route("::/0", 0, via(3, "fe80::1")),
    ]);
    facts.rules.push(Rule { ipv6: false, priority: 100, table: Some(7), unconditional: false });
    let snapshot = build(&facts, &ours(), &[]);
    assert_eq!(snapshot.problems.len(), 1);
    assert!(snapshot.problems[0].contains("`ip rule del pref 100`"), "{:?}", snapshot.problems);
    assert_eq!(why(&snapshot, "198.51.100.7"), "no route to 198.51.100.7");
    assert_eq!(snapshot.lookup(ip("10.0.0.2")), Egress::Local);
    assert_eq!(snapshot.lookup(ip("203.0.113.9")), Egress::Local);
    assert_eq!(snapshot.lookup(ip("2001:db8::1")), hop(3));
}

#[test]
fn a_standard_table_at_another_priority_is_a_rule_of_its_own() {
    let mut facts = facts(vec![]);
    facts.rules = vec![standard_rule(100, 255), standard_rule(32766, 254)];
    assert_eq!(build(&facts, &ours(), &[]).problems.len(), 1);
    facts.rules = vec![standard_rule(0, 255), standard_rule(32766, 254), standard_rule(32767, 253)];
    assert_eq!(build(&facts, &ours(), &[]).problems, [] as [String; 0]);
}

#[test]
fn targets_follow_the_kernels_answer_and_say_why_not() {
    let mut facts = facts(vec![]);
    let answers = [
        ("10.0.0.7", Ok(on_link(2))),
        ("10.7.0.1", Ok(via(2, "10.0.0.1"))),
        ("10.0.0.9", Ok(on_link(2))),
        ("10.9.0.1", Ok(via(9, "10.9.0.254"))),
        ("10.0.0.2", Ok(Path::Local)),
        ("10.8.0.1", Err("Network is unreachable (os error 101)".to_owned())),
        ("10.6.0.1", Ok(Path::Special("it encapsulates packets".to_owned()))),
    ];
    facts.answers = answers.map(|(target, path)| (ip(target), path.map(|path| answer(path, None)))).into();
    assert_eq!(target_why(&facts, "10.0.0.7"), "resolved");
    assert_eq!(target_why(&facts, "10.7.0.1"), "resolved");
    assert_eq!(
        target_why(&facts, "10.0.0.9"),
        "10.0.0.9 does not answer on eth0: is it up, and on that segment?"
    );
    assert!(target_why(&facts, "10.9.0.1").contains("eth9, which is not in [daemon] interfaces"));
    assert!(target_why(&facts, "10.0.0.2").contains("is an address of this host"));
    assert!(target_why(&facts, "10.8.0.1").contains("Network is unreachable"));
    assert!(target_why(&facts, "10.6.0.1").contains("encapsulates"));
    assert!(target_why(&facts, "10.5.0.1").contains("being looked up"));
}

#[test]
fn a_resolved_target_names_its_gateway_and_interface() {
    let mut facts = facts(vec![]);
    facts.answers = [(ip("10.7.0.1"), Ok(answer(via(2, "10.0.0.1"), None)))].into();
    let next_hop = build(&facts, &ours(), &[ip("10.7.0.1")]).targets.remove(&ip("10.7.0.1")).unwrap();
    assert_eq!(next_hop.to_string(), "via 10.0.0.1 dev eth0");
}

#[test]
fn sources_are_what_the_kernel_says_or_the_interfaces_first_address() {
    let mut facts = facts(vec![]);
    facts.addresses = vec![(2, ip("fe80::2")), (2, ip("10.0.0.2")), (9, ip("10.9.0.2"))];
    let answers = [
        ("10.0.0.7", Ok(answer(on_link(2), Some("192.0.2.1")))),
        ("10.7.0.1", Ok(answer(via(2, "10.0.0.1"), None))),
        ("10.9.0.7", Ok(answer(on_link(9), None))),
        ("2001:db8::7", Ok(answer(via(2, "fe80::1"), None))),
        ("10.8.0.1", Err("Network is unreachable (os error 101)".to_owned())),
    ];
    facts.answers = answers.map(|(target, answer)| (ip(target), answer)).into();
    let targets: Vec<_> = ["10.5.0.1"].map(ip).into_iter().chain(facts.answers.keys().copied()).collect();
    let expected = [("10.0.0.7", "192.0.2.1"), ("10.7.0.1", "10.0.0.2"), ("10.9.0.7", "10.9.0.2")];
    let expected = expected.map(|(target, source)| (ip(target), ip(source))).into();
    assert_eq!(build(&facts, &ours(), &targets).sources, expected);

    // A link-local address is no source; the next one is.
    facts.addresses.push((2, ip("2001:db8::2")));
    let sources = build(&facts, &ours(), &targets).sources;
    assert_eq!(sources[&ip("2001:db8::7")], ip("2001:db8::2"));
}

/// `path` with a limit of its own.
fn limited(path: &Path, limit: u32) -> Path {
    match *path {
        Path::Gateway { ifindex, gateway, .. } => Path::Gateway { ifindex, gateway, mtu: Some(limit) },
        _ => Path::OnLink { ifindex: 2, mtu: Some(limit) },
    }
}

#[test]
fn the_smaller_of_the_routes_and_the_interfaces_mtu_counts() {
    for (limit, mtu) in [(1400, 1400), (9000, 1500)] {
        let mut facts = facts(vec![
            route("0.0.0.0/0", 0, limited(&via(2, "10.0.0.1"), limit)),
            route("10.0.0.0/24", 0, limited(&on_link(2), limit)),
        ]);
        let targets = ["10.0.0.7", "10.7.0.1"].map(ip);
        let paths = [limited(&on_link(2), limit), limited(&via(2, "10.0.0.1"), limit)];
        facts.answers = targets.into_iter().zip(paths.map(|path| Ok(answer(path, None)))).collect();
        let snapshot = build(&facts, &ours(), &targets);
        let expected = Hop { ifindex: 2, source: MAC, destination: PEER, mtu };
        for client in ["198.51.100.7", "10.0.0.7"] {
            assert_eq!(snapshot.lookup(ip(client)), Egress::Hop(expected), "{client}");
        }
        let on_link = RouteAction::OnLink { ifindex: 2, mtu };
        assert!(snapshot.routes.iter().any(|route| route.action == on_link), "{:?}", snapshot.routes);
        for target in targets {
            let NextHop::Resolved { hop, .. } = snapshot.targets[&target] else { panic!("{target}") };
            assert_eq!(hop, expected, "{target}");
        }
    }
}

#[test]
fn entries_without_a_valid_address_are_no_neighbours() {
    let mut facts = facts(vec![route("10.0.0.0/24", 0, on_link(2))]);
    let failed = Neighbour { condition: Condition::Missing, mac: None };
    facts.neighbours.insert((2, ip("10.0.0.9")), failed);
    assert!(!build(&facts, &ours(), &[]).neighbours.contains_key(&ip("10.0.0.9")));
}

#[test]
fn needed_are_the_gateways_and_the_targets_on_our_interfaces() {
    let mut facts = facts(vec![
        route("0.0.0.0/0", 0, via(2, "10.0.0.1")),
        route("10.9.0.0/24", 0, via(9, "10.9.0.1")),
        route("10.0.0.0/24", 0, on_link(2)),
    ]);
    let answers = [("10.0.0.9", on_link(2)), ("10.0.0.2", Path::Local)];
    facts.answers = answers.map(|(target, path)| (ip(target), Ok(answer(path, None)))).into();
    let needed = needed(&facts, &ours(), &[ip("10.0.0.9"), ip("10.0.0.2")]);
    let expected = [((2, ip("10.0.0.1")), Condition::Sure), ((2, ip("10.0.0.9")), Condition::Missing)];
    assert_eq!(needed, expected.into());
}

#[test]
fn interfaces_that_cannot_be_used_are_problems() {
    let mut facts = facts(vec![]);
    facts.links[0].up = false;
    facts.links[1].mac = None;
    let names = ["eth0", "eth1", "eth7"].map(str::to_owned);
    let snapshot = build(&facts, &names, &[]);
    assert_eq!(snapshot.interfaces.len(), 1);
    assert!(!snapshot.interfaces[0].up);
    let parts = ["eth0 is down", "eth1 is not Ethernet", "eth7 does not exist"];
    assert_eq!(snapshot.problems.len(), parts.len());
    assert!(snapshot.problems.iter().zip(parts).all(|(problem, part)| problem.contains(part)));
}
