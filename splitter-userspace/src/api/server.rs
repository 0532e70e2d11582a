//! Serves a [`Control`] over HTTP.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::{net::UnixListener, sync::watch};

use super::{
    answer::{Asked, Refusal},
    control::Control,
    feed::feed,
    model::{ApiError, Change, ChangeRequest, ErrorCode, Explanation, Stats, Status},
};

/// Largest body of a request, bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// How long calls under way may take once the server is asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves; event feeds end then, other calls may finish.
pub async fn serve<C: Control>(
    control: C,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    let stop = async move {
        shutdown.await;
        close.send_replace(true);
    };
    let overdue = async {
        closed(closing.clone()).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    let server = axum::serve(listener, router(control, closing.clone())).with_graceful_shutdown(stop);
    tokio::select! {
        result = async { server.await } => result,
        () = overdue => Ok(()),
    }
}

/// Resolves when the server is asked to stop.
async fn closed(mut closing: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the server.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn router<C: Control>(control: C, closing: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<C>))
        .route("/v1/stats", get(stats::<C>))
        .route("/v1/explain", get(explain::<C>))
        .route("/v1/events", get(events::<C>))
        .route("/v1/change", post(change::<C>))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Served { control, closing })
}

#[derive(Clone)]
struct Served<C> {
    control: C,
    closing: watch::Receiver<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceQuery {
    service: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    service: String,
    client: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    follow: bool,
}

async fn status<C: Control>(
    State(served): State<Served<C>>,
    Asked(query): Asked<ServiceQuery>,
) -> Result<Json<Status>, Refusal> {
    Ok(Json(served.control.status(query.service).await?))
}

async fn stats<C: Control>(
    State(served): State<Served<C>>,
    Asked(query): Asked<ServiceQuery>,
) -> Result<Json<Stats>, Refusal> {
    Ok(Json(served.control.stats(query.service).await?))
}

async fn explain<C: Control>(
    State(served): State<Served<C>>,
    Asked(query): Asked<ExplainQuery>,
) -> Result<Json<Explanation>, Refusal> {
    Ok(Json(served.control.explain(query.service, query.client).await?))
}

async fn events<C: Control>(
    State(served): State<Served<C>>,
    Asked(query): Asked<EventsQuery>,
) -> impl IntoResponse {
    let (kept, live) = served.control.events();
    let feed = feed(kept, query.follow.then_some(live), closed(served.closing));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(feed))
}

async fn change<C: Control>(
    State(served): State<Served<C>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Change>, Refusal> {
    let request: ChangeRequest = serde_json::from_slice(&body?).map_err(|cause| {
        Refusal::request(
            StatusCode::BAD_REQUEST,
            format!("the body is not a change request in JSON: {cause}"),
        )
    })?;
    // A task of its own: a client that hangs up must not stop a change half-way.
    let change = tokio::spawn(async move { served.control.change(request).await });
    let change = change.await.map_err(|cause| ApiError {
        code: ErrorCode::Failed,
        message: format!(
            "the change was cut short inside the daemon ({cause}): see its log and `splitter status`"
        ),
    })?;
    Ok(Json(change?))
}

async fn unknown_path(uri: Uri) -> Refusal {
    let known = "GET /v1/status, /v1/stats, /v1/explain, /v1/events and POST /v1/change";
    Refusal::request(StatusCode::NOT_FOUND, format!("there is no {} here: use {known}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}: GET reads and POST changes", uri.path());
    Refusal::request(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}
