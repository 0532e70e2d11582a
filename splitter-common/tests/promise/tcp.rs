//! The ends of connections: as much of TCP (RFC 9293) as decides who sends what.

use std::{collections::HashMap, net::SocketAddr};

use splitter_common::slot::BackendId;

use super::network::Segment;

/// What sequence numbers tell apart in a real TCP: which of the client's connections, and whose SYN-ACK.
pub type Incarnation = (u32, BackendId);

/// A backend's TCP.
#[derive(Default)]
pub struct Host {
    sessions: HashMap<SocketAddr, Session>,
}

/// A connection as its backend has it.
#[derive(Clone, Copy)]
pub struct Session {
    /// Which of the client's connections.
    pub incarnation: Incarnation,
    /// The handshake is complete.
    pub established: bool,
    fin_sent: bool,
    fin_seen: bool,
}

impl Host {
    /// What it knows of a client.
    pub fn session(&self, client: SocketAddr) -> Option<Session> {
        self.sessions.get(&client).copied()
    }

    /// Takes a segment; returns the answer.
    pub fn receive(
        &mut self,
        client: SocketAddr,
        segment: Segment,
        incarnation: Incarnation,
    ) -> Option<Segment> {
        let known = self.sessions.get_mut(&client);
        match (segment, known) {
            (Segment::Syn, Some(session)) if session.established => Some(Segment::Ack),
            (Segment::Syn, _) => {
                let session = Session { incarnation, established: false, fin_sent: false, fin_seen: false };
                self.sessions.insert(client, session);
                Some(Segment::SynAck)
            }
            (Segment::Reset, Some(session)) if session.incarnation == incarnation => {
                self.sessions.remove(&client);
                None
            }
            (Segment::Reset, _) => None,
            (_, None) => Some(Segment::Reset),
            (_, Some(session)) if session.incarnation != incarnation => {
                Some(if session.established { Segment::Ack } else { Segment::Reset })
            }
            (_, Some(session)) => {
                session.established = true;
                session.fin_seen |= segment == Segment::Fin;
                self.drop_if_done(client);
                Some(Segment::Ack)
            }
        }
    }

    /// Sends FIN, if there is a connection to end.
    pub fn finish(&mut self, client: SocketAddr) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.fin_sent = true;
        }
        self.drop_if_done(client);
    }

    /// Forgets a connection.
    pub fn abort(&mut self, client: SocketAddr) {
        self.sessions.remove(&client);
    }

    fn drop_if_done(&mut self, client: SocketAddr) {
        self.sessions.retain(|of, session| *of != client || !(session.fin_sent && session.fin_seen));
    }
}

/// A client's TCP, with at most one connection: the next one has the same 4-tuple.
#[derive(Clone, Copy)]
pub struct Peer {
    /// Number of its last connection.
    pub number: u32,
    /// What there is of it.
    pub state: PeerState,
    /// When its first SYN, or the backend's last segment but a SYN-ACK, came by.
    pub heard_ns: u64,
    /// What has happened to it does not excuse a segment that goes astray.
    pub promised: bool,
    /// It has sent FIN.
    pub fin_sent: bool,
    /// The backend has.
    pub fin_heard: bool,
}

/// What there is of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    Closed,
    /// SYN sent.
    Opening,
    /// With the backend whose SYN-ACK the client took: its true backend.
    Open(BackendId),
}

impl Peer {
    /// Nothing yet.
    pub const CLOSED: Self = Self {
        number: 0,
        state: PeerState::Closed,
        heard_ns: 0,
        promised: true,
        fin_sent: false,
        fin_heard: false,
    };

    /// Its next connection.
    pub const fn reopened(self) -> Self {
        Self { number: self.number + 1, state: PeerState::Opening, ..Self::CLOSED }
    }

    /// What its segments bear.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.backend().map(|backend| (self.number, backend))
    }

    /// The true backend of an open connection.
    pub const fn backend(&self) -> Option<BackendId> {
        match self.state {
            PeerState::Open(backend) => Some(backend),
            PeerState::Closed | PeerState::Opening => None,
        }
    }

    /// FIN both ways: what comes after is nobody's promise.
    pub fn close_if_done(&mut self) {
        if self.fin_sent && self.fin_heard {
            self.state = PeerState::Closed;
        }
    }
}
