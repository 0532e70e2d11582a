//! A daemon without a kernel: answers from memory on a socket of its own.

use std::{
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard},
};

use splitter_userspace::{
    api::{
        client::Client,
        control::Control,
        model::{ApiError, Change, ChangeRequest, ErrorCode, Event, Explanation, Left, Stats, Status},
        server, socket,
    },
    config::PoolName,
};
use tempfile::TempDir;
use tokio::{
    process::Command,
    sync::{broadcast, oneshot},
    task::JoinHandle,
};

/// The answer to every status call: one service, `web`.
pub const STATUS: &str = include_str!("../../src/cli/render/sample_status.json");
/// The answer to every stats call.
pub const STATS: &str = include_str!("../../src/cli/render/sample_stats.json");

/// What the fake daemon knows.
pub struct Memory {
    pub status: Status,
    pub events: Vec<Event>,
    /// What every change leaves.
    pub left: Option<Left>,
    /// Every change that arrived, the refused ones too.
    pub requests: Vec<ChangeRequest>,
}

/// Answers from memory; refuses what is not about `web`.
#[derive(Clone)]
pub struct Fake {
    memory: Arc<Mutex<Memory>>,
    live: broadcast::Sender<Event>,
}

impl Fake {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// Sends a live event.
    pub fn tell(&self, event: Event) {
        // Without a follower nobody hears it.
        let _ = self.live.send(event);
    }

    fn known(service: Option<&str>) -> Result<(), ApiError> {
        match service {
            None | Some("web") => Ok(()),
            Some(other) => Err(refused(format!("there is no service `{other}`: there is web"))),
        }
    }
}

fn refused(message: String) -> ApiError {
    ApiError { code: ErrorCode::Refused, message }
}

/// An event with this number.
pub fn event(sequence: u64) -> Event {
    Event {
        sequence,
        time_unix_ms: 1_700_000_000_000 + sequence,
        kind: "change".into(),
        service: Some("web".into()),
        generation: 42,
        line: format!("event {sequence}"),
        reason: String::new(),
    }
}

impl Control for Fake {
    async fn change(&self, request: ChangeRequest) -> Result<Change, ApiError> {
        self.memory().requests.push(request.clone());
        Self::known(Some(&request.service))?;
        if request.reason == "break" {
            return Err(ApiError { code: ErrorCode::Failed, message: "the map is gone".into() });
        }
        let before = self.memory().status.services[0].rollback_to.clone().unwrap();
        Ok(Change {
            line: "weights web canary 0% -> 5% (gen 42 -> 43, 3277 slots moved, 0 live connections moved)"
                .into(),
            service: request.service,
            generation_before: 42,
            generation: 43,
            slots_moved: 3277,
            connections_moved: 0,
            took_ms: 1.5,
            after: before.clone(),
            before,
            programmed: [(PoolName::Blue, 0.95), (PoolName::Canary, 0.05)].into(),
            left: self.memory().left.clone(),
            reason: request.reason,
        })
    }

    async fn status(&self, service: Option<String>) -> Result<Status, ApiError> {
        Self::known(service.as_deref())?;
        Ok(self.memory().status.clone())
    }

    async fn explain(&self, service: String, client: SocketAddr) -> Result<Explanation, ApiError> {
        Self::known(Some(&service))?;
        let why = "clean slot: no table is consulted".into();
        let (new_connection, live_connection) = (None, None);
        Ok(Explanation {
            service,
            client,
            generation: 42,
            slot: 7,
            state: "clean".into(),
            new_connection,
            live_connection,
            why,
        })
    }

    async fn stats(&self, service: Option<String>) -> Result<Stats, ApiError> {
        Self::known(service.as_deref())?;
        Ok(serde_json::from_str(STATS).unwrap())
    }

    fn events(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        (self.memory().events.clone(), self.live.subscribe())
    }
}

/// A fake that is being served.
pub struct Served {
    pub fake: Fake,
    pub socket: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    _directory: TempDir,
}

impl Served {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/splitter.sock");
        let memory = Memory {
            status: serde_json::from_str(STATUS).unwrap(),
            events: vec![event(1), event(2)],
            left: None,
            requests: vec![],
        };
        let fake = Fake { memory: Arc::new(Mutex::new(memory)), live: broadcast::channel(16).0 };
        let (stop, stopped) = oneshot::channel();
        let listener = socket::bind(&socket).unwrap();
        let task = tokio::spawn(server::serve(fake.clone(), listener, async { drop(stopped.await) }));
        Self { fake, socket, stop, task, _directory: directory }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Asks the server to stop and waits until it has.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// The real command line against this daemon.
    pub fn splitter(&self, args: &[&str]) -> Command {
        let mut command = splitter(args);
        command.env("SPLITTER_SOCKET", &self.socket);
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        run(self.splitter(args)).await
    }
}

/// The real command line.
pub fn splitter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_splitter"));
    command.args(args).env_remove("NO_COLOR").env_remove("SPLITTER_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Its output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Ended {
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    assert_eq!(output.status.signal(), None);
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
