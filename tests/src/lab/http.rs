//! One HTTP/1.1 connection of a client.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

/// An open connection; dropping it closes it from this side.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    target: SocketAddr,
    local: SocketAddr,
}

impl Connection {
    /// Connects. Must be called on the runtime that the connection is to live on.
    pub async fn open(target: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect(target).await.context("connect")?, target).await
    }

    /// The same, from one of the client's addresses.
    pub async fn open_from(source: IpAddr, target: SocketAddr) -> Result<Self> {
        let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.context("socket")?;
        socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("bind to {source}"))?;
        Self::over(socket.connect(target).await.context("connect")?, target).await
    }

    async fn over(stream: TcpStream, target: SocketAddr) -> Result<Self> {
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
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends `content` and gives back what the server echoes.
    pub async fn echo(&mut self, content: Bytes) -> Result<Bytes> {
        self.ask(Method::POST, "/echo", content).await
    }

    /// Sends `content` and gives back how many bytes of it the server has got.
    pub async fn upload(&mut self, content: Bytes) -> Result<usize> {
        let length = self.ask(Method::POST, "/length", content).await?;
        Ok(std::str::from_utf8(&length)?.parse()?)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = Request::builder().method(method).uri(path).header(HOST, self.target.to_string());
        let request = request.body(Full::new(body))?;
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
