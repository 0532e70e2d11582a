//! What the pipeline asks of the maps: the kernel's adapter, the daemon's mirror and the tests' model each
//! implement it.

use crate::{
    abi::{
        Backend, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Neighbour, RouteTable, ServiceTable, Side,
    },
    net::Addr,
    reason::Reason,
    slot::BackendId,
};

/// The tables of connections whose backend their slot does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceptions {
    /// Live connections whose backend is not the one their slot names.
    Flows,
    /// Connections that have only sent their SYN while the slot was DIRTY. A flood of SYNs fills this one.
    Embryonic,
    /// Connections of preview listeners.
    Previews,
}

impl Exceptions {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flows, Self::Embryonic, Self::Previews];
}

/// Which end of a connection a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

/// An entry in one of the tables of exceptions, changed in place.
pub trait FlowRef {
    /// What it says now.
    fn read(&self) -> Flow;
    /// It was seen at `now_ns`; FIN or RST as the packet had them.
    fn touch(&self, now_ns: u64, sender: Sender, fin: bool, rst: bool);
}

/// The entry at a port in mode `snat`, changed in place.
pub trait TranslationRef {
    /// Service, protocol and client.
    fn key(&self) -> FlowKey;
    /// The bits of [`crate::abi::Translation::state`].
    fn state(&self) -> u64;
    /// The backend.
    fn backend(&self) -> BackendId;
    /// The CPU whose queue the port belongs to.
    fn cpu(&self) -> u16;
    /// When its last packet was seen, nanoseconds.
    fn seen_ns(&self) -> u64;
    /// When it was closed, nanoseconds.
    fn closed_ns(&self) -> u64;
    /// It is another connection's now, with these bits of state.
    fn begin(&self, key: &FlowKey, backend: BackendId, state: u64, now_ns: u64);
    /// It was seen at `now_ns`.
    fn touch(&self, now_ns: u64);
    /// It is closed since `now_ns`; the mark comes after.
    fn rest(&self, now_ns: u64);
    /// Sets bits of its state, atomically; returns what they were.
    fn mark(&self, bits: u64) -> u64;
}

/// What happened to the tables of exceptions; a counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEvent {
    /// A connection was recorded because its backend answered.
    Recorded,
    /// A SYN was recorded as embryonic.
    Embryonic,
    /// An embryonic entry became a connection.
    Promoted,
    /// A SYN or a reset removed an entry of the flow table.
    ForgottenFlow,
    /// A SYN or a reset removed an entry of the embryonic table.
    ForgottenEmbryonic,
    /// A packet of an unrecorded connection in a DIRTY slot.
    Missed,
    /// The kernel refused a record.
    Failed,
}

/// The side that a packet reads everything from.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// 0 or 1.
    pub side: u32,
    /// Seeds and sizes of its directories.
    pub sizes: &'a Side,
}

/// How many connections a CPU may still record although no backend has answered for them: in the `dsr` modes no answer
/// is seen, and a flood must not fill the flow table at its own speed.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Allowance {
    /// When the present period began, nanoseconds of `CLOCK_MONOTONIC`.
    since_ns: u64,
    /// What was recorded in it.
    spent: u64,
}

impl Allowance {
    /// Length of a period, nanoseconds.
    const PERIOD_NS: u64 = 1_000_000_000;
    /// Records of one CPU in a period.
    pub const RECORDS: u64 = 20_000;

    /// Takes one record, if there is one left.
    #[inline(always)]
    pub const fn take(&mut self, now_ns: u64) -> bool {
        if now_ns.wrapping_sub(self.since_ns) >= Self::PERIOD_NS {
            self.since_ns = now_ns;
            self.spent = 0;
        }
        self.spent += 1;
        self.spent <= Self::RECORDS
    }
}

/// Look-ups and counters. Look-ups answer `None` where there is no such element.
pub trait Tables {
    /// An entry of a table of exceptions.
    type Flow: FlowRef;
    /// An entry of a connection in mode `snat`.
    type Translation: TranslationRef;

    /// The live side: the one look-up by which a packet chooses its generation. Asked once per packet.
    fn live(&self) -> Option<Live<'_>>;
    /// Displacement of a bucket of the endpoint directory.
    fn endpoint_displacement(&self, side: u32, bucket: u32) -> Option<u32>;
    /// Entry of the endpoint directory.
    fn endpoint(&self, side: u32, position: u32) -> Option<&Endpoint>;
    /// Displacement of a bucket of the neighbour directory.
    fn neighbour_displacement(&self, side: u32, bucket: u32) -> Option<u32>;
    /// Entry of the neighbour directory.
    fn neighbour(&self, side: u32, position: u32) -> Option<&Neighbour>;
    /// A service and its slot table.
    fn service(&self, side: u32, service: u32) -> Option<&ServiceTable>;
    /// A backend.
    fn backend(&self, side: u32, backend: BackendId) -> Option<&Backend>;
    /// Routes of a family: 0 IPv4, 1 IPv6.
    fn routes(&self, side: u32, family: u32) -> Option<&RouteTable>;

    /// Number of the table for a client of a service with rules; `None`: the service's own.
    fn rule(&self, side: u32, service: u32, client: &Addr) -> Option<u32>;

    /// An entry of a table of exceptions.
    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<Self::Flow>;
    /// Writes an entry; false when the table refused it.
    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool;
    /// Removes an entry; false when there was none.
    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool;
    /// Whether one more connection may be recorded without an answer of its backend: see [`Allowance`].
    fn allowed(&self, now_ns: u64) -> bool;

    /// What the first fragment of a packet decided.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers what it decided.
    fn remember(&self, key: &FragmentKey, fragment: &Fragment);

    /// The port of a connection in mode `snat`.
    fn port_of(&self, key: &FlowKey) -> Option<u16>;
    /// Notes the port of a connection; false when the kernel refused.
    fn set_port_of(&self, key: &FlowKey, port: u16) -> bool;
    /// Forgets the port of a connection.
    fn forget_port_of(&self, key: &FlowKey);
    /// The entry at a port.
    fn translation(&self, port: u16) -> Option<Self::Translation>;
    /// The port at the front of this CPU's queue, if it has rested.
    fn take_port(&self, now_ns: u64) -> Option<u16>;
    /// Puts a port at the end of a CPU's queue.
    fn give_port(&self, cpu: u16, port: u16);

    /// `CLOCK_MONOTONIC`, nanoseconds.
    fn now_ns(&self) -> u64;

    /// Counts a packet from a client to a backend; `opens`: it begins a connection.
    fn count_in(&self, backend: BackendId, bytes: u64, opens: bool);
    /// Counts a packet from a backend to a client.
    fn count_out(&self, backend: BackendId, bytes: u64);
    /// Counts a packet of a service that was not forwarded in the ordinary way.
    fn count_reason(&self, service: u32, reason: Reason);
    /// Counts what happened to the tables of exceptions.
    fn count_table(&self, event: TableEvent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let mut allowance = Allowance::default();
        let taken = (0..Allowance::RECORDS + 9).filter(|_| allowance.take(5)).count();
        assert_eq!(taken as u64, Allowance::RECORDS);
        assert!(allowance.take(5 + Allowance::PERIOD_NS));
    }
}
