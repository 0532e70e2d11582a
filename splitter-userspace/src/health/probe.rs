//! One TCP connect check.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{net::TcpStream, time::timeout};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The backend accepted.
    Pass {
        /// Time to connect.
        took: Duration,
    },
    /// It did not.
    Fail(String),
    /// This host could not even ask; nothing is known about the backend.
    Inconclusive(String),
}

/// Errors of this host, not of the backend: out of descriptors, memory or ports.
const OUR_OWN: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// Connects to `address` and closes again, within `limit`.
///
/// The close is an orderly one (FIN), not a reset: servers that accept a connection only to have it reset log an
/// error each time. Its price is a socket in TIME_WAIT on this side for a minute; ports are not used up by that,
/// since each backend has the whole range to itself.
pub(super) async fn connect(address: SocketAddr, limit: Duration) -> Outcome {
    let start = Instant::now();
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_closed_when_dropped)) => Outcome::Pass { took: start.elapsed() },
        Ok(Err(error)) if is_our_own(&error) => Outcome::Inconclusive(describe(&error)),
        Ok(Err(error)) => Outcome::Fail(describe(&error)),
        Err(_) => Outcome::Fail(format!("no answer within {limit:?}")),
    }
}

fn is_our_own(error: &io::Error) -> bool {
    OUR_OWN.iter().any(|own| error.raw_os_error() == Some(own.raw_os_error()))
}

/// The kernel's words, without the number that the standard library appends.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_open_port_passes_and_sees_an_orderly_close() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outcome = connect(listener.local_addr().unwrap(), LIMIT).await;
        assert!(matches!(outcome, Outcome::Pass { .. }), "{outcome:?}");
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert_eq!(accepted.read(&mut [0]).await.unwrap(), 0, "end of stream, not a reset");
    }

    #[tokio::test]
    async fn a_closed_port_fails_in_the_kernels_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(connect(address, LIMIT).await, Outcome::Fail("connection refused".to_owned()));
    }

    #[tokio::test]
    async fn silence_fails_after_the_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let _fills_the_queue = TcpStream::connect(address).await.unwrap();
        let outcome = connect(address, Duration::from_millis(50)).await;
        assert_eq!(outcome, Outcome::Fail("no answer within 50ms".to_owned()));
    }

    #[test]
    fn running_out_of_descriptors_says_nothing_about_the_backend() {
        assert!(is_our_own(&Errno::MFILE.into()));
        assert!(!is_our_own(&Errno::CONNREFUSED.into()));
        assert!(!is_our_own(&Errno::HOSTUNREACH.into()));
    }
}
