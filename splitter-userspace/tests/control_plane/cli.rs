//! The real `splitter` against a daemon without a kernel: exit codes, output, errors.

use std::{path::Path, process::Stdio, time::Duration};

use crate::daemon::{STATS, STATUS, Served, event, run, splitter};
use serde_json::{Value, json};
use splitter_userspace::api::model::Live;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const CHANGE_LINE: &str =
    "weights web canary 0% -> 5% (gen 42 -> 43, 3277 slots moved, 0 live connections moved)\n";

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn status_is_a_table_or_the_models_json() {
    let served = Served::start();
    let table = served.run(&["status"]).await;
    assert_eq!((table.code, table.out.as_str()), (0, include_str!("../../src/cli/render/sample_status.txt")));
    let json = served.run(&["status", "web", "--output", "json"]).await;
    assert_eq!((json.code, json.json()), (0, value(STATUS)));
    assert_eq!(json.out.lines().count(), 1);
}

#[tokio::test]
async fn stats_and_explain_have_both_forms() {
    let served = Served::start();
    assert_eq!(served.run(&["stats", "-o", "json"]).await.json(), value(STATS));
    assert!(served.run(&["stats", "web"]).await.out.contains("no_next_hop"));
    let explain = served.run(&["explain", "web", "[2001:db8::7]:40000", "-o", "json"]).await;
    let expected = json!({
        "service": "web", "client": "[2001:db8::7]:40000", "generation": 42, "slot": 7, "state": "clean",
        "new_connection": null, "live_connection": null, "why": "clean slot: no table is consulted"
    });
    assert_eq!(explain.json(), expected);
    assert!(served.run(&["explain", "web", "198.51.100.7:40000"]).await.out.contains("7 (clean)"));
}

#[tokio::test]
async fn a_change_prints_its_line_and_nothing_else() {
    let served = Served::start();
    let done = served.run(&["weights", "web", "canary=5", "blue=95", "--reason", "ticket 5"]).await;
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, CHANGE_LINE, ""));
    let request = served.fake.memory().requests[0].clone();
    assert_eq!(
        serde_json::to_value(request).unwrap(),
        json!({ "service": "web", "action": "weights", "weights": { "blue": 95.0, "canary": 5.0 },
            "reason": "ticket 5" })
    );
}

#[tokio::test]
async fn a_change_in_json_has_stable_names() {
    let served = Served::start();
    let done = served.run(&["switch", "web", "green", "-o", "json", "--reason", "go"]).await;
    let split = json!({ "stable": "blue", "weights": { "blue": 100.0, "canary": 0.0 } });
    assert_eq!(
        done.json(),
        json!({
            "line": CHANGE_LINE.trim_end(), "service": "web", "generation_before": 42, "generation": 43,
            "slots_moved": 3277, "connections_moved": 0, "took_ms": 1.5, "before": split, "after": split,
            "programmed": { "blue": 0.95, "canary": 0.05 }, "reason": "go"
        })
    );
}

#[tokio::test]
async fn every_change_sends_its_action() {
    let served = Served::start();
    for (args, action) in [
        (&["switch", "web", "green"][..], json!({ "action": "switch", "pool": "green" })),
        (&["rollback", "web"], json!({ "action": "rollback" })),
        (
            &["drain", "web", "10.0.1.11:8443"],
            json!({ "action": "admin", "backend": "10.0.1.11:8443", "state": "drain" }),
        ),
        (
            &["drain", "web", "10.0.1.11:8443", "--deadline", "10m"],
            json!({ "action": "admin", "backend": "10.0.1.11:8443", "state": "drain",
                "deadline": { "after_ms": 600_000, "then": "leave" } }),
        ),
        (
            &["switch", "web", "green", "--deadline", "90s", "--then", "reset"],
            json!({ "action": "switch", "pool": "green", "deadline": { "after_ms": 90_000, "then": "reset" } }),
        ),
        (
            &["ready", "web", "10.0.1.11:8443"],
            json!({ "action": "admin", "backend": "10.0.1.11:8443", "state": "ready" }),
        ),
        (
            &["maint", "web", "10.0.1.11:8443"],
            json!({ "action": "admin", "backend": "10.0.1.11:8443", "state": "maint" }),
        ),
    ] {
        assert_eq!(served.run(args).await.code, 0);
        let mut sent = serde_json::to_value(served.fake.memory().requests.pop().unwrap()).unwrap();
        let rest = sent.as_object_mut().unwrap();
        assert_eq!((rest.remove("service"), rest.remove("reason")), (Some(json!("web")), Some(json!(""))));
        assert_eq!(sent, action);
    }
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let served = Served::start();
    for (args, code, words) in [
        (&["rollback", "web", "--reason", "break"][..], 1, "splitter: the map is gone"),
        (&["rollback"], 2, "required"),
        (&["fly"], 2, "unrecognized"),
        (&["weights", "web", "canary"], 2, "POOL=PERCENT"),
        (&["weights", "web", "canary=lots"], 2, "not a number"),
        (&["explain", "web", "198.51.100.7"], 2, "write an address and a port"),
        (&["rollback", "dns"], 4, "there is no service `dns`"),
        (&["weights", "web", "purple=5"], 4, "there is no pool `purple`"),
        (&["weights", "web", "canary=101"], 4, "is not a weight"),
        (&["switch", "web", "purple"], 4, "there is no pool `purple`"),
        (&["drain", "web", "10.0.1.11:8443", "--deadline", "soon"], 2, "write a duration, e.g. 10m"),
        (
            &["drain", "web", "10.0.1.11:8443", "--deadline", "0s"],
            2,
            "out of bounds: give one from 1s to 30days",
        ),
        (&["switch", "web", "green", "--deadline", "31days"], 2, "out of bounds"),
        (
            &["switch", "web", "green", "--deadline", "1m", "--then", "fly"],
            2,
            "[possible values: leave, reset]",
        ),
        (&["drain", "web", "10.0.1.11:8443", "--then", "reset"], 2, "--deadline <TIME>"),
        (&["switch", "web", "green", "--timeout", "1m"], 2, "--wait"),
        (&["ready", "web", "10.0.1.11:8443", "--deadline", "1m"], 2, "unexpected argument"),
        (&["status", "dns", "--watch"], 4, "there is no service `dns`"),
        (&["status", "--socket", "/nonexistent/s"], 5, "cannot reach splitterd on /nonexistent/s"),
    ] {
        let ended = served.run(args).await;
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{args:?}: {ended:?}");
        assert!(ended.err.contains(words), "{args:?}: {ended:?}");
    }
}

#[tokio::test]
async fn errors_in_json_have_a_code_and_a_message() {
    let served = Served::start();
    let refused = served.run(&["rollback", "dns", "-o", "json"]).await;
    let expected = json!({ "code": "refused", "message": "there is no service `dns`: there is web" });
    assert_eq!((refused.code, value(&refused.err)), (4, expected));
}

#[tokio::test]
async fn wait_ends_when_the_goal_is_reached() {
    let served = Served::start();
    let waiting = served.splitter(&["wait", "web", "--for", "drained", "--timeout", "1m"]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    {
        let service = &mut served.fake.memory().status.services[0];
        let backend = &mut service.pools[0].backends[1];
        (backend.exceptions, backend.live) = (0, Some(Live::NOTHING));
    }
    let output = waiting.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with("web is drained (waited "), "{text}");
    assert_eq!(
        served.run(&["wait", "web", "--for", "healthy", "-o", "json"]).await.json()["state"],
        "healthy"
    );
}

#[tokio::test]
async fn wait_says_what_is_lacking_when_time_is_up() {
    let served = Served::start();
    let ended = served.run(&["wait", "web", "--for", "drained", "--timeout", "300ms"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert_eq!(
        ended.err,
        "splitter: web is not drained after 300ms: 10.0.1.12:8443 has 0 slots and 12 exceptions: \
         wait longer with --timeout\n"
    );
    let ended = served.run(&["wait", "web", "--for", "complete", "--timeout", "0s"]).await;
    assert!(ended.code == 3 && ended.err.contains("655 are dirty and 7 tracked"), "{ended:?}");
    assert_eq!(served.run(&["wait", "dns", "--for", "complete"]).await.code, 4);
    let args = ["wait", "web", "--for", "drained", "--backend", "10.0.9.9:1"];
    assert_eq!(served.run(&args).await.code, 4);
}

#[tokio::test]
async fn events_are_lines() {
    let served = Served::start();
    let table = served.run(&["events"]).await;
    assert_eq!(
        table.out,
        "2023-11-14T22:13:20.001Z  change    event 1\n2023-11-14T22:13:20.002Z  change    event 2\n"
    );
    let json = served.run(&["events", "-o", "json"]).await;
    let first = json!({ "sequence": 1, "time_unix_ms": 1_700_000_000_001_u64, "kind": "change",
        "service": "web", "generation": 42, "line": "event 1" });
    assert_eq!(value(json.out.lines().next().unwrap()), first);
}

#[tokio::test]
async fn followed_events_are_printed_at_once_and_a_stopped_daemon_is_told() {
    let served = Served::start();
    let mut child = served.splitter(&["events", "--follow"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for sequence in 1..=3 {
        if sequence == 3 {
            served.fake.tell(event(3));
        }
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(line.ends_with(&format!("event {sequence}")), "{line}");
    }
    served.stop().await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ended the feed"));
}

#[tokio::test]
async fn watch_without_a_terminal_prints_one_object_per_second() {
    let served = Served::start();
    let mut child = served.splitter(&["status", "--watch", "-o", "json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert_eq!(value(&lines.next_line().await.unwrap().unwrap()), value(STATUS));
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_closed_pipe_ends_quietly() {
    let served = Served::start();
    for args in [&["status"][..], &["status", "--watch"], &["events"], &["completions", "bash"]] {
        let mut child = served.splitter(args).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((child.wait().await.unwrap().code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error() {
    let served = Served::start();
    let mut command = served.splitter(&["status"]);
    command.stdout(Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()));
    let ended = run(command).await;
    assert!(ended.code == 1 && ended.err.contains("cannot write the output"), "{ended:?}");
}

#[tokio::test]
async fn validate_needs_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("splitter.toml");
    let path = file.to_str().unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/full_example.toml"), &file).unwrap();
    let valid = run(splitter(&["validate", "-f", path])).await;
    assert_eq!((valid.code, valid.out), (0, format!("{path}: valid (services: 2, backends: 4)\n")));
    let valid = run(splitter(&["validate", "-f", path, "-o", "json"])).await;
    let expected =
        json!({ "file": path, "valid": true, "services": 2, "backends": 4, "mistakes": [], "more": 0 });
    assert_eq!((valid.code, valid.json()), (0, expected));
    let missing = run(splitter(&["validate", "-f", "/nonexistent.toml"])).await;
    assert!(missing.code == 1 && missing.err.contains("cannot read the config file"), "{missing:?}");
}

#[tokio::test]
async fn validate_reports_every_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("splitter.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[daemon]\ninterfaces = [\"eth0\"]\nhash_seed = \"short\"\n").unwrap();
    let wrong = run(splitter(&["validate", "-f", path])).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (4, ""));
    assert!(wrong.err.contains(&format!("\n{path}:3:13: daemon.hash_seed: is too short")), "{wrong:?}");
    assert!(wrong.err.contains(&format!("\n{path}:1:1: service: is missing")), "{wrong:?}");
    let wrong = run(splitter(&["validate", "-f", path, "-o", "json"])).await;
    let verdict = wrong.json();
    assert_eq!((wrong.code, &verdict["valid"], &verdict["more"]), (4, &json!(false), &json!(0)));
    let expected = json!({ "line": 3, "column": 13, "key": "daemon.hash_seed",
        "message": "is too short to be a secret: use at least 8 characters" });
    assert_eq!(verdict["mistakes"][1], expected);
    assert_eq!(value(&wrong.err)["code"], "refused");
}

#[tokio::test]
async fn completions_are_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let done = run(splitter(&["completions", shell])).await;
        assert!(done.code == 0 && done.out.contains("rollback"), "{shell}");
    }
}
