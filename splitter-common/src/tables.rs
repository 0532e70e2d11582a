//! What the pipeline asks of the maps: the kernel's adapter, the daemon's mirror and the tests' model each
//! implement it.

use crate::{
    abi::{Backend, Endpoint, Flow, FlowKey, Neighbour, RouteTable, ServiceTable, Side},
    reason::Reason,
    slot::BackendId,
};

/// The two tables of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceptions {
    /// Live connections whose backend is not the one their slot names.
    Flows,
    /// Connections that have only sent their SYN while the slot was DIRTY. A flood of SYNs fills this one.
    Embryonic,
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

/// Look-ups and counters. Look-ups answer `None` where there is no such element.
pub trait Tables {
    /// An entry of a table of exceptions.
    type Flow: FlowRef;

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

    /// An entry of a table of exceptions.
    fn flow(&self, table: Exceptions, key: &FlowKey) -> Option<Self::Flow>;
    /// Writes an entry; false when the table refused it.
    fn record(&self, table: Exceptions, key: &FlowKey, flow: &Flow) -> bool;
    /// Removes an entry; false when there was none.
    fn forget(&self, table: Exceptions, key: &FlowKey) -> bool;
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
