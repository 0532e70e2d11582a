//! Clients, backends and the real data plane between them, and what must hold.
//!
//! What is taken as given, and what a connection is promised:
//! - A connection's true backend is the one whose SYN-ACK its client took. Until then nothing is promised: a SYN
//!   that is repeated after a shift may well go elsewhere, and one that was delayed on its way until the connection
//!   was open and a shift had come takes it there. A backend repeats its SYN-ACK only when asked by a SYN.
//! - "Never silent for longer than `idle_timeout`" means: between two segments of its backend (the SYN-ACK does not
//!   count, the client's SYN does) no more than that passes. An acknowledgement that nobody answers ends no silence.
//! - A connection whose embryonic entry was evicted, by a flood of SYNs between its own and its next segment, is
//!   promised nothing, nor is one whose backend has died.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use splitter_common::{
    abi::{FlowKey, TableCounters},
    pipeline::{self, Verdict, process},
    slot::{BackendId, State},
    tables::Exceptions,
};

use super::{
    action::{Action, Fate},
    daemon::{Daemon, IDLE_NS, LINGER_NS, MARGIN_NS},
    memory::{Lru, Memory},
    network::{
        BACKENDS, CLIENTS_PER_SLOT, Family, Population, SLOTS_IN_PLAY, Segment, endpoints, frame, port,
    },
    tcp::{Host, Incarnation, Peer, PeerState},
};

/// What went wrong.
pub type Outcome = Result<(), String>;

/// Room in the tables, and whom the promise is for.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Room in the flow table.
    pub flows: usize,
    /// Room in the embryonic table.
    pub embryonic: usize,
    /// The promise is for those alone whose slot was CLEAN all their life: tables too small may break the others.
    pub clean_slots_only: bool,
}

/// Everything.
pub struct World {
    memory: Memory,
    daemon: Daemon,
    hosts: Vec<Host>,
    peers: Vec<Peer>,
    /// SYNs that nobody meant, by the backend that took them.
    flooded: BTreeSet<(BackendId, SocketAddr)>,
    population: &'static Population,
    family: Family,
    setting: Setting,
}

impl World {
    /// No connection yet; all slots CLEAN and of backend 1.
    pub fn new(family: Family, setting: Setting) -> Self {
        let (flows, embryonic) = (Lru::of(setting.flows), Lru::of(setting.embryonic));
        let mut memory = Memory::new(family, IDLE_NS, flows, embryonic);
        let population = family.population();
        let daemon = Daemon::new(population.slots, &mut memory);
        let hosts = (0..BACKENDS).map(|_| Host::default()).collect();
        let peers = vec![Peer::CLOSED; population.clients.len()];
        Self { memory, daemon, hosts, peers, flooded: BTreeSet::new(), population, family, setting }
    }

    /// What happened to the tables so far.
    pub fn counters(&self) -> TableCounters {
        *self.memory.counters.borrow()
    }

    /// How many entries had to make room in the flow table.
    pub fn evicted_flows(&self) -> usize {
        self.memory.flows.borrow().evicted.len()
    }

    /// Something happens.
    pub fn act(&mut self, action: &Action) -> Outcome {
        match *action {
            Action::Shift { slot, to } => self.daemon.shift(&mut self.memory, slot, BackendId::new(to)),
            Action::Wait(time) => self.wait(time)?,
            Action::Sweep => self.daemon.sweep(&mut self.memory),
            Action::SweepStep => self.daemon.step(&mut self.memory),
            Action::Die { backend, crashed } => self.die(BackendId::new(backend), crashed),
            Action::Revive { backend } => self.daemon.revive(&mut self.memory, BackendId::new(backend)),
            Action::Open { client, fate } if self.peers[client].backend().is_none() => {
                self.open(client, fate)
            }
            Action::Open { client, fate } => self.repeat(client, fate)?,
            Action::Talk { client, fin, fate } => self.talk(client, fin, fate)?,
            Action::Speak { client, backend, fin, arrives } => {
                self.speak(client, BackendId::new(backend), fin, arrives)?;
            }
            Action::Reset { client, arrives } => self.reset(client, arrives)?,
            Action::Abort { client, backend } => self.abort(client, BackendId::new(backend)),
            Action::Vanish { client } => self.peers[client].state = PeerState::Closed,
            Action::Flood { slot, size } => self.flood(slot, size),
            Action::Echo => self.echo(),
            Action::Stray { slot, size } => self.stray(slot, size),
        }
        self.excuse();
        self.check_strangers()
    }

    /// Nobody shifts, time passes, those whose slot is another's by now close: all slots must become CLEAN and the
    /// tables empty, those who stayed must still be served, and everybody must be able to open a connection.
    pub fn come_to_rest(&mut self) -> Outcome {
        for client in 0..self.peers.len() {
            let current = self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT).current();
            if self.peers[client].backend() != Some(current) || !self.peers[client].promised {
                self.reset(client, true)?;
            }
        }
        self.wait(Duration::from_nanos(IDLE_NS + MARGIN_NS))?;
        self.daemon.sweep(&mut self.memory);
        self.wait(Duration::from_nanos(LINGER_NS))?;
        self.daemon.sweep(&mut self.memory);
        self.check_rest()?;
        (0..self.peers.len()).try_for_each(|client| self.check_service(client))
    }

    fn check_rest(&self) -> Outcome {
        for position in 0..SLOTS_IN_PLAY {
            let slot = self.daemon.slot(&self.memory, position);
            ensure(slot.is_clean(), || format!("slot {position} stays {:?}", slot.state()))?;
        }
        for table in [Exceptions::Flows, Exceptions::Embryonic] {
            let left = self.memory.table(table).borrow().all();
            ensure(left.is_empty(), || format!("{table:?} still holds {left:?}"))?;
        }
        Ok(())
    }

    /// An open connection is served, and one that is not is opened within a few SYNs: a backend that still has an
    /// older connection of this 4-tuple has it reset first.
    fn check_service(&mut self, client: usize) -> Outcome {
        if self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT).current().is_none() {
            return Ok(());
        }
        for _ in 0..3 {
            self.act(&Action::Open { client, fate: Fate::Answered })?;
            self.talk(client, false, Fate::Answered)?;
        }
        let state = self.peers[client].state;
        ensure(matches!(state, PeerState::Open(_)), || format!("client {client} is {state:?} for good"))
    }

    fn wait(&mut self, time: Duration) -> Outcome {
        let until = self.memory.now_ns + u64::try_from(time.as_nanos()).expect("a minute or so");
        while let Some((due, client)) = self.next_due().filter(|(due, _)| *due <= until) {
            self.memory.now_ns = self.memory.now_ns.max(due);
            self.talk(client, false, Fate::Answered)?;
        }
        self.memory.now_ns = until;
        Ok(())
    }

    /// The open connection that must be heard of next, and when.
    fn next_due(&self) -> Option<(u64, usize)> {
        let open = self.peers.iter().enumerate().filter(|(_, peer)| peer.backend().is_some());
        open.map(|(client, peer)| (peer.heard_ns + IDLE_NS, client)).min()
    }

    fn die(&mut self, backend: BackendId, crashed: bool) {
        self.daemon.bury(&mut self.memory, backend);
        if crashed {
            *self.host(backend) = Host::default();
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.backend() == Some(backend)) {
            peer.promised = false;
        }
    }

    fn open(&mut self, client: usize, fate: Fate) {
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
    fn repeat(&mut self, client: usize, fate: Fate) -> Outcome {
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

    /// The connection belongs to `previous` and is not recorded.
    fn older_than_shift(&self, client: usize) -> bool {
        let slot = self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT);
        let address = self.address(client);
        let held = |table| self.memory.table(table).borrow().all().iter().any(|(key, _)| is_of(key, address));
        let recorded = held(Exceptions::Flows) || held(Exceptions::Embryonic);
        matches!(slot.state(), State::Dirty { .. }) && !recorded
    }

    /// A client resets what it does not know.
    fn refuse(&mut self, client: SocketAddr, incarnation: Incarnation) {
        if let Some(to) = self.request(client, Segment::Reset) {
            self.host(to).receive(client, Segment::Reset, incarnation);
        }
    }

    fn talk(&mut self, client: usize, fin: bool, fate: Fate) -> Outcome {
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

    fn speak(&mut self, client: usize, backend: BackendId, fin: bool, arrives: bool) -> Outcome {
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

    fn reset(&mut self, client: usize, arrives: bool) -> Outcome {
        let Some(incarnation) = self.peers[client].incarnation() else { return Ok(()) };
        let address = self.address(client);
        let to = self.send(client, Segment::Reset)?;
        self.peers[client].state = PeerState::Closed;
        if let Some(to) = to.filter(|_| arrives) {
            self.host(to).receive(address, Segment::Reset, incarnation);
        }
        Ok(())
    }

    fn abort(&mut self, client: usize, backend: BackendId) {
        let address = self.address(client);
        let Some(session) = self.host(backend).session(address) else { return };
        self.host(backend).abort(address);
        self.reply(backend, address, Segment::Reset);
        let peer = &mut self.peers[client];
        if peer.incarnation() == Some(session.incarnation) {
            peer.state = PeerState::Closed;
        }
    }

    /// SYNs that nobody means, and their answers.
    fn flood(&mut self, slot: usize, size: usize) {
        for client in &self.population.flooders[slot][..size] {
            if let Some(backend) = self.request(*client, Segment::Syn) {
                self.reply(backend, *client, Segment::SynAck);
                self.flooded.insert((backend, *client));
            }
        }
    }

    /// A SYN-ACK that nobody acknowledges is repeated.
    fn echo(&mut self) {
        for (backend, client) in self.flooded.clone() {
            self.reply(backend, client, Segment::SynAck);
        }
    }

    /// Segments of no connection, and the resets that answer them.
    fn stray(&mut self, slot: usize, size: usize) {
        for client in &self.population.strays[slot][..size] {
            if let Some(backend) = self.request(*client, Segment::Ack) {
                self.reply(backend, *client, Segment::Reset);
            }
        }
    }

    /// Neither can evict an exception: they do not get into that table.
    fn check_strangers(&self) -> Outcome {
        let known = |key: &FlowKey| self.population.clients.iter().any(|client| is_of(key, *client));
        let entries = self.memory.flows.borrow().all();
        let stranger = entries.iter().find(|(key, _)| !known(key));
        ensure(stranger.is_none(), || format!("a stranger is recorded: {stranger:?}"))
    }

    /// A client's segment of an open connection: it must reach the true backend.
    fn send(&mut self, client: usize, segment: Segment) -> Result<Option<BackendId>, String> {
        let to = self.request(self.address(client), segment);
        let peer = &self.peers[client];
        let slot = self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT);
        ensure(!peer.promised || to == peer.backend(), || {
            format!(
                "{segment:?} of client {client}, connection {}, {:?}, went to {to:?}; its slot is {:?} of {:?}",
                peer.number,
                peer.state,
                slot.state(),
                slot.current()
            )
        })?;
        Ok(to)
    }

    /// Through the data plane; none where it answered itself.
    fn request(&mut self, client: SocketAddr, segment: Segment) -> Option<BackendId> {
        let mut frame = frame(client, self.family.service(), segment);
        let verdict = process(&mut frame[..], &self.memory);
        self.excuse_evicted();
        match verdict.action() {
            pipeline::Action::Send(_) => {
                let [source, destination] = endpoints(&frame);
                assert_eq!(source, client);
                (1..=BACKENDS).map(BackendId::new).find(|id| self.family.backend(*id) == destination)
            }
            pipeline::Action::Return | pipeline::Action::Drop => None,
            pipeline::Action::Pass => panic!("a service's segment was passed to the kernel"),
        }
    }

    fn reply(&mut self, backend: BackendId, client: SocketAddr, segment: Segment) {
        let mut frame = frame(self.family.backend(backend), client, segment);
        let verdict = process(&mut frame[..], &self.memory);
        assert_eq!((verdict, endpoints(&frame)), (Verdict::send(1), [self.family.service(), client]));
    }

    /// A flood has evicted the embryonic entry of one whose handshake it met.
    fn excuse_evicted(&mut self) {
        for key in std::mem::take(&mut self.memory.embryonic.borrow_mut().evicted) {
            if let Some(client) = self.population.clients.iter().position(|client| is_of(&key, *client)) {
                self.peers[client].promised = false;
            }
        }
    }

    fn excuse(&mut self) {
        if !self.setting.clean_slots_only {
            return;
        }
        for (client, peer) in self.peers.iter_mut().enumerate() {
            peer.promised &= self.daemon.slot(&self.memory, client / CLIENTS_PER_SLOT).is_clean();
        }
    }

    fn address(&self, client: usize) -> SocketAddr {
        self.population.clients[client]
    }

    fn host(&mut self, backend: BackendId) -> &mut Host {
        &mut self.hosts[usize::from(backend.get()) - 1]
    }
}

fn is_of(key: &FlowKey, client: SocketAddr) -> bool {
    *key == FlowKey::new(0, client.ip().into(), port(client))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}
