//! `wait`: polls the status until a service has come to rest.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    args::{Goal, WaitArgs},
    failure::{Failure, FailureKind, Stop},
    output::Output,
    render,
};
use crate::api::{
    client::Client,
    model::{Admin, BackendStatus, Health, ServiceStatus},
};

/// Time between two looks.
const POLL: Duration = Duration::from_millis(200);
/// How many backends a sentence names.
const NAMED: usize = 5;

/// What `--output json` prints when the wait is over.
#[derive(Serialize)]
struct Waited<'a> {
    service: &'a str,
    state: &'static str,
    waited_seconds: f64,
}

/// Returns when the goal is reached; at the timeout it says what the goal still lacks.
pub async fn run(client: &Client, args: &WaitArgs, output: Output) -> Result<(), Stop> {
    let begun = Instant::now();
    let mut lacking = String::from("its state is not known yet");
    // Even `--timeout 0s` gets one look.
    let patience = args.timeout.max(POLL);
    let reached = tokio::time::timeout(patience, poll(client, args, &mut lacking)).await;
    match reached {
        Ok(result) => result?,
        Err(_) => return Err(timed_out(args, &lacking).into()),
    }
    let waited = Waited {
        service: &args.service,
        state: args.state.as_str(),
        waited_seconds: begun.elapsed().as_secs_f64(),
    };
    output.show(&waited, |waited, _| {
        format!("{} is {} (waited {:.1} s)", waited.service, waited.state, waited.waited_seconds)
    })
}

async fn poll(client: &Client, args: &WaitArgs, lacking: &mut String) -> Result<(), Failure> {
    loop {
        let status = client.status(Some(&args.service)).await?;
        let service = status.services.iter().find(|service| service.name == args.service);
        let service = service.ok_or_else(|| refused(format!("there is no service `{}`", args.service)))?;
        match lacks(service, args)? {
            None => return Ok(()),
            Some(what) => *lacking = what,
        }
        tokio::time::sleep(POLL).await;
    }
}

fn timed_out(args: &WaitArgs, lacking: &str) -> Failure {
    let timeout = humantime::format_duration(args.timeout);
    let message = format!(
        "{} is not {} after {timeout}: {lacking}: wait longer with --timeout",
        args.service,
        args.state.as_str()
    );
    Failure::new(FailureKind::Undecided, message)
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Refused, message)
}

/// What the service lacks of the goal, in a few words; `None` when it is reached.
fn lacks(service: &ServiceStatus, args: &WaitArgs) -> Result<Option<String>, Failure> {
    match args.state {
        Goal::Drained => undrained(service, args.backend),
        Goal::Healthy => Ok(listed(
            service,
            |backend| backend.health == Health::Down,
            |backend| format!("{} is down", backend.address),
        )),
        Goal::Complete => Ok(unsettled(service)),
    }
}

fn undrained(service: &ServiceStatus, only: Option<SocketAddr>) -> Result<Option<String>, Failure> {
    let named = |backend: &BackendStatus| only == Some(backend.address);
    if let Some(address) = only.filter(|_| !backends(service).any(named)) {
        return Err(refused(format!(
            "service {} has no backend {address}: see `splitter status`",
            service.name
        )));
    }
    let concerned = |backend: &BackendStatus| match only {
        Some(_) => named(backend),
        None => backend.admin != Admin::Ready,
    };
    Ok(listed(service, |backend| concerned(backend) && holds(backend), held))
}

/// A backend has something left, or may have: a connection that has been silent since the shift is not known yet.
/// What is being reset is given up.
pub fn holds(backend: &BackendStatus) -> bool {
    let unseen = backend.live.is_none_or(|live| !live.complete);
    backend.slots > 0 || (!backend.resetting && (backend.exceptions > 0 || unseen))
}

fn held(backend: &BackendStatus) -> String {
    let BackendStatus { address, slots, exceptions, live, .. } = backend;
    match live {
        Some(live) if *slots == 0 && *exceptions == 0 => format!(
            "silent connections of {address} are not counted yet, but within {}",
            render::time(live.complete_in_s)
        ),
        _ => format!("{address} has {slots} slots and {exceptions} exceptions"),
    }
}

fn unsettled(service: &ServiceStatus) -> Option<String> {
    let slots = service.slots;
    (!service.settled)
        .then(|| format!("of {} slots {} are dirty and {} tracked", slots.total, slots.dirty, slots.tracked))
}

fn backends(service: &ServiceStatus) -> impl Iterator<Item = &BackendStatus> {
    service.pools.iter().flat_map(|pool| &pool.backends)
}

/// The backends that `matches` picks, described; `None` when there are none.
fn listed(
    service: &ServiceStatus,
    matches: impl Fn(&BackendStatus) -> bool,
    describe: impl Fn(&BackendStatus) -> String,
) -> Option<String> {
    let all: Vec<_> = backends(service).filter(|backend| matches(backend)).collect();
    let mut parts: Vec<_> = all.iter().take(NAMED).map(|backend| describe(backend)).collect();
    if all.len() > NAMED {
        parts.push(format!("and {} more", all.len() - NAMED));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{super::render::sample, *};
    use crate::api::model::Live;

    fn args(state: Goal, backend: Option<&str>) -> WaitArgs {
        let backend = backend.map(|text| text.parse().unwrap());
        WaitArgs { service: "web".into(), state, timeout: Duration::from_secs(90), backend }
    }

    fn empty(backend: &mut BackendStatus) {
        (backend.exceptions, backend.live) = (0, Some(Live::NOTHING));
    }

    fn lacking(service: &ServiceStatus, state: Goal, backend: Option<&str>) -> Option<String> {
        lacks(service, &args(state, backend)).unwrap()
    }

    #[test]
    fn drained_looks_at_backends_out_of_service_only() {
        let mut service = sample::service();
        let what = lacking(&service, Goal::Drained, None);
        assert_eq!(what.as_deref(), Some("10.0.1.12:8443 has 0 slots and 12 exceptions"));
        empty(&mut service.pools[0].backends[1]);
        assert_eq!(lacking(&service, Goal::Drained, None), None, "the dirty slots are others'");
    }

    #[test]
    fn drained_is_not_known_while_its_own_slots_are_dirty() {
        let mut service = sample::service();
        service.pools[0].backends[1].exceptions = 0;
        let what = lacking(&service, Goal::Drained, None);
        let unseen = "silent connections of 10.0.1.12:8443 are not counted yet, but within 14m 20s";
        assert_eq!(what.as_deref(), Some(unseen));
        service.pools[0].backends[1].admin = Admin::Ready;
        assert_eq!(lacking(&service, Goal::Drained, None), None, "nothing is to be drained");
    }

    #[test]
    fn what_is_reset_is_drained() {
        let mut service = sample::service();
        service.pools[0].backends[1].resetting = true;
        assert_eq!(lacking(&service, Goal::Drained, None), None);
    }

    #[test]
    fn drained_can_look_at_one_backend() {
        let mut service = sample::service();
        assert!(lacking(&service, Goal::Drained, Some("10.0.1.12:8443")).is_some());
        empty(&mut service.pools[0].backends[1]);
        service.pools[0].backends[0].admin = Admin::Maint;
        assert_eq!(lacking(&service, Goal::Drained, Some("10.0.1.12:8443")), None);
        let unknown = lacks(&service, &args(Goal::Drained, Some("10.0.1.99:1"))).unwrap_err();
        assert!(unknown.to_string().contains("has no backend 10.0.1.99:1"));
    }

    #[test]
    fn healthy_means_that_none_is_down() {
        let mut service = sample::service();
        service.pools[0].backends[0].health = Health::Unchecked;
        assert_eq!(lacking(&service, Goal::Healthy, None), None);
        service.pools[0].backends[0].health = Health::Down;
        assert_eq!(lacking(&service, Goal::Healthy, None).as_deref(), Some("10.0.1.11:8443 is down"));
    }

    #[test]
    fn complete_means_settled() {
        let mut service = sample::service();
        service.settled = false;
        let what = lacking(&service, Goal::Complete, None).unwrap();
        assert!(what.contains("655 are dirty and 7 tracked"), "{what}");
        service.settled = true;
        assert_eq!(lacking(&service, Goal::Complete, None), None);
    }

    #[test]
    fn the_last_state_is_in_the_message() {
        let failure = timed_out(&args(Goal::Complete, None), "655 slots are dirty");
        assert_eq!(
            failure.to_string(),
            "web is not complete after 1m 30s: 655 slots are dirty: wait longer with --timeout"
        );
    }
}
