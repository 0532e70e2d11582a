//! Notifications that something changed. What exactly is not read from them: the tables are.

use std::{io, time::Duration};

use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::time::{Instant, timeout_at};

use super::Error;

/// Notifications come in bursts (an interface that goes up brings addresses and routes): a burst is over
/// after this long without another one.
const QUIET: Duration = Duration::from_millis(20);

/// A burst is cut off after this long.
const LONGEST_BURST: Duration = Duration::from_millis(180);

/// Room for the largest message the kernel sends (`NLMSG_GOODSIZE` and more, `linux/netlink.h`).
const BUFFER: usize = 32 * 1024;

/// `ENOBUFS`: the kernel had more to say than the socket had room for.
const LOST_MESSAGES: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

/// `RTM_NEWNEIGH` and `RTM_DELNEIGH` (`linux/rtnetlink.h`).
const NEIGHBOUR_MESSAGES: [u16; 2] = [28, 29];

const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// What has to be read again; the later one includes the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// The neighbour tables.
    Neighbours,
    /// All tables.
    Everything,
}

/// A socket that hears the kernel's notifications.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// What the burst in progress amounts to.
    heard: Option<Change>,
}

impl Events {
    /// Subscribes in the calling thread's network namespace.
    pub(super) fn subscribe() -> Result<Self, Error> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0)).map_err(Error::Open)?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group as u32).map_err(Error::Open)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER), heard: None })
    }

    /// Waits for a change and for the burst it belongs to. Dropped half-way, it loses nothing.
    pub(super) async fn burst(&mut self) -> Result<Change, Error> {
        if self.heard.is_none() {
            self.hear().await?;
        }
        let cut_off = Instant::now() + LONGEST_BURST;
        while Instant::now() < cut_off {
            match timeout_at(cut_off.min(Instant::now() + QUIET), self.hear()).await {
                Ok(heard) => heard?,
                Err(_) => break,
            }
        }
        Ok(self.heard.take().unwrap_or(Change::Everything))
    }

    async fn hear(&mut self) -> Result<(), Error> {
        let change = self.next().await?;
        self.heard = self.heard.max(Some(change));
        Ok(())
    }

    async fn next(&mut self) -> Result<Change, Error> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(classify(&self.buffer)),
            Err(error) if error.raw_os_error() == Some(LOST_MESSAGES) => Ok(Change::Everything),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Change::Everything),
            Err(error) => Err(Error::Events(error)),
        }
    }
}

/// By the type in the header (`struct nlmsghdr`: length, then type) of the one message in a notification.
fn classify(notification: &[u8]) -> Change {
    let kind = notification.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(kind) if NEIGHBOUR_MESSAGES.contains(&kind) => Change::Neighbours,
        _ => Change::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(kind: u16) -> Vec<u8> {
        let mut bytes = 16u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(16, 0);
        bytes
    }

    #[test]
    fn only_neighbour_messages_spare_the_other_tables() {
        assert_eq!(classify(&notification(28)), Change::Neighbours);
        assert_eq!(classify(&notification(29)), Change::Neighbours);
        assert_eq!(classify(&notification(24)), Change::Everything);
        assert_eq!(classify(&notification(16)), Change::Everything);
    }

    #[test]
    fn what_cannot_be_read_means_everything() {
        assert_eq!(classify(&[]), Change::Everything);
        assert_eq!(classify(&[0; 5]), Change::Everything);
    }

    #[test]
    fn the_larger_change_wins_in_a_burst() {
        assert_eq!(Change::Neighbours.max(Change::Everything), Change::Everything);
    }
}
