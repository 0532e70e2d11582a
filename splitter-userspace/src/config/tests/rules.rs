//! Modes, routes, previews and both protocols on a port.

use super::*;

/// A service that is right, with `more` in its own table and `tables` after its pools.
fn service(
    name: &str,
    endpoint: (&str, u16, &str),
    backend: (&str, u16),
    more: &str,
    tables: &str,
) -> String {
    let ((address, port, protocol), (server, server_port)) = (endpoint, backend);
    format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
         stable = \"blue\"\n{more}\n[service.pool.blue]\nweight = 100\n\
         backends = [{{ address = \"{server}\", port = {server_port} }}]\n[service.pool.green]\nweight = 0\n{tables}\n"
    )
}

/// `more` and `tables` in a plain service on 192.0.2.1:80, whose backend is 10.0.0.1:80.
fn plain(more: &str, tables: &str) -> String {
    service("plain", ("192.0.2.1", 80, "tcp"), ("10.0.0.1", 80), more, tables)
}

fn daemon(more: &str) -> String {
    format!("daemon = {{ interfaces = [\"eth0\"], hash_seed = \"12345678\", max_services = 4096 {more} }}\n")
}

/// The mistakes of a file of these services.
fn found(services: &[String]) -> Vec<String> {
    mistakes(&(daemon("") + &services.concat()))
}

/// The only mistake in a file of these services.
#[track_caller]
fn only(services: &[String]) -> String {
    let found = found(services);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

fn route(source: &str, pool: &str) -> String {
    format!("[[service.route]]\nsource = \"{source}\"\npool = \"{pool}\"\n")
}

fn preview(endpoint: &str, pool: &str) -> String {
    format!("[[service.preview]]\n{endpoint}\npool = \"{pool}\"\n")
}

#[test]
fn every_mode_can_be_chosen() {
    for mode in [ForwardMode::Dnat, ForwardMode::Snat, ForwardMode::DsrL2, ForwardMode::DsrIpip] {
        let text = daemon("") + &plain(&format!("mode = \"{mode}\""), "");
        assert_eq!(parse_text(&text).unwrap().services[0].mode, mode);
    }
    let message = only(&[plain("mode = \"dsr-ip\"", "")]);
    assert!(message.ends_with("no `dsr-ip` here: did you mean `dsr-l2`?"), "{message}");
}

#[test]
fn only_a_tunnel_joins_two_families() {
    let mixed = |mode: &str| {
        let more = format!("mode = \"{mode}\"");
        service("mixed", ("192.0.2.1", 80, "tcp"), ("2001:db8::9", 80), &more, "")
    };
    assert_eq!(found(&[mixed("dsr-ipip")]), [""; 0]);
    for mode in ["dnat", "snat", "dsr-l2"] {
        let message = only(&[mixed(mode)]);
        assert!(
            message.contains("2001:db8::9 is IPv6 but the service's address is IPv4: use one"),
            "{message}"
        );
        assert!(message.contains("mode = \"dsr-ipip\""), "{message}");
    }
    // Nothing is known of a mode that could not be read.
    assert!(only(&[mixed("dsr")]).contains("no `dsr` here"));
}

#[test]
fn a_port_that_nobody_rewrites_is_the_services() {
    let other = |mode: &str| {
        let more = format!("mode = \"{mode}\"");
        service("other", ("192.0.2.1", 80, "udp"), ("10.0.0.1", 8080), &more, "")
    };
    assert_eq!(found(&[other("dnat")]), [""; 0]);
    assert_eq!(found(&[other("snat")]), [""; 0]);
    for mode in ["dsr-l2", "dsr-ipip"] {
        let message = only(&[other(mode)]);
        assert!(message.contains("backends[0].port: mode dsr"), "{message}");
        assert!(message.contains("let the backend listen on 80"), "{message}");

        let more = format!("mode = \"{mode}\"");
        let message = only(&[plain(&more, &preview("port = 81", "blue"))]);
        assert!(message.contains("preview[0].port: mode dsr"), "{message}");
        assert!(message.contains("use port 80 and give the preview an address of its own"), "{message}");
        let own = preview("address = \"192.0.2.2\"\nport = 80", "blue");
        assert_eq!(found(&[plain(&more, &own)]), [""; 0]);
    }
}

#[test]
fn backends_are_shared_where_no_reply_needs_to_be_told_apart() {
    let on = |name: &str, address: &str, mode: &str, tables: &str| {
        let more = format!("mode = \"{mode}\"");
        service(name, (address, 80, "tcp"), ("10.0.0.1", 80), &more, tables)
    };
    for (first, second) in [("dsr-l2", "dsr-ipip"), ("dnat", "dsr-l2"), ("dsr-ipip", "snat")] {
        let pair = [on("a", "192.0.2.1", first, ""), on("b", "192.0.2.2", second, "")];
        assert_eq!(found(&pair), [""; 0], "{first} and {second}");
    }
    let message = only(&[on("a", "192.0.2.1", "dnat", ""), on("b", "192.0.2.2", "snat", "")]);
    assert!(message.contains("10.0.0.1:80/tcp is a backend of service a already"), "{message}");

    let health = |interval: &str| format!("[service.health]\ninterval = \"{interval}\"");
    let pair = |second: &str| {
        [on("a", "192.0.2.1", "dsr-l2", &health("1s")), on("b", "192.0.2.2", "dsr-l2", &health(second))]
    };
    assert_eq!(found(&pair("1000ms")), [""; 0]);
    let message = only(&pair("2s"));
    assert!(message.contains("service[1].health: 10.0.0.1:80 is checked for service a already"), "{message}");
}

#[test]
fn a_backend_stands_once_in_a_service_of_any_mode() {
    let twice = "backends = [{ address = \"10.0.0.1\", port = 80 }]";
    for mode in ["dnat", "dsr-l2"] {
        let message = only(&[plain(&format!("mode = \"{mode}\""), twice)]);
        assert!(message.contains("10.0.0.1:80 is a backend of this service already (line 11)"), "{message}");
    }
}

#[test]
fn both_protocols_on_a_port_leave_it_to_nobody_else() {
    let on = |name: &str, protocol: &str, backend: &str| {
        service(name, ("192.0.2.1", 53, protocol), (backend, 53), "", "")
    };
    assert_eq!(found(&[on("a", "tcp", "10.0.0.1"), on("b", "udp", "10.0.0.1")]), [""; 0]);
    for (first, second, part) in [
        ("tcp+udp", "tcp", "tcp"),
        ("tcp+udp", "udp", "udp"),
        ("udp", "tcp+udp", "udp"),
        ("tcp+udp", "tcp+udp", "tcp"),
    ] {
        let message = only(&[on("a", first, "10.0.0.1"), on("b", second, "10.0.0.2")]);
        assert!(
            message.ends_with(&format!(
                "192.0.2.1:53/{part} belongs to service a (line 2): change one of the two"
            )),
            "{message}"
        );
    }
    let elsewhere = service("b", ("192.0.2.2", 53, "udp"), ("10.0.0.1", 53), "", "");
    let message = only(&[on("a", "tcp+udp", "10.0.0.1"), elsewhere]);
    assert!(message.contains("10.0.0.1:53/udp is a backend of service a already"), "{message}");
}

#[test]
fn tcp_checks_speak_for_both_protocols() {
    let both = |protocol: &str| {
        service("a", ("192.0.2.1", 53, protocol), ("10.0.0.1", 53), "", "[service.health]\nrise = 1\n")
    };
    assert_eq!(found(&[both("tcp+udp")]), [""; 0]);
    assert!(only(&[both("udp")]).contains("the health check connects over TCP"));
}

#[test]
fn routes_name_clients_of_the_services_family_once() {
    let tables = route("10.20.0.0/16", "blue") + &route("10.20.0.0/24", "blue") + &route("0.0.0.0/0", "blue");
    assert_eq!(found(&[plain("", &tables)]), [""; 0]);
    let message = only(&[plain("", &(tables + &route("10.20.0.0/24", "blue")))]);
    assert!(message.contains("10.20.0.0/24 has a route in this service already (line 18)"), "{message}");
    let message = only(&[plain("", &route("2001:db8::/32", "blue"))]);
    assert!(message.contains("2001:db8::/32 is IPv6 but the service's address is IPv4"), "{message}");
    let message = only(&[plain("", &route("10.20.1.0/16", "blue"))]);
    assert!(
        message.ends_with("route[0].source: `10.20.1.0/16` has host bits set: write 10.20.0.0/16"),
        "{message}"
    );
}

#[test]
fn rules_lead_to_pools_that_have_backends() {
    for (rule, key) in [(route("10.0.0.0/8", "POOL"), "route"), (preview("port = 81", "POOL"), "preview")] {
        let message = |pool: &str| only(&[plain("", &rule.replace("POOL", pool))]);
        let missing = message("canary");
        assert!(missing.contains(&format!("{key}[0].pool: this service has no pool `canary`")), "{missing}");
        assert!(message("green").contains("pool green has no backend, so nobody could be sent there"));
        assert!(message("bleu").ends_with("no `bleu` here: did you mean `blue`?"));
    }
}

#[test]
fn what_a_rule_lacks_is_named() {
    assert_eq!(
        found(&[plain("", "[[service.route]]\nsorce = \"10.0.0.0/8\"\n[[service.preview]]\nprot = 1\n")]),
        [
            "14:1: service[0].route[0].source: is missing: add `source = \"10.20.0.0/16\"`",
            "14:1: service[0].route[0].pool: is missing: add `pool = \"canary\"`",
            "15:1: service[0].route[0].sorce: unknown key: did you mean `source`?",
            "16:1: service[0].preview[0].port: is missing: add `port = 8443`",
            "16:1: service[0].preview[0].pool: is missing: add `pool = \"green\"`",
            "17:1: service[0].preview[0].prot: unknown key: did you mean `port`?",
        ]
    );
    let message = only(&[plain("", "[service.route]\n")]);
    assert!(message.ends_with("expected an array, found a table: write [[service.route]] above each route"));
}

#[test]
fn a_preview_has_an_endpoint_of_its_own() {
    let text = daemon("") + &plain("", &preview("port = 81", "blue"));
    assert_eq!(
        parse_text(&text).unwrap().services[0].previews,
        [Preview { address: [192, 0, 2, 1].into(), port: 81, pool: PoolName::Blue }]
    );
    let message = only(&[plain("", &preview("port = 80", "blue"))]);
    assert!(message.contains("preview[0]: 192.0.2.1:80/tcp belongs to service plain (line 2)"), "{message}");
    let message = only(&[plain("", &preview("port = 81", "blue").repeat(2))]);
    assert!(
        message.contains("preview[1]: 192.0.2.1:81/tcp belongs to a preview of service plain (line 14)"),
        "{message}"
    );
    let message = only(&[plain("", &preview("address = \"10.0.0.1\"\nport = 80", "blue"))]);
    assert!(
        message.contains("10.0.0.1:80/tcp is the virtual endpoint of a preview of service plain"),
        "{message}"
    );
    let other = service("b", ("192.0.2.1", 81, "tcp+udp"), ("10.0.0.2", 81), "", "");
    let message = only(&[plain("", &preview("port = 81", "blue")), other]);
    assert!(
        message.contains("service[1]: 192.0.2.1:81/tcp belongs to a preview of service plain"),
        "{message}"
    );
}

#[test]
fn a_previews_address_is_one_that_clients_can_have_connected_to() {
    let at =
        |address: &str| only(&[plain("", &preview(&format!("address = \"{address}\"\nport = 80"), "blue"))]);
    assert!(
        at("2001:db8::1")
            .contains("preview[0].address: 2001:db8::1 is IPv6 but the service's address is IPv4")
    );
    for wrong in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"] {
        assert!(at(wrong).contains(&format!("preview[0].address: {wrong} is ")));
    }
}

#[test]
fn rules_are_not_without_number() {
    let routes = |count: usize| -> String {
        (0..count).map(|n| route(&format!("10.{}.{}.0/24", n / 256, n % 256), "blue")).collect()
    };
    assert_eq!(found(&[plain("", &routes(MAX_ROUTES))]), [""; 0]);
    let message = only(&[plain("", &routes(MAX_ROUTES + 2))]);
    assert!(
        message.contains("route[4096]: the service has 4098 routes and there is room for 4096"),
        "{message}"
    );
    let previews = |count: usize| -> String {
        (0..count).map(|n| preview(&format!("port = {}", 1000 + n), "blue")).collect()
    };
    assert_eq!(found(&[plain("", &previews(MAX_PREVIEWS))]), [""; 0]);
    let message = only(&[plain("", &previews(MAX_PREVIEWS + 1))]);
    assert!(
        message.contains("preview[16]: the service has 17 previews and there is room for 16"),
        "{message}"
    );
}

#[test]
fn the_daemons_ports_and_tables_have_bounds() {
    let with = |more: &str| mistakes(&(daemon(&format!(", {more}")) + &plain("", "")));
    assert_eq!(
        with("snat_ports = \"1024-1039\", fragment_table = 1024, preview_table = 67_108_864"),
        [""; 0]
    );
    let found = with("snat_ports = \"80-2000\", fragment_table = 1023, preview_table = 0");
    let keys = ["snat_ports", "fragment_table", "preview_table"];
    assert!(
        found.iter().zip(keys).all(|(message, key)| message.contains(&format!("daemon.{key}: "))),
        "{found:#?}"
    );
    assert_eq!(found.len(), keys.len());
}
