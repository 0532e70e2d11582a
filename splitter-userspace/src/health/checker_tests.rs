use tokio::net::TcpListener;

use super::*;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn target(address: SocketAddr, rise: u32, fall: u32) -> Target {
    let interval = Duration::from_millis(20);
    Target { address, check: HealthCheck { interval, timeout: Duration::from_secs(1), rise, fall } }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

struct Running {
    targets: watch::Sender<Vec<Target>>,
    verdicts: mpsc::Receiver<Verdict>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(targets: Vec<Target>) -> Self {
        let (targets, receiver) = watch::channel(targets);
        let (sender, verdicts) = mpsc::channel(16);
        Self { targets, verdicts, task: Checker::start(receiver, sender) }
    }

    async fn verdict(&mut self) -> Verdict {
        time::timeout(PATIENCE, self.verdicts.recv())
            .await
            .expect("a verdict in time")
            .expect("a running checker")
    }

    async fn silence(&mut self) {
        let verdict = time::timeout(Duration::from_millis(200), self.verdicts.recv()).await;
        assert!(verdict.is_err(), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_backend_goes_up_down_and_up_again() {
    let (listener, address) = listen().await;
    let mut running = Running::start(vec![target(address, 2, 3)]);
    let verdict = running.verdict().await;
    assert!(verdict.up && verdict.why.ends_with("(1 of 1 passed)"), "{verdict:?}");

    drop(listener);
    let verdict = running.verdict().await;
    assert_eq!(verdict.why, "connect: connection refused (3 of 3 failed)");
    assert!(!verdict.up);

    let _listener = TcpListener::bind(address).await.unwrap();
    let verdict = running.verdict().await;
    assert!(verdict.up && verdict.why.ends_with("(2 of 2 passed)"), "{verdict:?}");
    running.silence().await;
}

#[tokio::test]
async fn targets_come_and_go_without_disturbing_others() {
    let ((first, a), (_second, b)) = (listen().await, listen().await);
    let mut running = Running::start(vec![target(a, 1, 1)]);
    assert_eq!(running.verdict().await.address, a);

    running.targets.send_replace(vec![target(a, 1, 1), target(b, 1, 1)]);
    assert_eq!(running.verdict().await.address, b);
    running.silence().await;

    running.targets.send_replace(vec![target(b, 1, 1)]);
    drop(first);
    running.silence().await;
}

#[tokio::test]
async fn a_changed_check_starts_anew() {
    let (_listener, address) = listen().await;
    let mut running = Running::start(vec![target(address, 1, 1)]);
    assert!(running.verdict().await.up);
    running.targets.send_replace(vec![target(address, 1, 2)]);
    assert!(running.verdict().await.up);
}

#[tokio::test]
async fn of_several_targets_with_one_address_the_first_counts() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut running = Running::start(vec![target(address, 1, 2), target(address, 1, 5)]);
    assert!(running.verdict().await.why.ends_with("(2 of 2 failed)"));
    running.silence().await;
}

#[tokio::test]
async fn the_checker_ends_with_its_targets() {
    let running = Running::start(vec![]);
    drop(running.targets);
    time::timeout(PATIENCE, running.task).await.expect("an end").unwrap();
}

#[test]
fn what_this_host_lacks_is_not_held_against_the_backend() {
    let target = target(SocketAddr::from(([127, 0, 0, 1], 1)), 1, 1);
    let mut state = State::new(&target.check);
    assert!(judge(&mut state, &target, Outcome::Inconclusive("too many open files".to_owned())).is_none());
    assert!(judge(&mut state, &target, Outcome::Fail("connection refused".to_owned())).is_some());
}

#[test]
fn jitter_stays_within_the_interval() {
    let target = target(SocketAddr::from(([127, 0, 0, 1], 1)), 1, 1);
    let drawn: HashSet<_> = (0..50).map(|_| jitter(&target)).collect();
    assert!(drawn.len() > 40 && drawn.iter().all(|wait| *wait <= target.check.interval));
}
