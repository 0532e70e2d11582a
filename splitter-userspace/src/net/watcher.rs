//! The loop that keeps a snapshot fresh.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle, time};

use super::{
    Error,
    client::Client,
    confirm::Confirmer,
    events::{Change, Events},
    facts::Facts,
    model::Snapshot,
    snapshot,
};

/// Everything is read again this often, whatever was notified: redirects and expired routes come unannounced.
const RESYNC: Duration = Duration::from_secs(30);

/// First wait before a new connection after an error; doubled up to `RESYNC`.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Watches routes and neighbours for the `[daemon] interfaces` and the backend addresses in `targets`.
///
/// The receiver starts with an empty snapshot; the first real one follows within milliseconds and is always
/// announced, each later one only if it differs. The task ends when `targets`' sender or the last receiver is
/// dropped. To be called inside a tokio runtime whose threads are in the network namespace to watch.
///
/// # Errors
///
/// No netlink socket can be opened. Later failures are logged and retried; the last snapshot stays.
pub fn watch(
    interfaces: Vec<String>,
    targets: watch::Receiver<Vec<IpAddr>>,
) -> Result<(watch::Receiver<Arc<Snapshot>>, JoinHandle<()>), Error> {
    let kernel = Kernel::open()?;
    let (snapshots, receiver) = watch::channel(Arc::default());
    let watcher = Watcher {
        interfaces,
        targets,
        snapshots,
        confirmer: Confirmer::default(),
        facts: Facts::default(),
        published: false,
    };
    Ok((receiver, tokio::spawn(watcher.run(kernel))))
}

/// Both sockets. Subscribing comes first, so that nothing is missed between a dump and the notifications.
struct Kernel {
    events: Events,
    client: Client,
}

impl Kernel {
    fn open() -> Result<Self, Error> {
        Ok(Self { events: Events::subscribe()?, client: Client::open()? })
    }
}

struct Watcher {
    interfaces: Vec<String>,
    targets: watch::Receiver<Vec<IpAddr>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    confirmer: Confirmer,
    facts: Facts,
    /// Whether a real snapshot has been announced.
    published: bool,
}

impl Watcher {
    /// Follows `kernel`, and its successors when it fails, until nobody listens.
    async fn run(mut self, kernel: Kernel) {
        let mut kernel = Ok(kernel);
        let mut retry = FIRST_RETRY;
        loop {
            let started = Instant::now();
            let error = match kernel {
                Ok(kernel) => match self.follow(kernel).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if started.elapsed() > RESYNC {
                retry = FIRST_RETRY;
            }
            log::warn!("{error}; next hops stay as they are, new attempt in {retry:?}");
            time::sleep(retry).await;
            retry = (retry * 2).min(RESYNC);
            kernel = Kernel::open();
        }
    }

    /// Keeps the snapshot fresh; returns when nobody listens any more.
    async fn follow(&mut self, mut kernel: Kernel) -> Result<(), Error> {
        let mut change = Change::Everything;
        let mut resync = time::Instant::now();
        loop {
            if change == Change::Everything {
                resync = time::Instant::now() + RESYNC;
            }
            self.refresh(&kernel.client, change).await?;
            let next_question = self.confirm(&kernel.client).await;
            let wake = next_question.map_or(resync, |question| resync.min(question.into()));
            change = tokio::select! {
                change = kernel.events.burst() => change?,
                new = self.targets.changed() => match new {
                    Ok(()) => Change::Everything,
                    Err(_) => return Ok(()),
                },
                () = self.snapshots.closed() => return Ok(()),
                () = time::sleep_until(wake) => {
                    if wake == resync { Change::Everything } else { Change::Neighbours }
                }
            };
        }
    }

    /// Reads what changed and publishes what follows from it, if that is new.
    async fn refresh(&mut self, client: &Client, change: Change) -> Result<(), Error> {
        match change {
            Change::Everything => {
                let targets = self.targets.borrow_and_update().clone();
                self.facts = client.facts(&targets).await?;
            }
            Change::Neighbours => self.facts.neighbours = client.neighbours().await?,
        }
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let snapshot = snapshot::build(&self.facts, &self.interfaces, &self.targets.borrow());
        let first = !std::mem::replace(&mut self.published, true);
        self.snapshots.send_if_modified(|current| {
            let news = first || **current != snapshot;
            if news {
                *current = Arc::new(snapshot);
            }
            news
        });
    }

    /// Has the kernel confirm the neighbours that are due; says when the next one will be.
    async fn confirm(&mut self, client: &Client) -> Option<Instant> {
        let needed = snapshot::needed(&self.facts, &self.interfaces, &self.targets.borrow());
        for key in self.confirmer.due(&needed, Instant::now()) {
            if let Err(error) = client.confirm(key).await {
                log::debug!("neighbour {} on interface {}: {error}", key.1, key.0);
            }
        }
        self.confirmer.deadline(&needed)
    }
}
