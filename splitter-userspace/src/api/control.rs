//! What the API server asks of the daemon, so that the server can be tested without a kernel.

use std::{future::Future, net::SocketAddr};

use tokio::sync::broadcast;

use super::model::{ApiError, Change, ChangeRequest, Event, Explanation, Stats, Status};

/// The daemon as its API sees it.
pub trait Control: Clone + Send + Sync + 'static {
    /// Makes one change. Changes are serialised; returns after the grace period.
    fn change(&self, request: ChangeRequest) -> impl Future<Output = Result<Change, ApiError>> + Send;
    /// The whole status, or that of one service.
    fn status(&self, service: Option<String>) -> impl Future<Output = Result<Status, ApiError>> + Send;
    /// Where a client's packets go.
    fn explain(
        &self,
        service: String,
        client: SocketAddr,
    ) -> impl Future<Output = Result<Explanation, ApiError>> + Send;
    /// All counters, or those of one service.
    fn stats(&self, service: Option<String>) -> impl Future<Output = Result<Stats, ApiError>> + Send;
    /// Events kept in memory (a bounded number), oldest first, and a receiver for those to come.
    fn events(&self) -> (Vec<Event>, broadcast::Receiver<Event>);
}
