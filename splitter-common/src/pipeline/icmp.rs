//! ICMP: echo requests to services' addresses, and errors about their connections, in both directions.

use core::mem::MaybeUninit;

use super::{
    Room, Stage, Verdict,
    choose::{self, connection},
    deliver::{self, unfinished},
    directory, exceptions,
    hop::way_back,
    room,
    unusual::snat::known as known_translation,
};
use crate::{
    abi::{Backend, FlowKey, ServiceTable, Translation},
    classify,
    icmp::{self as packets, Icmp, Message, Names, Quoted},
    net::TcpFlags,
    packet::Resize,
    parse::{Family, Network},
    reason::Reason,
    rewrite::End,
    select,
    slot::BackendId,
    tables::{Exceptions, FlowRef as _, Live, Tables, TranslationRef as _},
};

/// A whole ICMP message.
#[inline(always)]
pub fn icmp<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(network) = room::icmp::<F, P>(packet, &mut room.network) else { return Verdict::PASS };
    let message = packets::message::<F, P>(packet, network);
    let service = directory::service_address::<F, T>(tables, live, &network.destination);
    match (service, message) {
        (Some(service), Message::Echo) => echo::<F, P, T>(packet, tables, live, service, network),
        (Some(_), Message::Error) => Verdict::hand_on::<F>(Stage::IcmpIn),
        (Some(service), Message::Other) => none_of_ours(tables, service),
        (None, Message::Error) => Verdict::hand_on::<F>(Stage::IcmpOut),
        (None, _) => Verdict::PASS,
    }
}

/// An error to a service's address.
#[inline(always)]
pub fn icmp_in<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Room { network, quoted, names, .. } = room;
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(network) = room::icmp::<F, P>(packet, network) else { return Verdict::PASS };
    match directory::service_address::<F, T>(tables, live, &network.destination) {
        Some(service) => to_backend::<F, P, T>(packet, tables, live, service, (network, quoted, names)),
        None => Verdict::PASS,
    }
}

/// An error to anybody else.
#[inline(always)]
pub fn icmp_out<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    room: &mut Room<F>,
) -> Verdict {
    let Room { network, quoted, names, .. } = room;
    let Some(live) = tables.live() else { return Verdict::PASS };
    let Some(network) = room::icmp::<F, P>(packet, network) else { return Verdict::PASS };
    to_client::<F, P, T>(packet, tables, live, (network, quoted, names))
}

/// An error's header, and room for what it quotes and what it becomes.
type ErrorAndRoom<'r, F> = (
    &'r Network<<F as Family>::Address>,
    &'r mut MaybeUninit<Quoted<<F as Family>::Address>>,
    &'r mut MaybeUninit<Names>,
);

/// ICMP to a service's address that the kernel may see to.
#[inline(always)]
fn none_of_ours<T: Tables>(tables: &T, service: u32) -> Verdict {
    tables.count_reason(service, Reason::Icmp);
    Verdict::PASS
}

#[inline(always)]
fn echo<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    service: u32,
    network: &Network<F::Address>,
) -> Verdict {
    if F::strange(&network.source) || directory::own::<F, T>(tables, live, &network.source) {
        tables.count_reason(service, Reason::StrangeSource);
        return Verdict::DROP;
    }
    match packets::echo::<F, P>(packet, network) {
        Some(()) => {
            tables.count_reason(service, Reason::Echo);
            Verdict::RETURN
        }
        None => unfinished(tables, service),
    }
}

/// An error to a service's address, about what the service has sent: to the backend whose connection it is.
#[inline(always)]
fn to_backend<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    counted: u32,
    (network, quoted, names): ErrorAndRoom<'_, F>,
) -> Verdict {
    let Some(quoted) = room::quoted::<F, P>(packet, network, quoted) else {
        return none_of_ours(tables, counted);
    };
    let (address, port, protocol) = (quoted.network.source, quoted.source_port, quoted.transport as u8);
    if !F::same(&address, &network.destination) {
        return none_of_ours(tables, counted);
    }
    let entry = directory::endpoint::<F, T>(tables, live, &address, port, protocol);
    let Some(service) = classify::request(entry, &F::addr(&address), port, protocol) else {
        return none_of_ours(tables, counted);
    };
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    let number = choose::table_number::<F, T>(tables, live.side, service, table, &quoted.network.destination);
    let Some(table) = tables.service(live.side, number) else { return Verdict::PASS };
    let place = place::<F, T>(tables, live.side, number, table, quoted);
    if place.id.is_none() {
        return none_of_ours(tables, counted);
    }
    let Some(backend) = tables.backend(live.side, place.id) else { return Verdict::PASS };
    if network.ttl <= 1 {
        tables.count_reason(counted, Reason::TtlExpired);
        return Verdict::PASS;
    }
    tables.count_reason(counted, Reason::IcmpError);
    forward::<F, P, T>(packet, tables, (service, table), network, (quoted, names), (backend, place.port))
}

/// Where a connection is: its backend, none if it is not known; and in mode `snat` its port, else 0.
struct Place {
    id: BackendId,
    port: u16,
}

/// Where the connection is that a quoted packet, from the service to its client, belongs to.
#[inline(always)]
fn place<F: Icmp, T: Tables>(
    tables: &T,
    side: u32,
    number: u32,
    table: &ServiceTable,
    quoted: &Quoted<F::Address>,
) -> Place {
    let client = (&quoted.network.destination, quoted.destination_port);
    if table.has(ServiceTable::TRANSLATE) {
        let key = FlowKey::new(number, quoted.transport, F::addr(client.0), client.1);
        return match known_translation(tables, &key) {
            Some(known) => Place { id: known.entry.backend(), port: known.port },
            None => Place { id: BackendId::NONE, port: 0 },
        };
    }
    let id = if table.has(ServiceTable::PREVIEW) {
        let key = FlowKey::new(table.owner(), quoted.transport, F::addr(client.0), client.1);
        match tables.flow(Exceptions::Previews, &key) {
            Some(entry) => entry.read().backend,
            None => BackendId::NONE,
        }
    } else {
        found::<F, T>(tables, side, number, table, quoted)
    };
    Place { id, port: 0 }
}

/// The backend by slot and tables of exceptions.
#[inline(always)]
fn found<F: Icmp, T: Tables>(
    tables: &T,
    side: u32,
    number: u32,
    table: &ServiceTable,
    quoted: &Quoted<F::Address>,
) -> BackendId {
    let client = (&quoted.network.destination, quoted.destination_port);
    let slot = select::slot_at(table, F::slot(&table.key, client.0, client.1));
    if slot.is_clean() {
        return slot.current();
    }
    let connection = connection::<F>(side, number, table, quoted.transport, client, TcpFlags::NONE);
    exceptions::find(tables, &connection)
}

#[inline(always)]
fn forward<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    (service, table): (u32, &ServiceTable),
    network: &Network<F::Address>,
    (quoted, names): (&Quoted<F::Address>, &mut MaybeUninit<Names>),
    (backend, port): (&Backend, u16),
) -> Verdict {
    if table.has(ServiceTable::LINK) {
        return deliver::on_link(packet, tables, service, &backend.hop);
    }
    if table.has(ServiceTable::TUNNEL) {
        return deliver::tunnelled::<F, P, T>(packet, tables, service, network, backend);
    }
    let source = F::addr(&network.source);
    let client = End { address: F::addr(&quoted.network.destination), port: quoted.destination_port };
    let server = End { address: *backend.address(), port: backend.port() };
    // In mode `snat` the backend knows this host as its client, and has no route to anybody else.
    let names = names.write(if port == 0 {
        Names { outer: [source, server.address], inner: [server, client] }
    } else {
        let here = End { address: *backend.source(), port: port.to_be_bytes() };
        Names { outer: [here.address, server.address], inner: [server, here] }
    });
    match packets::rename::<F, P>(packet, network, quoted, names) {
        Some(()) => deliver::send::<F, P, T>(packet, tables, service, network, &backend.hop),
        None => unfinished(tables, service),
    }
}

/// An error about what a client has sent to a backend: to the client, from the service.
#[inline(always)]
fn to_client<F: Icmp, P: Resize + ?Sized, T: Tables>(
    packet: &mut P,
    tables: &T,
    live: Live<'_>,
    (network, quoted, names): ErrorAndRoom<'_, F>,
) -> Verdict {
    let Some(quoted) = room::quoted::<F, P>(packet, network, quoted) else { return Verdict::PASS };
    let inner = &quoted.network;
    if !F::same(&inner.source, &network.destination) || network.ttl <= 1 {
        return Verdict::PASS;
    }
    let (address, port, protocol) = (inner.destination, quoted.destination_port, quoted.transport as u8);
    let entry = directory::endpoint::<F, T>(tables, live, &address, port, protocol);
    let Some(id) = classify::reply(entry, &F::addr(&address), port, protocol) else { return Verdict::PASS };
    let Some(ordinary) = tables.backend(live.side, id) else { return Verdict::PASS };
    let service = ordinary.service();
    let Some(table) = tables.service(live.side, service) else { return Verdict::PASS };
    let Some((backend, client)) = known_by::<F, T>(tables, live.side, (service, table), ordinary, quoted)
    else {
        return Verdict::PASS;
    };
    let Some(way) = way_back::<F, T>(tables, live, &F::address(&client.address)) else {
        return Verdict::PASS;
    };
    let listener = End { address: *backend.virtual_address(), port: backend.virtual_port() };
    let names = names.write(Names { outer: [listener.address, client.address], inner: [client, listener] });
    tables.count_reason(service, Reason::IcmpError);
    match packets::rename::<F, P>(packet, network, quoted, names) {
        Some(()) => deliver::send::<F, P, T>(packet, tables, service, network, &way.hop),
        None => unfinished(tables, service),
    }
}

/// The entry by which the client knows the backend, and the client.
#[inline(always)]
fn known_by<'a, F: Icmp, T: Tables>(
    tables: &'a T,
    side: u32,
    (service, table): (u32, &ServiceTable),
    ordinary: &'a Backend,
    quoted: &Quoted<F::Address>,
) -> Option<(&'a Backend, End)> {
    let client = End { address: F::addr(&quoted.network.source), port: quoted.source_port };
    if table.has(ServiceTable::TRANSLATE) {
        let entry = tables.translation(u16::from_be_bytes(client.port))?;
        let backend = tables.backend(side, entry.backend())?;
        let key = entry.key();
        // The port may have been another connection's when the packet was sent, or this host's own.
        let ours = entry.state() & Translation::USED != 0
            && key.transport() as u8 == quoted.transport as u8
            && backend.source().is(&client.address)
            && backend.address().is(&F::addr(&quoted.network.destination))
            && backend.port() == quoted.destination_port;
        return ours.then_some((backend, End { address: key.client(), port: key.client_port() }));
    }
    if table.has(ServiceTable::PREVIEWED) {
        let key = FlowKey::new(service, quoted.transport, client.address, client.port);
        if let Some(entry) = tables.flow(Exceptions::Previews, &key)
            && let Some(backend) = tables.backend(side, entry.read().backend)
            && backend.address().is(ordinary.address())
            && backend.port() == ordinary.port()
        {
            return Some((backend, client));
        }
    }
    Some((ordinary, client))
}
