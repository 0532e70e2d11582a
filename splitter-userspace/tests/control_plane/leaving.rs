//! `drain` and `switch` with what they leave: one line, and with `--wait` all that follows.

use std::time::Duration;

use crate::daemon::{Ended, Served};
use serde_json::json;
use splitter_userspace::api::model::{BackendStatus, DeadlineStatus, End, Left, Live};

/// Under drain in the sample, with 12 live connections.
const BACKEND: &str = "10.0.1.12:8443";

/// A daemon whose changes leave `connections` on [`BACKEND`].
fn leaving(connections: u64) -> Served {
    let served = Served::start();
    let live =
        Live { connections, oldest_s: 200.0, decline_per_s: 1.25, complete: false, complete_in_s: 860.0 };
    let backends = vec![BACKEND.parse().unwrap()];
    let left = Left { cause: "drain".into(), what: BACKEND.into(), backends, live, deadline: None };
    served.fake.memory().left = Some(left);
    served
}

fn edit(served: &Served, edit: impl FnOnce(&mut BackendStatus)) {
    edit(&mut served.fake.memory().status.services[0].pools[0].backends[1]);
}

/// Runs `drain` with `--wait`, and lets `meanwhile` happen after a while.
async fn drain(served: &Served, words: &[&str], meanwhile: impl FnOnce(&mut BackendStatus)) -> Ended {
    let command = [&["drain", "web", BACKEND, "--wait"], words].concat();
    let ended = served.run(&command);
    let later = async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        edit(served, meanwhile);
    };
    tokio::join!(ended, later).0
}

#[tokio::test]
async fn a_change_prints_what_it_leaves() {
    let served = leaving(37);
    let done = served.run(&["drain", "web", BACKEND]).await;
    let (first, second) = done.out.split_once('\n').unwrap();
    assert!(done.code == 0 && first.ends_with("0 live connections moved)"), "{done:?}");
    assert_eq!(
        second,
        "left on 10.0.1.12:8443: 37 live connections seen since the drain, the oldest for 3m 20s, 1.2/s fewer; silent ones are \
         counted within 14m 20s\n"
    );
    let left = json!({ "cause": "drain", "what": BACKEND, "backends": [BACKEND],
        "live": { "connections": 37, "oldest_s": 200.0, "decline_per_s": 1.25, "complete": false,
            "complete_in_s": 860.0 }, "deadline": null });
    assert_eq!(served.run(&["switch", "web", "green", "-o", "json"]).await.json()["left"], left);
}

#[tokio::test]
async fn it_is_followed_until_nothing_is_left() {
    let served = leaving(0);
    let ended = drain(&served, &[], |backend| {
        (backend.exceptions, backend.live) = (0, Some(Live::NOTHING));
    })
    .await;
    let lines: Vec<_> = ended.out.lines().collect();
    assert!(ended.code == 0 && lines.len() == 4, "{ended:?}");
    assert!(lines[2].starts_with("left on 10.0.1.12:8443: 12 live connections seen"), "{ended:?}");
    assert!(lines[3].starts_with("10.0.1.12:8443 is drained (waited "), "{ended:?}");
}

#[tokio::test]
async fn it_is_followed_until_the_deadline_has_done_its_work() {
    for (then, words) in
        [(End::Leave, "12 live connections left alone"), (End::Reset, "what is left is reset")]
    {
        let served = leaving(12);
        let passed = DeadlineStatus { in_s: 0.0, then, applied: true };
        let words_of = ["--deadline", "1m", "--then", then.as_str()];
        let ended = drain(&served, &words_of, |backend| backend.deadline = Some(passed)).await;
        assert!(ended.code == 0 && ended.out.contains(words), "{ended:?}");
        edit(&served, |backend| backend.deadline = Some(passed));
        let ended = served.run(&["drain", "web", BACKEND, "--wait", "-o", "json"]).await;
        let last: serde_json::Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
        assert_eq!(last["outcome"], if then == End::Leave { "left" } else { "reset" });
    }
}

#[tokio::test]
async fn what_was_not_reached_is_undecided() {
    let served = leaving(12);
    let ended = drain(&served, &["--timeout", "600ms"], |_| {}).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("10.0.1.12:8443 is not drained in time: left on"), "{ended:?}");
    let ended = drain(&served, &[], |backend| backend.slots = 7).await;
    assert!(ended.code == 3 && ended.err.contains("gets new connections again"), "{ended:?}");
}

#[tokio::test]
async fn a_change_that_leaves_nothing_is_not_followed() {
    let served = Served::start();
    let done = served.run(&["switch", "web", "green", "--wait"]).await;
    assert_eq!((done.code, done.out.lines().count()), (0, 1), "{done:?}");
}
