//! The parser as its callers see it: whole texts in, a configuration or every mistake out.

use std::{path::Path, time::Duration};

use proptest::prelude::*;

use super::*;

mod rules;

/// Every key there is.
const FULL: &str = include_str!("full_example.toml");

fn parse_text(text: &str) -> Result<Config, ConfigErrors> {
    parse(Path::new("splitter.toml"), text)
}

/// `line:column: key: message` of every mistake.
fn mistakes(text: &str) -> Vec<String> {
    match parse_text(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.mistakes().iter().map(ToString::to_string).collect(),
    }
}

/// The full example with one thing changed.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(FULL.matches(from).count(), 1, "`{from}` must stand once in the example");
    FULL.replace(from, to)
}

/// The only mistake after one change.
#[track_caller]
fn mistake_after(from: &str, to: &str) -> String {
    let found = mistakes(&changed(from, to));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_full_example_is_read_as_written() {
    let config = parse_text(FULL).unwrap();
    let daemon = &config.daemon;
    assert_eq!(daemon.interfaces, ["eth0", "eth1"]);
    assert_eq!((daemon.xdp_mode, daemon.max_services, daemon.flow_table), (XdpMode::Native, 8, 65_536));
    assert_eq!((daemon.fragment_table, daemon.preview_table), (4_096, 8_192));
    assert_eq!(daemon.snat_ports, 2_048..=30_000);
    assert_eq!(daemon.direct, ["10.9.0.0/16".parse().unwrap(), "2001:db8:9::/48".parse().unwrap()]);
    let [web, dns] = &config.services[..] else { panic!("two services") };
    assert_eq!((web.name.as_str(), web.port, web.protocol), ("web", 443, Protocol::Tcp));
    assert_eq!(web.pools[&PoolName::Canary].weight.basis_points(), 125);
    assert_eq!(web.pools[&PoolName::Blue].backends[1].weight, 2);
    assert_eq!(web.health.as_ref().unwrap().interval, Duration::from_millis(500));
    let route = |source: &str, pool| RouteRule { source: source.parse().unwrap(), pool };
    assert_eq!(web.routes, [route("10.20.0.0/16", PoolName::Canary), route("10.20.30.0/24", PoolName::Blue)]);
    let preview = Preview { address: [192, 0, 2, 11].into(), port: 8443, pool: PoolName::Canary };
    assert_eq!(web.previews, [preview]);
    assert_eq!((dns.affinity, dns.no_backend), (Affinity::Client, NoBackend::Drop));
    assert_eq!((dns.stable, dns.udp_idle_timeout), (PoolName::Green, Duration::ZERO));
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = r#"
        daemon = { interfaces = ["eth0"], hash_seed = "12345678" }
        [[service]]
        name = "web"
        address = "192.0.2.10"
        port = 80
        protocol = "tcp"
        stable = "blue"
        pool.blue.weight = 100
    "#;
    let config = parse_text(text).unwrap();
    assert_eq!(config.daemon.socket, Path::new("/run/splitter/splitter.sock"));
    assert_eq!((config.daemon.max_services, config.daemon.max_backends), (64, 4096));
    assert_eq!((config.daemon.flow_table, config.daemon.embryonic_table), (1_048_576, 262_144));
    assert_eq!((config.daemon.fragment_table, config.daemon.preview_table), (16_384, 65_536));
    assert_eq!(config.daemon.snat_ports, 1_024..=32_767);
    let service = &config.services[0];
    assert!(service.routes.is_empty() && service.previews.is_empty());
    assert_eq!(service.idle_timeout, Duration::from_secs(900));
    assert_eq!(service.udp_idle_timeout, Duration::from_secs(30));
    assert_eq!((service.mode, service.affinity), (ForwardMode::Dnat, Affinity::Connection));
    assert!(service.pools[&PoolName::Blue].backends.is_empty());
    assert_eq!(service.health, None);
}

#[test]
fn an_empty_health_table_has_defaults() {
    let (before, rest) = FULL.split_once("interval = \"500ms\"").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let config = parse_text(&format!("{before}\n{after}"));
    let health = config.unwrap().services[0].health.clone().unwrap();
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!((health.rise, health.fall), (2, 3));
}

#[test]
fn an_empty_file_says_what_is_missing() {
    assert_eq!(
        mistakes(""),
        ["1:1: daemon: is missing: add `[daemon]`", "1:1: service: is missing: add `[[service]]`"]
    );
}

#[test]
fn what_is_there_and_wrong_is_not_called_missing() {
    let found = mistakes("daemon = 5\nservice = 7\n");
    assert_eq!(
        found,
        [
            "1:10: daemon: expected a table, found an integer",
            "2:11: service: expected an array, found an integer: write [[service]] above each service",
        ]
    );
    let found = mistake_after("[\"eth0\", \"eth1\"]", "[]");
    assert_eq!(found, "2:14: daemon.interfaces: is empty: add `interfaces = [\"eth0\"]`");
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let text = r#"[daemon]
interfaces = ["eth0", "eth0", ""]
xdp_mode = "nativ"
hash_sed = "12345678"
socket = 5
direct = ["10.9.1.0/16"]

[[service]]
name = "web"
address = "192.0.2.300"
port = 70000
protocol = "tcp"
stable = "blue"
colour = "red"
[service.pool.blue]
weight = 90
backends = [{ address = "10.0.1.11", prot = 80 }, 7]
[service.pool.purple]
weight = 10
"#;
    assert_eq!(
        mistakes(text),
        [
            "1:1: daemon.hash_seed: is missing: add `hash_seed = \"a fleet-wide secret\"`",
            "2:23: daemon.interfaces[1]: `eth0` is listed twice: remove one",
            "2:31: daemon.interfaces[2]: `` is not an interface name: 1 to 15 bytes without blanks and `/`",
            "3:12: daemon.xdp_mode: no `nativ` here: did you mean `native`?",
            "4:1: daemon.hash_sed: unknown key: did you mean `hash_seed`?",
            "5:10: daemon.socket: expected a path in quotes, found an integer",
            "6:11: daemon.direct[0]: `10.9.1.0/16` has host bits set: write 10.9.0.0/16",
            "10:11: service[0].address: `192.0.2.300` is not an IP address: write it like 192.0.2.10 or \
             2001:db8::10; names are not resolved",
            "11:8: service[0].port: 70000 is not a whole number from 1 to 65535",
            "14:1: service[0].colour: unknown key: known here are pool, address, preview, name, port, protocol, \
             stable, route, mode, affinity, idle_timeout, udp_idle_timeout, no_backend, health",
            "15:10: service[0].pool: weights add up to 90%, not 100% (blue 90%): raise them by 10%",
            "17:13: service[0].pool.blue.backends[0].port: is missing: add `port = 8443`",
            "17:38: service[0].pool.blue.backends[0].prot: unknown key: did you mean `port`?",
            "17:51: service[0].pool.blue.backends[1]: expected a table, found an integer",
            "18:15: service[0].pool.purple: unknown key: known here are blue, green, canary",
        ]
    );
}

#[test]
fn syntax_errors_stand_beside_the_others() {
    let text = changed("port = 443\n", "port =\n").replace("xdp_mode = \"native\"", "xdp_mode = \"none\"");
    let found = mistakes(&text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("3:12: daemon.xdp_mode: no `none` here"), "{found:#?}");
    assert!(found[1].contains("not valid TOML"), "{found:#?}");
}

#[test]
fn a_key_defined_twice_is_named() {
    let found = mistake_after("port = 443\n", "port = 443\nport = 444\n");
    assert_eq!(found, "21:1: this key or table is defined twice: keep one of the two");
}

#[test]
fn weights_must_add_up() {
    let found = mistake_after("weight = 1.25", "weight = 1.5");
    assert!(
        found
            .ends_with("weights add up to 100.25%, not 100% (blue 98.75%, canary 1.5%): lower them by 0.25%"),
        "{found}"
    );
    let found = mistake_after("weight = 1.25", "weight = 1.255");
    assert!(found.contains("at most two decimals"), "{found}");
}

#[test]
fn the_stable_pool_exists_and_may_be_empty_only_beside_an_empty_one() {
    let found = mistake_after("stable = \"green\"", "stable = \"blue\"");
    assert!(
        found.ends_with("service[1].stable: there is no pool `blue`: add [service.pool.blue]"),
        "{found}"
    );
    let found = mistake_after("stable = \"green\"", "stable = \"canary\"");
    assert!(found.contains("canary is the version on trial"), "{found}");

    let with_blue = changed("stable = \"green\"", "stable = \"blue\"") + "[service.pool.blue]\nweight = 0\n";
    let found = mistakes(&with_blue);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].ends_with("blue has weight 0 and green has not: set stable = \"green\""), "{found:#?}");

    let all_canary = changed("weight = 98.75", "weight = 0").replace("weight = 1.25", "weight = 100");
    assert_eq!(mistakes(&all_canary), [""; 0]);
}

#[test]
fn nothing_is_claimed_twice() {
    let found = mistake_after("name = \"dns\"", "name = \"web\"");
    assert!(found.contains("`web` is the name of the service in line 18 too"), "{found}");
    let found = mistake_after("{ address = \"10.0.3.11\"", "{ address = \"10.0.1.11\"");
    assert!(found.contains("10.0.1.11:8443 is a backend of this service already (line 32)"), "{found}");
}

#[test]
fn services_do_not_share_endpoints_or_backends() {
    let second = |address: &str, port: u16, backend: &str| {
        format!(
            "{FULL}\n[[service]]\nname = \"more\"\naddress = \"{address}\"\nport = {port}\nprotocol = \"tcp\"\n\
             stable = \"blue\"\n[service.pool.blue]\nweight = 100\n\
             backends = [{{ address = \"{backend}\", port = 8443 }}]\n"
        )
    };
    assert_eq!(mistakes(&second("192.0.2.10", 80, "10.0.9.9")), [""; 0]);
    let found = mistakes(&second("192.0.2.10", 443, "10.0.9.9"));
    assert!(found[0].contains("192.0.2.10:443/tcp belongs to service web (line 17)"), "{found:#?}");
    let found = mistakes(&second("192.0.2.10", 80, "10.0.1.12"));
    assert!(found[0].contains("10.0.1.12:8443/tcp is a backend of service web already"), "{found:#?}");
    let found = mistakes(&second("192.0.2.10", 8443, "192.0.2.10"));
    assert!(found[0].contains("is the virtual endpoint of service more"), "{found:#?}");
}

#[test]
fn health_checks_are_for_tcp() {
    let text = format!("{FULL}[service.health]\n");
    assert!(mistakes(&text)[0].contains("service[1].health: the health check connects over TCP"));
}

#[test]
fn the_maps_must_have_room() {
    let found = mistake_after("max_services = 8", "max_services = 1");
    assert!(
        found.contains(
            "service[0].preview[0]: the file has 2 services, 1 preview and 2 pools that routes lead to, and \
             daemon.max_services is 1 for all of them: raise it"
        ),
        "{found}"
    );
    let found = mistake_after("max_services = 8", "max_services = 3");
    assert!(found.contains("service[0].route[1].pool: the file has 2 services"), "{found}");
    let found = mistake_after("max_services = 8", "max_services = 4");
    assert!(found.contains("service[1]: the file has 2 services"), "{found}");
    assert_eq!(mistakes(&changed("max_services = 8", "max_services = 5")), [""; 0]);
    let found = mistake_after("max_backends = 16", "max_backends = 3");
    assert!(found.contains("the file has 4 backends, and daemon.max_backends is 3"), "{found}");
}

#[test]
fn no_file_makes_more_mistakes_than_the_limit() {
    let text: String = (0..150).map(|n| format!("key{n} = 1\n")).collect();
    let errors = parse_text(&text).unwrap_err();
    assert_eq!((errors.mistakes().len(), errors.more()), (ConfigErrors::LIMIT, 52));
}

#[test]
fn files_that_cannot_be_read_are_told_from_wrong_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("splitter.toml");
    let message = load(&path).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read the config file") && message.contains("No such file"),
        "{message}"
    );
    fs::write(&path, b"# ok\nname = \"\xff\"\n").unwrap();
    let message = load(&path).unwrap_err().to_string();
    assert!(message.contains(":2:9: not UTF-8"), "{message}");
    fs::write(&path, FULL).unwrap();
    assert_eq!(load(&path).unwrap(), parse_text(FULL).unwrap());
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    for end in (0..FULL.len()).filter(|&end| FULL.is_char_boundary(end)) {
        if let Err(errors) = parse_text(&FULL[..end]) {
            assert!(!errors.mistakes().is_empty());
            assert!(errors.mistakes().iter().all(|e| e.line >= 1 && e.column >= 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_never_panics(
        damage in prop::collection::vec((0..FULL.len(), any::<u8>(), 0..4_usize), 1..6)
    ) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (offset, byte, removed) in damage {
            let start = offset.min(bytes.len());
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, [byte]);
        }
        if let Err(errors) = parse_text(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!errors.mistakes().is_empty());
        }
    }

    #[test]
    fn any_lines_in_any_order_never_panic(order in prop::collection::vec(0..200_usize, 0..60)) {
        let lines: Vec<_> = FULL.lines().collect();
        let text: String = order.iter().flat_map(|n| [lines[n % lines.len()], "\n"]).collect();
        if let Err(errors) = parse_text(&text) {
            prop_assert!(!errors.mistakes().is_empty());
        }
    }
}
