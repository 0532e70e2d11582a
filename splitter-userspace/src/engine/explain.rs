//! Where a client's packets go, and why: the kernel half's own rules, asked for one client.

use std::net::SocketAddr;

use splitter_common::{
    abi::{Flow, FlowKey},
    net::TcpFlags,
    select::{self, Clock},
    slot::{BackendId, Placement, Slot, State},
    tables::Exceptions,
};

use super::{
    Engine,
    change::failed,
    now_ns,
    service::{Member, Service},
};
use crate::{
    api::model::{ApiError, ErrorCode, Explanation, Place},
    dataplane::Error,
};

/// The flags byte of a SYN, and of a segment in mid-connection.
const SYN: TcpFlags = TcpFlags::from_byte(0x02);
const ACK: TcpFlags = TcpFlags::from_byte(0x10);

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
        let number = service.slot_of(address, port);
        // The kernel's slot, not the daemon's copy of it.
        let slot = select::slot_at(&*self.data_plane.read_back(service.number)?, number);
        let key = FlowKey::new(service.number, address, port);
        let flow = self.data_plane.lookup(Exceptions::Flows, &key)?;
        let embryonic = self.data_plane.lookup(Exceptions::Embryonic, &key)?;
        let placed = |flags| place(service, slot, flags, [flow, embryonic]).backend;
        let (new, live) = (placed(SYN), placed(ACK));
        Ok(Explanation {
            service: service.spec.name.clone(),
            client,
            generation: self.generation,
            slot: number as u32,
            state: state(slot).into(),
            new_connection: spot(service, new),
            live_connection: spot(service, live),
            why: why(service, slot, flow, embryonic),
        })
    }
}

fn place(service: &Service, slot: Slot, flags: TcpFlags, entries: [Option<Flow>; 2]) -> Placement {
    let clock = Clock { now_ns: now_ns(), idle_timeout_ns: service.table().idle_timeout_ns };
    let entries = if slot.is_clean() { [None, None] } else { entries };
    select::place(slot, flags, entries, clock, |id| service.member(id).is_some_and(Member::keeps))
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

fn why(service: &Service, slot: Slot, flow: Option<Flow>, embryonic: Option<Flow>) -> String {
    let name = |id: BackendId| {
        service.member(id).map_or_else(|| "no backend".into(), |m| format!("{} ({})", m.address, m.pool))
    };
    let recorded = flow.or(embryonic).filter(|_| !slot.is_clean());
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
    format!("{state}{}", entry.unwrap_or_default())
}
