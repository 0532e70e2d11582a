//! `drain --wait` and `switch --wait`: what is left, until nothing is or the deadline has done its work.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    args::Leaving,
    failure::{Failure, FailureKind, Stop},
    output::Output,
    render, wait,
};
use crate::api::{
    client::Client,
    model::{BackendStatus, End, Left, Live, ServiceStatus},
};

/// Time between two looks.
const POLL: Duration = Duration::from_millis(500);
/// A deadline that has not done its work this long after its time is a failure of the daemon.
const GRACE: Duration = Duration::from_secs(10);

/// What `--output json` prints at the end.
#[derive(Serialize)]
struct Followed<'a> {
    service: &'a str,
    backends: &'a [std::net::SocketAddr],
    /// `drained`, `left` or `reset`.
    outcome: &'static str,
    /// Live connections at the end.
    connections: u64,
    waited_seconds: f64,
}

/// How a look found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Live connections are left, or may be.
    Going,
    /// None is left.
    Drained,
    /// The deadline has passed.
    Ended(End),
    /// New connections come again.
    Back,
    /// The deadline is no more.
    Dropped,
}

/// Prints a line whenever the count has changed; returns at the end, and fails when the time is up before.
pub async fn run(
    client: &Client,
    service: &str,
    mut left: Left,
    leaving: &Leaving,
    output: Output,
) -> Result<(), Stop> {
    let begun = Instant::now();
    let patience = leaving.timeout.or_else(|| leaving.deadline.map(|after| after + GRACE));
    let state = tokio::select! {
        state = poll(client, service, &mut left, output) => state?,
        () = elapsed(patience) => State::Going,
    };
    let outcome = match state {
        State::Drained => "drained",
        State::Ended(End::Leave) => "left",
        State::Ended(End::Reset) => "reset",
        State::Going | State::Back | State::Dropped => return Err(undecided(service, &left, state).into()),
    };
    let (connections, waited_seconds) = (left.live.connections, begun.elapsed().as_secs_f64());
    let followed = Followed { service, backends: &left.backends, outcome, connections, waited_seconds };
    output.show(&followed, |followed, _| ended(followed, &left.what))
}

async fn elapsed(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => pending().await,
    }
}

async fn poll(client: &Client, name: &str, left: &mut Left, output: Output) -> Result<State, Stop> {
    let with_deadline = left.deadline.is_some();
    loop {
        let status = client.status(Some(name)).await?;
        let service = status.services.first().ok_or_else(|| {
            Failure::new(FailureKind::Refused, format!("there is no service `{name}` any more"))
        })?;
        let told = (left.live.connections, left.live.complete);
        let state = look(service, left, with_deadline);
        if state != State::Going {
            return Ok(state);
        }
        if told != (left.live.connections, left.live.complete) {
            output.show(left, |left, _| render::left(left))?;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Brings `left` up to date.
fn look(service: &ServiceStatus, left: &mut Left, with_deadline: bool) -> State {
    let all = service.pools.iter().flat_map(|pool| &pool.backends);
    let own: Vec<&BackendStatus> = all.filter(|backend| left.backends.contains(&backend.address)).collect();
    let live = own.iter().filter_map(|backend| backend.live);
    left.live = live.fold(Live::NOTHING, Live::and);
    left.deadline = own.iter().find_map(|backend| backend.deadline);
    match left.deadline {
        _ if own.iter().any(|backend| backend.slots > 0) => State::Back,
        Some(deadline) if deadline.applied => State::Ended(deadline.then),
        _ if !own.iter().any(|backend| wait::holds(backend)) => State::Drained,
        None if with_deadline => State::Dropped,
        _ => State::Going,
    }
}

fn ended(followed: &Followed<'_>, what: &str) -> String {
    let waited = followed.waited_seconds;
    match followed.outcome {
        "drained" => format!("{what} is drained (waited {waited:.1} s)"),
        "reset" => format!("{what}: the deadline has passed, what is left is reset (waited {waited:.1} s)"),
        _ => {
            let connections = followed.connections;
            format!(
                "{what}: the deadline has passed, {connections} live connections left alone (waited {waited:.1} s)"
            )
        }
    }
}

fn undecided(service: &str, left: &Left, state: State) -> Failure {
    let what = &left.what;
    let message = match state {
        State::Back => {
            format!("{service}: {what} gets new connections again: see `splitter events` for who wanted that")
        }
        State::Dropped => {
            format!("{service}: {what} has no deadline any more: see `splitter events` for why")
        }
        _ => format!(
            "{service}: {what} is not drained in time: {}: go on with `splitter wait {service} --for drained`",
            render::left(left)
        ),
    };
    Failure::new(FailureKind::Undecided, message)
}

#[cfg(test)]
mod tests {
    use super::{super::render::sample, *};
    use crate::api::model::DeadlineStatus;

    /// What is left on 10.0.1.12:8443, which is under drain.
    fn left() -> Left {
        let backends = vec!["10.0.1.12:8443".parse().unwrap()];
        Left {
            cause: "drain".into(),
            what: "10.0.1.12:8443".into(),
            backends,
            live: Live::NOTHING,
            deadline: None,
        }
    }

    fn seen(edit: impl FnOnce(&mut BackendStatus), with_deadline: bool) -> (State, Left) {
        let (mut service, mut left) = (sample::service(), left());
        edit(&mut service.pools[0].backends[1]);
        (look(&service, &mut left, with_deadline), left)
    }

    #[test]
    fn a_look_brings_the_counts_up_to_date() {
        let (state, left) = seen(|_| {}, true);
        assert_eq!((state, left.live.connections), (State::Going, 12));
        assert!(left.deadline.is_some());
    }

    #[test]
    fn it_ends_when_nothing_is_left_or_the_deadline_has_passed() {
        let empty = |backend: &mut BackendStatus| {
            (backend.exceptions, backend.live) = (0, Some(Live::NOTHING));
        };
        assert_eq!(seen(empty, false).0, State::Drained);
        let passed = |then| {
            move |backend: &mut BackendStatus| {
                backend.deadline = Some(DeadlineStatus { in_s: 0.0, then, applied: true });
            }
        };
        assert_eq!(seen(passed(End::Leave), true).0, State::Ended(End::Leave));
        assert_eq!(seen(passed(End::Reset), true).0, State::Ended(End::Reset));
    }

    #[test]
    fn it_is_undecided_when_somebody_else_decided_otherwise() {
        let (state, left) = seen(|backend| (backend.slots, backend.live) = (7, None), true);
        assert_eq!(state, State::Back);
        assert!(undecided("web", &left, state).to_string().contains("gets new connections again"));
        let (state, left) = seen(|backend| backend.deadline = None, true);
        assert_eq!(state, State::Dropped);
        assert!(undecided("web", &left, state).to_string().contains("has no deadline any more"));
        assert_eq!(seen(|backend| backend.deadline = None, false).0, State::Going);
    }
}
