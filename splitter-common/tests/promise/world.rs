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

mod connections;
mod wire;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use splitter_common::{
    abi::{FlowKey, TableCounters},
    net::Transport,
    slot::BackendId,
    tables::Exceptions,
};

use super::{
    action::{Action, Fate},
    daemon::{Daemon, IDLE_NS, LINGER_NS, MARGIN_NS},
    memory::{Lru, Memory},
    network::{BACKENDS, CLIENTS_PER_SLOT, Family, Population, SLOTS_IN_PLAY, port},
    tcp::{Host, Peer, PeerState},
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

    /// For how long the flow table has known of a client's connection, nanoseconds; `None` when it does not.
    pub fn known_for_ns(&self, client: usize) -> Option<u64> {
        let entries = self.memory.flows.borrow().all();
        let own = entries.iter().find(|(key, _)| is_of(key, self.address(client)));
        own.map(|(_, flow)| self.memory.now_ns - flow.since_ns)
    }

    /// What a client has of a connection.
    pub fn state(&self, client: usize) -> PeerState {
        self.peers[client].state
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
                self.open(client, fate);
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
        self.check_strangers()?;
        self.check_ages()
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

    /// Nothing was seen before it began, or will begin.
    fn check_ages(&self) -> Outcome {
        for table in [Exceptions::Flows, Exceptions::Embryonic] {
            let entries = self.memory.table(table).borrow().all();
            let wrong = entries.iter().find(|(_, flow)| flow.since_ns > flow.seen_ns || flow.since_ns == 0);
            ensure(wrong.is_none(), || format!("{table:?}: seen before it began: {wrong:?}"))?;
        }
        Ok(())
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
    *key == FlowKey::new(0, Transport::Tcp, client.ip().into(), port(client))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}
