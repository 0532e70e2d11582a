//! What clients and backends say to each other.

use std::net::SocketAddr;

use splitter_common::{
    abi::Flow,
    slot::{BackendId, State},
    tables::Exceptions,
};

use super::{Outcome, World, ensure, is_of};
use crate::{
    action::Fate,
    network::{CLIENTS_PER_SLOT, Segment},
    tcp::{Incarnation, PeerState},
};

impl World {
    /// A client sends SYN.
    pub(super) fn open(&mut self, client: usize, fate: Fate) {
        if self.peers[client].state == PeerState::Closed {
            self.peers[client] = self.peers[client].reopened();
        }
        let (address, number) = (self.address(client), self.peers[client].number);
        self.peers[client].heard_ns = self.memory.now_ns;
        let Some(backend) = self.request(address, Segment::Syn) else {
            self.peers[client].state = PeerState::Closed;
            return;
        };
        if fate == Fate::Lost {
            return;
        }
        let answer = self.host(backend).receive(address, Segment::Syn, (number, backend));
        if fate == Fate::Unanswered {
            return;
        }
        let answer = answer.expect("a SYN is always answered");
        self.reply(backend, address, answer);
        if fate == Fate::Answered {
            self.opened(client, backend, answer);
        }
    }

    /// The answer to a SYN has come.
    fn opened(&mut self, client: usize, backend: BackendId, answer: Segment) {
        match answer {
            Segment::SynAck => self.peers[client].state = PeerState::Open(backend),
            Segment::Reset => self.peers[client].state = PeerState::Closed,
            // The backend has an older connection of this 4-tuple (RFC 9293, 3.10.7.3 and 3.10.7.4).
            _ => {
                let address = self.address(client);
                if let Some(older) = self.host(backend).session(address) {
                    self.refuse(address, older.incarnation);
                }
            }
        }
    }

    /// The SYN of an open connection comes once more, delayed on its way.
    pub(super) fn repeat(&mut self, client: usize, fate: Fate) -> Outcome {
        let Some(incarnation) = self.peers[client].incarnation() else { return Ok(()) };
        if self.older_than_shift(client) {
            return Ok(());
        }
        let Some(to) = self.send(client, Segment::Syn)? else { return Ok(()) };
        let address = self.address(client);
        if let Some(answer) =
            self.host(to).receive(address, Segment::Syn, incarnation).filter(|_| fate != Fate::Lost)
        {
            self.reply(to, address, answer);
        }
        Ok(())
    }

    /// The connection belongs to `previous` and is not recorded, or by its end only.
    fn older_than_shift(&self, client: usize) -> bool {
        let slot = self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT);
        let address = self.address(client);
        let held = |table, which: fn(&Flow) -> bool| {
            let entries = self.memory.table(table).borrow().all();
            entries.iter().any(|(key, flow)| is_of(key, address) && which(flow))
        };
        let recorded = |which| held(Exceptions::Flows, which) || held(Exceptions::Embryonic, which);
        let dirty = matches!(slot.state(), State::Dirty { .. });
        recorded(|flow| flow.end == Flow::ENDING) || (dirty && !recorded(|_| true))
    }

    /// A client resets what it does not know.
    fn refuse(&mut self, client: SocketAddr, incarnation: Incarnation) {
        if let Some(to) = self.request(client, Segment::Reset) {
            self.host(to).receive(client, Segment::Reset, incarnation);
        }
    }

    pub(super) fn talk(&mut self, client: usize, fin: bool, fate: Fate) -> Outcome {
        let Some(incarnation) = self.peers[client].incarnation() else { return Ok(()) };
        self.peers[client].fin_sent |= fin;
        // FIN is repeated until it is acknowledged.
        let segment = if self.peers[client].fin_sent { Segment::Fin } else { Segment::Ack };
        let to = self.send(client, segment)?;
        self.peers[client].close_if_done();
        if fate == Fate::Lost {
            return Ok(());
        }
        let address = self.address(client);
        let answer = match to {
            Some(to) => self.host(to).receive(address, segment, incarnation),
            None => Some(Segment::Reset),
        };
        let Some(answer) = answer.filter(|_| fate != Fate::Unanswered) else { return Ok(()) };
        if let Some(to) = to {
            self.reply(to, address, answer);
        }
        self.heard(client, answer, fate == Fate::Answered);
        let cut = self.peers[client].promised && answer == Segment::Reset;
        ensure(!cut, || format!("connection {incarnation:?} of client {client} is unknown to its backend"))
    }

    /// The answer to a client's segment has come by.
    fn heard(&mut self, client: usize, answer: Segment, arrives: bool) {
        let peer = &mut self.peers[client];
        if answer == Segment::Reset && arrives {
            peer.state = PeerState::Closed;
        }
        peer.heard_ns = self.memory.now_ns;
    }

    pub(super) fn speak(&mut self, client: usize, backend: BackendId, fin: bool, arrives: bool) -> Outcome {
        let address = self.address(client);
        let Some(session) = self.host(backend).session(address).filter(|session| session.established) else {
            return Ok(());
        };
        let segment = if fin { Segment::Fin } else { Segment::Ack };
        if fin {
            self.host(backend).finish(address);
        }
        self.reply(backend, address, segment);
        let peer = &mut self.peers[client];
        if peer.incarnation() == Some(session.incarnation) {
            peer.heard_ns = self.memory.now_ns;
            peer.fin_heard |= fin;
            peer.close_if_done();
            return Ok(());
        }
        if arrives { self.startle(client, session.incarnation) } else { Ok(()) }
    }

    /// A client gets a segment of an older connection.
    fn startle(&mut self, client: usize, older: Incarnation) -> Outcome {
        match self.peers[client].state {
            PeerState::Open(_) => self.talk(client, false, Fate::Unanswered),
            PeerState::Opening | PeerState::Closed => {
                self.refuse(self.address(client), older);
                Ok(())
            }
        }
    }

    pub(super) fn reset(&mut self, client: usize, arrives: bool) -> Outcome {
        let Some(incarnation) = self.peers[client].incarnation() else { return Ok(()) };
        let address = self.address(client);
        let to = self.send(client, Segment::Reset)?;
        self.peers[client].state = PeerState::Closed;
        if let Some(to) = to.filter(|_| arrives) {
            self.host(to).receive(address, Segment::Reset, incarnation);
        }
        Ok(())
    }

    pub(super) fn abort(&mut self, client: usize, backend: BackendId) {
        let address = self.address(client);
        let Some(session) = self.host(backend).session(address) else { return };
        self.host(backend).abort(address);
        self.reply(backend, address, Segment::Reset);
        let peer = &mut self.peers[client];
        if peer.incarnation() == Some(session.incarnation) {
            peer.state = PeerState::Closed;
        }
    }
}
