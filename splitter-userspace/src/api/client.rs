//! Calls the daemon over its unix socket. One connection per call: calls are rare and sockets are cheap.

use std::{
    fmt::Display,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::model::{ApiError, Change, ChangeRequest, Event, Explanation, Stats, Status};

/// How long a call may take: a change waits for its turn and for a grace period.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest line of the event feed, bytes.
const MAX_LINE: usize = 1024 * 1024;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach splitterd on {}: {source}: {}", socket.display(), cure(source))]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The daemon refused, or tried and failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The daemon accepted the call and did not answer in time: a change may have been made or not.
    #[error("splitterd on {} did not answer within {} s: see `splitter status` and its log", socket.display(), CALL_TIMEOUT.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// The answer was cut short or is not what this version understands.
    #[error("splitterd on {} gave a broken answer: {cause}: see its log, and check that both are of one version", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What was wrong with it.
        cause: String,
    },
}

fn cure(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "run as root or as a member of the socket's group",
        _ => "start it with `splitterd --config FILE`, or name its socket with --socket",
    }
}

/// The daemon's API as a client sees it.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon on `socket`; connects with the first call.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket that is called.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The whole status, or that of one service.
    pub async fn status(&self, service: Option<&str>) -> Result<Status, ClientError> {
        self.get(&with_service("/v1/status", service)).await
    }

    /// All counters, or those of one service.
    pub async fn stats(&self, service: Option<&str>) -> Result<Stats, ClientError> {
        self.get(&with_service("/v1/stats", service)).await
    }

    /// Where a client's packets go.
    pub async fn explain(&self, service: &str, client: SocketAddr) -> Result<Explanation, ClientError> {
        let client = client.to_string();
        self.get(&format!("/v1/explain?service={}&client={}", escape(service), escape(&client))).await
    }

    /// Makes one change; returns after the grace period.
    pub async fn change(&self, change: &ChangeRequest) -> Result<Change, ClientError> {
        let body = serde_json::to_vec(change).map_err(|error| self.broken(&error))?;
        self.call(Method::POST, "/v1/change", body).await
    }

    /// The events that the daemon keeps, and with `follow` those to come. Ends with the first error.
    pub async fn events(
        &self,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + Send + use<>, ClientError> {
        let path = format!("/v1/events?follow={follow}");
        let body = self.in_time(self.send(Method::GET, &path, Vec::new())).await?.into_body();
        let feed = Feed { client: self.clone(), body, buffer: BytesMut::new() };
        Ok(stream::unfold(Some(feed), |feed| async {
            let mut feed = feed?;
            let event = feed.next().await?;
            let rest = event.is_ok().then_some(feed);
            Some((event, rest))
        }))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let answer = async { self.collect(self.send(method, path, body).await?).await };
        let answer = self.in_time(answer).await?;
        serde_json::from_slice(&answer).map_err(|error| self.broken(&error))
    }

    /// Sends a request and takes the answer's head; an answer other than 200 is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // Whatever ends the connection shows at the sender or in the body.
        tokio::spawn(async { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "splitter")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        match self.collect(response).await.map(|body| serde_json::from_slice::<ApiError>(&body)) {
            Ok(Ok(error)) => error.into(),
            Ok(Err(_)) => self.broken(&format!("HTTP status {status} without a reason")),
            Err(error) => error,
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await.map_err(|error| self.broken(&error))?;
        Ok(body.to_bytes())
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let silent = || ClientError::Silent { socket: self.socket.clone() };
        tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| silent())?
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), source }
    }

    fn broken(&self, cause: &dyn Display) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), cause: cause.to_string() }
    }
}

/// The body of an event feed, cut into lines.
struct Feed {
    client: Client,
    body: Incoming,
    buffer: BytesMut,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(serde_json::from_slice(&line).map_err(|error| self.client.broken(&error)));
            }
            if self.buffer.len() > MAX_LINE {
                return Some(Err(self.client.broken(&"an event is too long")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Some(Err(self.client.broken(&error))),
                None if self.buffer.is_empty() => return None,
                None => return Some(Err(self.client.broken(&"the last event was cut short"))),
            }
        }
    }
}

fn with_service(path: &str, service: Option<&str>) -> String {
    match service {
        Some(service) => format!("{path}?service={}", escape(service)),
        None => path.to_owned(),
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let escape_byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape_byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(with_service("/v1/status", None), "/v1/status");
        assert_eq!(with_service("/v1/status", Some("a b&c=\u{e9}")), "/v1/status?service=a%20b%26c%3D%C3%A9");
        assert_eq!(escape("[2001:db8::1]:80"), "%5B2001%3Adb8%3A%3A1%5D%3A80");
    }

    #[tokio::test]
    async fn an_absent_daemon_is_named_with_its_cure() {
        let error = Client::new("/nonexistent/s").status(None).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }));
        let message = error.to_string();
        assert!(message.starts_with("cannot reach splitterd on /nonexistent/s: No such file"), "{message}");
        assert!(message.contains("start it with `splitterd --config FILE`"), "{message}");
    }
}
