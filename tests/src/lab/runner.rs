//! A thread inside a namespace that runs asynchronous work for as long as its value lives.

use std::{
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

use super::namespace::{self, Namespace};

/// A single-threaded tokio runtime inside a namespace. Dropping it drops all its tasks, and so closes their sockets.
pub struct Runner {
    handle: Handle,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread; returns when it is inside.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (report, is_inside) = mpsc::sync_channel(1);
        let path = namespace.path();
        let thread = thread::Builder::new()
            .name(namespace.name().to_owned())
            .spawn(move || serve(&path, &runtime, &report, stopped))
            .context("cannot start a thread")?;
        is_inside.recv().context("the thread died before it was inside")??;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs `task` in the background, until it ends or the runner is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// Runs `task` inside and waits for its end.
    pub fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The receiver waits below for as long as the task lives.
            let _ = sender.send(task.await);
        });
        receiver.recv().context("the task panicked")
    }
}

fn serve(
    path: &Path,
    runtime: &Runtime,
    report: &mpsc::SyncSender<Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let entered = namespace::enter(path);
    let inside = entered.is_ok();
    // The one that started us waits for this word; when it is gone there is nobody to tell.
    let _ = report.send(entered);
    if inside {
        // Ends when the sender is dropped, which is the only thing that ever happens to it.
        let _ = runtime.block_on(stopped);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a task was printed by its own thread; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
