//! Makes the API's unix socket, and never takes over a socket that somebody answers on.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::FlockOperation,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt},
};
use tokio::net::UnixListener;

/// Mode of the directory made for the socket.
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of the socket: connecting takes write permission.
const SOCKET_MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers on it, or is about to.
    #[error("splitterd is already running on {}{}: stop it first, or give this one another socket", socket.display(), of_pid(*pid))]
    Running {
        /// The socket.
        socket: PathBuf,
        /// Its process, if the kernel told.
        pid: Option<u32>,
    },
    /// The path is taken by something else.
    #[error("{} exists and is not a socket: move it away, or give another path as daemon.socket", socket.display())]
    NotASocket {
        /// The path.
        socket: PathBuf,
    },
    /// A system call failed.
    #[error("cannot make the socket {}: {doing}: {source}", socket.display())]
    System {
        /// The path.
        socket: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

fn of_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Binds `path` with mode 0660, its directory made if need be. Needs a tokio runtime.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |doing| move |source| BindError::System { socket: path.into(), doing, source };
    let directory = make_directory(path).map_err(failed("making its directory"))?;
    // Two daemons that start together must not both find the socket stale.
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(BindError::Running { socket: path.into(), pid: None }),
        other => other.map_err(io::Error::from).map_err(failed("locking its directory"))?,
    }
    remove_stale(path)?;
    let listener = listen(path).map_err(failed("binding"))?;
    UnixListener::from_std(listener).map_err(failed("handing it to the runtime"))
}

fn make_directory(path: &Path) -> io::Result<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
    File::open(parent)
}

/// Makes way for the socket, unless somebody uses the path.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |doing| move |source| BindError::System { socket: path.into(), doing, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at it")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { socket: path.into() });
        }
        Ok(_) => {}
    }
    match probe(path).map_err(failed("asking who uses it"))? {
        Probe::Answered(pid) => Err(BindError::Running { socket: path.into(), pid }),
        Probe::Silent => fs::remove_file(path).map_err(failed("removing the stale one")),
    }
}

enum Probe {
    Answered(Option<u32>),
    Silent,
}

fn probe(path: &Path) -> io::Result<Probe> {
    let socket = stream_socket()?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let peer = sockopt::socket_peercred(&socket).ok();
            Ok(Probe::Answered(peer.map(|peer| peer.pid.as_raw_nonzero().get().unsigned_abs())))
        }
        // The queue of its listener is full: somebody listens.
        Err(Errno::AGAIN) => Ok(Probe::Answered(None)),
        Err(Errno::CONNREFUSED) => Ok(Probe::Silent),
        Err(error) => Err(error.into()),
    }
}

/// The mode is set between bind and listen, so nobody connects under another one.
fn listen(path: &Path) -> io::Result<net::UnixListener> {
    let socket = stream_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn makes_the_directory_and_a_socket_for_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/splitter/splitter.sock");
        let _listener = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o660);
        net::UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn refuses_a_socket_that_answers_and_names_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = bind(&path).unwrap();
        let message = bind(&path).unwrap_err().to_string();
        let expected = format!("already running on {} (pid {})", path.display(), std::process::id());
        assert!(message.contains(&expected), "{message}");
        net::UnixStream::connect(&path).expect("the running one is untouched");
    }

    #[tokio::test]
    async fn replaces_a_socket_that_nobody_answers_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        let _listener = bind(&path).unwrap();
        net::UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn refuses_what_is_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "precious").unwrap();
        let message = bind(&path).unwrap_err().to_string();
        assert!(message.contains("exists and is not a socket"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn names_what_failed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let message = bind(&dir.path().join("file/s")).unwrap_err().to_string();
        assert!(message.contains("making its directory"), "{message}");
    }
}
