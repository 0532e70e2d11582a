//! Where a client's packets go, and why: the kernel half's own code, run on packets of that client.

use std::net::SocketAddr;

use splitter_common::{
    abi::{Flow, FlowKey},
    net::{Addr, Port, Transport},
    reason::Reason,
    slot::{BackendId, Slot, State},
    tables::{Exceptions, Tables as _},
};

use super::{Engine, change::failed, now_ns, service::Service};
use crate::{
    api::model::{ApiError, ErrorCode, Explanation, Place},
    config::Protocol,
    dataplane::Error,
    mirror::Mirror,
    probe::{self, Probe},
};

impl Engine {
    /// Explains one client of one service.
    pub(super) fn explain(&mut self, name: &str, client: SocketAddr) -> Result<Explanation, ApiError> {
        let service = &self.services[self.service(name).ok_or_else(|| self.unknown_service(name))?];
        if client.is_ipv4() != service.spec.address.is_ipv4() {
            let message =
                format!("{name} is at {}: its clients have addresses of that family", service.spec.address);
            return Err(ApiError { code: ErrorCode::Refused, message });
        }
        self.explain_client(service, client).map_err(|error| failed(&error))
    }

    fn explain_client(&self, service: &Service, client: SocketAddr) -> Result<Explanation, Error> {
        let (address, port) = (client.ip().into(), client.port().to_be_bytes());
        let number = service.table_for(client.ip());
        let connection = Connection { number, transport: transport(service.spec.protocol), address, port };
        let (new, _) = self.placed(service, client, &connection, Probe::Opens)?;
        let (live, reason) = self.placed(service, client, &connection, Probe::Goes)?;
        // The kernel's slot, not the daemon's copy of it.
        let slot_number = service.slot_of(address, port);
        let slot = self.data_plane.read_back(number)?.slots[slot_number];
        let recorded = self.recorded_for(&connection)?.filter(|_| !slot.is_clean());
        Ok(Explanation {
            service: service.spec.name.clone(),
            client,
            generation: self.generation,
            slot: slot_number as u32,
            state: state(slot).into(),
            new_connection: spot(service, new),
            live_connection: spot(service, live),
            why: why(service, slot, recorded, reason),
        })
    }

    /// The backend that a packet of the client is given, and why it was not just forwarded.
    fn placed(
        &self,
        service: &Service,
        client: SocketAddr,
        connection: &Connection,
        probe: Probe,
    ) -> Result<(BackendId, Option<Reason>), Error> {
        let mirror = self.mirror_for(connection)?;
        let listener = SocketAddr::new(service.spec.address, service.spec.port);
        let mut frame = probe::frame(probe, connection.transport, client, listener);
        mirror.process(&mut frame);
        let counters = mirror.backend_counters.borrow();
        let id = counters.keys().next().map_or(BackendId::NONE, |id| BackendId::new(*id));
        let reasons = mirror.reason_counters.borrow();
        let counts = reasons.values().next();
        let reason = counts.and_then(|counts| Reason::ALL.into_iter().find(|it| counts[*it as usize] > 0));
        Ok((id, reason))
    }

    /// What the kernel's maps hold, as far as one connection is concerned.
    fn mirror_for(&self, connection: &Connection) -> Result<Mirror, Error> {
        let mut mirror = Mirror::of(&self.image, now_ns());
        mirror.set_service(connection.number, self.data_plane.read_back(connection.number)?);
        let key = connection.key();
        for table in Exceptions::ALL {
            if let Some(flow) = self.data_plane.lookup(table, &key)? {
                mirror.record(table, &key, &flow);
            }
        }
        if let Some((port, translation)) = self.data_plane.translation_of(&key)? {
            mirror.set_port_of(&key, port);
            mirror.set_translation(port, translation);
        }
        // A port that a new connection could have; which one does not matter here.
        mirror.free.borrow_mut().push_back(u16::MAX);
        Ok(mirror)
    }

    fn recorded_for(&self, connection: &Connection) -> Result<Option<Flow>, Error> {
        let flow = self.data_plane.lookup(Exceptions::Flows, &connection.key())?;
        Ok(flow.or(self.data_plane.lookup(Exceptions::Embryonic, &connection.key())?))
    }
}

/// A client's connection to a service, placed by table `number`.
struct Connection {
    number: u32,
    transport: Transport,
    address: Addr,
    port: Port,
}

impl Connection {
    const fn key(&self) -> FlowKey {
        FlowKey::new(self.number, self.transport, self.address, self.port)
    }
}

const fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp | Protocol::Both => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

fn spot(service: &Service, id: BackendId) -> Option<Place> {
    service.member(id).map(|member| Place { pool: member.pool, backend: member.address })
}

const fn state(slot: Slot) -> &'static str {
    match slot.state() {
        State::Clean => "clean",
        State::Dirty { .. } => "dirty",
        State::Tracked => "tracked",
    }
}

fn why(service: &Service, slot: Slot, recorded: Option<Flow>, reason: Option<Reason>) -> String {
    let name = |id: BackendId| {
        service.member(id).map_or_else(|| "no backend".into(), |m| format!("{} ({})", m.address, m.pool))
    };
    let entry = recorded.map(|flow| format!("; its connection is recorded for {}", name(flow.backend)));
    let state = match slot.state() {
        State::Clean => format!("the slot is CLEAN: every packet goes to {}", name(slot.current())),
        State::Dirty { previous } => format!(
            "the slot was shifted lately (DIRTY): new connections go to {}, those begun before the shift stay with {}",
            name(slot.current()),
            name(previous)
        ),
        State::Tracked => format!(
            "the slot is TRACKED: its exceptions are recorded, all else goes to {}",
            name(slot.current())
        ),
    };
    let counted = reason.map(|reason| format!("; a packet of it is counted as {}", reason.name()));
    format!("{state}{}{}", entry.unwrap_or_default(), counted.unwrap_or_default())
}
