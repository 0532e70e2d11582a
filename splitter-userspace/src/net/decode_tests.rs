use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn route_message(table: u8, kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = table;
    message.header.kind = kind;
    message.attributes = attributes;
    message
}

fn special(attributes: Vec<RouteAttribute>) -> String {
    match path(&route_message(254, RouteType::Unicast, attributes)) {
        Path::Special(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_default_route_has_no_destination_attribute() {
    let attributes =
        vec![RouteAttribute::Oif(2), RouteAttribute::Gateway(GATEWAY.into()), RouteAttribute::Priority(100)];
    let route = route(&route_message(254, RouteType::Unicast, attributes)).unwrap();
    assert_eq!(route.prefix, Prefix { address: [0; 4].into(), length: 0 });
    assert_eq!(route.metric, 100);
    assert_eq!(route.path, Path::Gateway { ifindex: 2, gateway: GATEWAY.into(), mtu: None });
}

#[test]
fn ipv4_routes_may_go_through_ipv6_gateways() {
    let gateway: Ipv6Addr = "fe80::1".parse().unwrap();
    let attributes = vec![RouteAttribute::Oif(2), RouteAttribute::Via(RouteVia::Inet6(gateway))];
    let path = path(&route_message(254, RouteType::Unicast, attributes));
    assert_eq!(path, Path::Gateway { ifindex: 2, gateway: gateway.into(), mtu: None });
}

#[test]
fn a_route_may_have_a_limit_of_its_own() {
    let with = |metrics: Vec<RouteMetric>| {
        path(&route_message(
            254,
            RouteType::Unicast,
            vec![RouteAttribute::Oif(2), RouteAttribute::Metrics(metrics)],
        ))
    };
    let limited = with(vec![RouteMetric::Advmss(1360), RouteMetric::Mtu(1400)]);
    assert_eq!(limited, Path::OnLink { ifindex: 2, mtu: Some(1400) });
    assert_eq!(with(vec![RouteMetric::Advmss(1360)]), Path::OnLink { ifindex: 2, mtu: None });
    assert_eq!(with(vec![RouteMetric::Mtu(0)]), Path::OnLink { ifindex: 2, mtu: None });
}

#[test]
fn an_answer_names_the_source() {
    let on_link = |source: Option<RouteAddress>| {
        let attributes = [RouteAttribute::Oif(2)].into_iter().chain(source.map(RouteAttribute::PrefSource));
        answer(&route_message(254, RouteType::Unicast, attributes.collect()))
    };
    let path = Path::OnLink { ifindex: 2, mtu: None };
    assert_eq!(on_link(None), Answer { path: path.clone(), source: None });
    assert_eq!(on_link(Some(GATEWAY.into())), Answer { path, source: Some(GATEWAY.into()) });
}

#[test]
fn only_main_and_local_count_and_the_attribute_beats_the_header() {
    let on_link = || vec![RouteAttribute::Oif(2)];
    assert!(route(&route_message(7, RouteType::Unicast, on_link())).is_none());
    let far = vec![RouteAttribute::Oif(2), RouteAttribute::Table(1000)];
    assert!(route(&route_message(254, RouteType::Unicast, far)).is_none());
    assert_eq!(route(&route_message(255, RouteType::Local, on_link())).unwrap().path, Path::Local);
}

#[test]
fn dead_loopback_and_broadcast_routes_are_left_out() {
    let mut dead = route_message(254, RouteType::Unicast, vec![RouteAttribute::Oif(2)]);
    dead.header.flags = RouteFlags::Dead;
    assert!(route(&dead).is_none());
    assert!(route(&route_message(255, RouteType::Broadcast, vec![])).is_none());
    let loopback = vec![RouteAttribute::Destination(Ipv4Addr::new(127, 0, 0, 0).into())];
    assert!(route(&route_message(255, RouteType::Local, loopback)).is_none());
}

#[test]
fn what_only_the_kernel_can_do_is_named() {
    assert!(special(vec![RouteAttribute::MultiPath(vec![])]).contains("multipath"));
    assert!(special(vec![RouteAttribute::Oif(2), RouteAttribute::NhId(7)]).contains("next-hop object"));
    assert!(special(vec![RouteAttribute::Oif(2), RouteAttribute::Encap(vec![])]).contains("encapsulates"));
    assert!(
        special(vec![RouteAttribute::Source("2001:db8::1".parse::<Ipv6Addr>().unwrap().into())])
            .contains("sources")
    );
    assert!(special(vec![]).contains("no interface"));
    let blackhole = path(&route_message(254, RouteType::BlackHole, vec![]));
    assert_eq!(blackhole, Path::Special("it is of type blackhole".to_owned()));
}

fn rule_message(attributes: Vec<RuleAttribute>) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.header.table = 254;
    message.attributes = attributes;
    message
}

#[test]
fn rules_with_selectors_are_not_unconditional() {
    let plain = vec![RuleAttribute::Priority(32766), RuleAttribute::SuppressPrefixLen(u32::MAX)];
    let plain = rule(&rule_message(plain)).unwrap();
    assert_eq!((plain.priority, plain.table, plain.unconditional), (32766, Some(254), true));
    assert!(!rule(&rule_message(vec![RuleAttribute::FwMark(1)])).unwrap().unconditional);
    assert!(!rule(&rule_message(vec![RuleAttribute::SuppressPrefixLen(0)])).unwrap().unconditional);
}

#[test]
fn rules_of_other_families_are_left_out() {
    let mut message = rule_message(vec![]);
    message.header.family = AddressFamily::Other(128);
    assert_eq!(rule(&message), None);
}

#[test]
fn neighbours_keep_their_address_only_while_it_is_valid() {
    let states = [
        (NeighbourState::Reachable, Condition::Sure, true),
        (NeighbourState::Permanent, Condition::Sure, true),
        (NeighbourState::Noarp, Condition::Sure, true),
        (NeighbourState::Stale, Condition::Stale, true),
        (NeighbourState::Delay, Condition::Asking, true),
        (NeighbourState::Probe, Condition::Asking, true),
        (NeighbourState::Incomplete, Condition::Asking, false),
        (NeighbourState::Failed, Condition::Missing, false),
        (NeighbourState::None, Condition::Missing, false),
    ];
    for (state, condition, valid) in states {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(GATEWAY.into()),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]),
        ];
        let (_, neighbour) = neighbour(&message).unwrap();
        assert_eq!((neighbour.condition, neighbour.mac.is_some()), (condition, valid), "{state:?}");
    }
}

#[test]
fn addresses_of_other_lengths_are_not_ethernet() {
    let mut message = NeighbourMessage::default();
    message.header.state = NeighbourState::Reachable;
    message.attributes = vec![
        NeighbourAttribute::Destination(GATEWAY.into()),
        NeighbourAttribute::LinkLayerAddress(vec![0; 20]),
    ];
    assert_eq!(neighbour(&message).unwrap().1.mac, None);
}

#[test]
fn on_a_point_to_point_link_the_local_address_is_ours() {
    let mut message = AddressMessage::default();
    let (ours, peer) = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
    message.attributes = vec![AddressAttribute::Address(peer), AddressAttribute::Local(ours)];
    message.header.index = 7;
    assert_eq!(address(&message), Some((7, ours)));
    message.attributes = vec![AddressAttribute::Address(IpAddr::from([127, 0, 0, 1]))];
    assert_eq!(address(&message), None);
}

#[test]
fn a_link_without_carrier_is_not_up() {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.attributes =
        vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1])];
    assert!(!link(&message).unwrap().up);
    message.header.flags |= LinkFlags::LowerUp;
    let link = link(&message).unwrap();
    assert!(link.up && link.mac == Some([2, 0, 0, 0, 0, 1]));
}
