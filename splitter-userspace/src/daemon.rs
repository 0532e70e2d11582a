//! `splitterd`: reads the configuration, puts the parts together, and waits to be told to stop.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    api,
    cli::Failure,
    config::{self, Config},
    dataplane::{DataPlane, Sizes},
    engine::{Engine, Handle},
    health::{self, Checker},
    net::{self, Snapshot},
};

/// How long the first look at routes and neighbours may take before the daemon goes on without it.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Verdicts that may wait for the engine.
const VERDICTS: usize = 256;

/// Splits the traffic of this host's services between blue, green and canary backends, in the kernel.
#[derive(Debug, Parser)]
#[command(name = "splitterd", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, default_value = "/etc/splitter/splitter.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Runs until SIGTERM or SIGINT.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            let failure = Failure::from(error);
            eprintln!("splitterd: {failure}");
            return failure.exit_code();
        }
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("no threads for the daemon")
        .and_then(|runtime| runtime.block_on(run(config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("splitterd: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<()> {
    raise_descriptor_limit();
    // First of all: another daemon on this host keeps its services.
    let listener = api::socket::bind(&config.daemon.socket)?;
    let _file = SocketFile::of(&config.daemon.socket)?;
    let mut network = Network::watch(&config)?;
    let mut data_plane = DataPlane::load(&Sizes::from(&config))?;
    if log::log_enabled!(log::Level::Debug) {
        data_plane.follow_log();
    }
    let snapshot = network.first().await;
    let (targets, checked) = watch::channel(Vec::new());
    let engine = start(&config, data_plane, snapshot, targets)?;
    let (handle, thread) = Handle::start(engine).context("no thread for the engine")?;
    let (verdicts, inbox) = mpsc::channel(VERDICTS);
    let checker = Checker::start(checked, verdicts);
    let feeds = [
        tokio::spawn(network.feed(handle.clone())),
        tokio::spawn(feed_health(inbox, handle.clone())),
        checker,
    ];
    log::info!("ready: {} services, API on {}", config.services.len(), config.daemon.socket.display());
    let served = api::server::serve(handle.clone(), listener, stop_asked()?).await;
    feeds.iter().for_each(tokio::task::JoinHandle::abort);
    handle.stop();
    // The engine owns the data plane: when its thread has ended, every interface is as it was.
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    served.context("the API ended")
}

/// The socket's file: goes when the daemon does, unless another daemon has put its own there meanwhile.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Result<Self> {
        let identity = identity(path).with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(Self { path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// An error with its causes, each said once.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| {
        if text.is_empty() {
            cause
        } else if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// A thousand clients are no reason to be out of descriptors: as many as this process may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Makes the services live, then attaches: no packet meets an empty program.
fn start(
    config: &Config,
    data_plane: DataPlane,
    snapshot: Arc<Snapshot>,
    targets: watch::Sender<Vec<health::Target>>,
) -> Result<Engine> {
    let warnings = net::host_warnings(config, &snapshot);
    let existing: HashMap<_, _> =
        snapshot.interfaces.iter().map(|found| (found.name.clone(), found.program)).collect();
    let mut engine = Engine::new(config.clone(), data_plane, snapshot, targets)?;
    for interface in &config.daemon.interfaces {
        engine.attach(interface, existing.get(interface).copied().flatten())?;
    }
    engine.set_host_warnings(warnings);
    Ok(engine)
}

/// The watcher of routes and neighbours.
struct Network {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Kept, so that the watcher goes on: which addresses are wanted.
    _wanted: watch::Sender<Vec<IpAddr>>,
}

impl Network {
    fn watch(config: &Config) -> Result<Self> {
        let pools = config.services.iter().flat_map(|service| service.pools.values());
        let mut addresses: Vec<IpAddr> =
            pools.flat_map(|pool| pool.backends.iter().map(|b| b.address)).collect();
        addresses.sort();
        addresses.dedup();
        let (wanted, receiver) = watch::channel(addresses);
        let (snapshots, _) = net::watch(config.daemon.interfaces.clone(), receiver)?;
        Ok(Self { snapshots, _wanted: wanted })
    }

    /// The first snapshot, or an empty one if it takes too long: packets then go through the kernel for a while.
    async fn first(&mut self) -> Arc<Snapshot> {
        let _ = tokio::time::timeout(FIRST_LOOK, self.snapshots.changed()).await;
        Arc::clone(&self.snapshots.borrow_and_update())
    }

    async fn feed(mut self, handle: Handle) {
        while self.snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            handle.network(snapshot);
        }
    }
}

async fn feed_health(mut inbox: mpsc::Receiver<health::Verdict>, handle: Handle) {
    while let Some(verdict) = inbox.recv().await {
        handle.health(verdict);
    }
}

/// Completes at SIGTERM or SIGINT.
fn stop_asked() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => log::info!("SIGINT: stopping"),
        }
    })
}
