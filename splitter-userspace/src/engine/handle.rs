//! How the API, the network watcher and the health checker reach the engine's thread.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::{broadcast, oneshot};

use super::{Engine, log::EventLog};
use crate::{
    api::{
        control::Control,
        model::{ApiError, Change, ChangeRequest, ErrorCode, Event, Explanation, Stats, Status},
    },
    health::Verdict,
    net::Snapshot,
};

/// The longest the engine sleeps between looks at the clock.
const TICK: Duration = Duration::from_millis(100);

type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What reaches the engine's thread.
enum Input {
    Change(ChangeRequest, Reply<Change>),
    Status(Option<String>, Reply<Status>),
    Explain(String, SocketAddr, Reply<Explanation>),
    Stats(Option<String>, Reply<Stats>),
    Network(Arc<Snapshot>),
    Health(Verdict),
    Stop,
}

/// The running engine. Clones reach the same one.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    log: EventLog,
}

impl Handle {
    /// Starts the engine on a thread of its own; the thread ends, and the data plane with it, after [`Handle::stop`].
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(mut engine: Engine) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (inputs, inbox) = mpsc::channel();
        let handle = Self { inputs, log: engine.log.clone() };
        let thread = thread::Builder::new().name("engine".into()).spawn(move || {
            loop {
                match inbox.recv_timeout(TICK) {
                    Ok(Input::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Ok(input) => engine.take(input),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                }
                engine.upkeep();
            }
        })?;
        Ok((handle, thread))
    }

    /// The network has changed.
    pub fn network(&self, snapshot: Arc<Snapshot>) {
        self.send(Input::Network(snapshot));
    }

    /// A backend's health has changed.
    pub fn health(&self, verdict: Verdict) {
        self.send(Input::Health(verdict));
    }

    /// Ends the engine's thread.
    pub fn stop(&self) {
        self.send(Input::Stop);
    }

    /// An engine that has ended hears nothing; callers learn it from the missing answer.
    fn send(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Input) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.send(question(reply));
        answer.await.unwrap_or_else(|_| {
            let message = "splitterd is stopping: ask again when it is back".into();
            Err(ApiError { code: ErrorCode::Failed, message })
        })
    }
}

impl Engine {
    /// One input. Whoever asked may have gone: an answer that nobody hears is no error.
    fn take(&mut self, input: Input) {
        match input {
            Input::Change(request, reply) => drop(reply.send(self.change(&request))),
            Input::Status(service, reply) => drop(reply.send(self.status(service.as_deref()))),
            Input::Explain(service, client, reply) => drop(reply.send(self.explain(&service, client))),
            Input::Stats(service, reply) => drop(reply.send(self.stats(service.as_deref()))),
            Input::Network(snapshot) => self.network_changed(snapshot),
            Input::Health(verdict) => self.health_changed(&verdict),
            Input::Stop => {}
        }
    }
}

impl Control for Handle {
    async fn change(&self, request: ChangeRequest) -> Result<Change, ApiError> {
        self.ask(|reply| Input::Change(request, reply)).await
    }

    async fn status(&self, service: Option<String>) -> Result<Status, ApiError> {
        self.ask(|reply| Input::Status(service, reply)).await
    }

    async fn explain(&self, service: String, client: SocketAddr) -> Result<Explanation, ApiError> {
        self.ask(|reply| Input::Explain(service, client, reply)).await
    }

    async fn stats(&self, service: Option<String>) -> Result<Stats, ApiError> {
        self.ask(|reply| Input::Stats(service, reply)).await
    }

    fn events(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        self.log.follow()
    }
}
