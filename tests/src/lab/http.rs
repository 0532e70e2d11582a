//! One HTTP/1.1 connection of a client.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An open connection; dropping it closes it from this side.
pub struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    target: SocketAddr,
    local: SocketAddr,
}

impl Connection {
    /// Connects. Must be called on the runtime that the connection is to live on.
    pub async fn open(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target).await.context("connect")?;
        let local = stream.local_addr().context("local address")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
        tokio::spawn(async move {
            // Its errors come back to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { sender, target, local })
    }

    /// This side's address and port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends one request and reads the whole answer.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        let request = Request::get(path).header(HOST, self.target.to_string()).body(Empty::new())?;
        self.sender.ready().await.context("connection")?;
        let response = self.sender.send_request(request).await.context("request")?;
        let status = response.status();
        ensure!(status.is_success(), "status {status}");
        Ok(response.into_body().collect().await.context("answer")?.to_bytes())
    }

    /// Asks for the server's name.
    pub async fn server(&mut self) -> Result<String> {
        let name = self.get("/").await?;
        String::from_utf8(name.into()).context("the server's name is no UTF-8")
    }
}
