//! Through the data plane, there and back, and what must hold of every segment.

use std::net::SocketAddr;

use splitter_common::{
    abi::FlowKey,
    pipeline::{Action, process},
    slot::BackendId,
};

use super::{Outcome, World, ensure, is_of};
use crate::network::{BACKENDS, CLIENTS_PER_SLOT, Segment, endpoints, frame};

impl World {
    /// SYNs that nobody means, and their answers.
    pub(super) fn flood(&mut self, slot: usize, size: usize) {
        for client in &self.population.flooders[slot][..size] {
            if let Some(backend) = self.request(*client, Segment::Syn) {
                self.reply(backend, *client, Segment::SynAck);
                self.flooded.insert((backend, *client));
            }
        }
    }

    /// A SYN-ACK that nobody acknowledges is repeated.
    pub(super) fn echo(&mut self) {
        for (backend, client) in self.flooded.clone() {
            self.reply(backend, client, Segment::SynAck);
        }
    }

    /// Segments of no connection, and the resets that answer them.
    pub(super) fn stray(&mut self, slot: usize, size: usize) {
        for client in &self.population.strays[slot][..size] {
            if let Some(backend) = self.request(*client, Segment::Ack) {
                self.reply(backend, *client, Segment::Reset);
            }
        }
    }

    /// Neither can evict an exception: they do not get into that table.
    pub(super) fn check_strangers(&self) -> Outcome {
        let known = |key: &FlowKey| self.population.clients.iter().any(|client| is_of(key, *client));
        let entries = self.memory.flows.borrow().all();
        let stranger = entries.iter().find(|(key, _)| !known(key));
        ensure(stranger.is_none(), || format!("a stranger is recorded: {stranger:?}"))
    }

    /// A client's segment of an open connection: it must reach the true backend.
    pub(super) fn send(&mut self, client: usize, segment: Segment) -> Result<Option<BackendId>, String> {
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
    pub(super) fn request(&mut self, client: SocketAddr, segment: Segment) -> Option<BackendId> {
        let mut frame = frame(client, self.family.service(), segment);
        let action = process(&mut frame, &self.memory);
        self.excuse_evicted();
        match action {
            Action::Send(_) => {
                let [source, destination] = endpoints(&frame);
                assert_eq!(source, client);
                (1..=BACKENDS).map(BackendId::new).find(|id| self.family.backend(*id) == destination)
            }
            Action::Return | Action::Drop => None,
            Action::Pass | Action::HandOn(_) | Action::Answer(_) => {
                panic!("a service's segment came to {action:?}")
            }
        }
    }

    pub(super) fn reply(&mut self, backend: BackendId, client: SocketAddr, segment: Segment) {
        let mut frame = frame(self.family.backend(backend), client, segment);
        let action = process(&mut frame, &self.memory);
        assert_eq!((action, endpoints(&frame)), (Action::Send(1), [self.family.service(), client]));
    }

    /// A flood has evicted the embryonic entry of one whose handshake it met.
    fn excuse_evicted(&mut self) {
        for key in std::mem::take(&mut self.memory.embryonic.borrow_mut().evicted) {
            if let Some(client) = self.population.clients.iter().position(|client| is_of(&key, *client)) {
                self.peers[client].promised = false;
            }
        }
    }
}
