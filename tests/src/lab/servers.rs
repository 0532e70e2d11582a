//! The application: an HTTP server and a UDP echo on every backend host, each answering with the host's name.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Runner, Topology};

/// Where every backend serves HTTP, on IPv4 and IPv6.
pub const HTTP_PORT: u16 = 8080;
/// Where every backend echoes datagrams, on IPv4 and IPv6.
pub const UDP_PORT: u16 = 8081;
/// Most bytes that one answer to `/bytes` has.
const MOST_BYTES: usize = 64 << 20;

/// The running servers, by host name.
pub struct Servers {
    runners: BTreeMap<String, Runner>,
}

impl Servers {
    /// Starts all; when this returns, they listen.
    pub fn start(topology: &Topology) -> Result<Self> {
        let mut servers = Self { runners: BTreeMap::new() };
        topology.hosts().try_for_each(|host| servers.start_one(topology, &host.name))?;
        Ok(servers)
    }

    /// Starts those of one host, again after a [`stop`](Self::stop).
    pub fn start_one(&mut self, topology: &Topology, host: &str) -> Result<()> {
        let namespace = topology.backend(host).with_context(|| format!("there is no host {host}"))?;
        let runner = Runner::start(namespace)?;
        let listening = runner.run(listen(host.into())).and_then(|listening| listening);
        listening.with_context(|| format!("server {host}"))?;
        self.runners.insert(host.to_owned(), runner);
        Ok(())
    }

    /// Kills the servers of one host: its connections are reset and new ones refused. False if there are none.
    pub fn stop(&mut self, host: &str) -> bool {
        self.runners.remove(host).is_some()
    }
}

async fn listen(name: Arc<str>) -> Result<()> {
    // The unspecified IPv6 address takes IPv4 in as well.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, HTTP_PORT)).await.context("HTTP port")?;
    let datagrams = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UDP_PORT)).await.context("UDP port")?;
    tokio::spawn(accept(listener, name.clone()));
    tokio::spawn(echo(datagrams, name));
    Ok(())
}

async fn accept(listener: TcpListener, name: Arc<str>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(tokio::spawn(serve(stream, peer.ip(), name.clone()))),
            // Per accept(2), errors of the one connection or a lack of resources: the next one may do better.
            Err(cause) => eprintln!("lab: {name}: accept: {cause}"),
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, name: Arc<str>) {
    let service = service_fn(|request: Request<Incoming>| {
        let name = name.clone();
        async move {
            match request.uri().path() {
                "/echo" => {
                    request.into_body().collect().await.map(|body| Response::new(Full::new(body.to_bytes())))
                }
                "/length" => {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok(Response::new(Full::new(body.len().to_string().into())))
                }
                "/peer" => Ok(Response::new(Full::new(peer.to_canonical().to_string().into()))),
                _ => Ok(answer(&name, request.uri())),
            }
        }
    });
    // A client may go away at any time; it counts its own failures.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// `/` gives the server's name, `/bytes?n=N` gives N zero bytes. (Elsewhere: `/echo` gives what it was sent, `/length` how
/// much that was, `/peer` the address that it came from.)
fn answer(name: &str, uri: &Uri) -> Response<Full<Bytes>> {
    let wanted = || uri.query()?.strip_prefix("n=")?.parse::<usize>().ok().filter(|size| *size <= MOST_BYTES);
    let body = match uri.path() {
        "/" => Some(Bytes::copy_from_slice(name.as_bytes())),
        "/bytes" => wanted().map(|size| Bytes::from(vec![0; size])),
        _ => None,
    };
    let status = if body.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut response = Response::new(Full::new(body.unwrap_or_default()));
    *response.status_mut() = status;
    response
}

/// Answers every datagram with the server's name, a space, and the datagram.
async fn echo(socket: UdpSocket, name: Arc<str>) {
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors are of single datagrams (an ICMP error that came back, say); the socket goes on.
        let Ok((size, sender)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = [name.as_bytes(), b" ", &buffer[..size]].concat();
        let _ = socket.send_to(&answer, sender).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_is_answered() {
        let status = |path: &'static str| answer("blue1", &Uri::from_static(path)).status();
        assert_eq!(status("/"), StatusCode::OK);
        assert_eq!(status("/bytes?n=10"), StatusCode::OK);
        assert_eq!(status("/bytes?n=many"), StatusCode::BAD_REQUEST);
        assert_eq!(status("/else"), StatusCode::BAD_REQUEST);
    }
}
