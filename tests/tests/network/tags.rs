//! Frames with one and two VLAN tags: answers carry what they came with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::{Icmpv4Type, Icmpv6Type, PacketHeaders, TransportHeader};
use splitter_tests::lab::{PoolSizes, ServicePlan, Stage, Wire, addresses::CLIENT};
use splitter_userspace::api::model::Health;

use crate::{
    frames,
    support::{self, WEB, WEB6},
};

const CHECKED: ServicePlan = ServicePlan { health: Some(Duration::from_millis(100)), ..WEB };
const CHECKED6: ServicePlan = ServicePlan { address: WEB6.address, name: WEB6.name, ..CHECKED };
/// 802.1ad's tag of a provider, 802.1Q's of a customer.
const OUTER: [u8; 4] = [0x88, 0xa8, 0, 5];
const INNER: [u8; 4] = [0x81, 0, 0x60, 7];

pub fn answers_carry_the_tags() -> Result<()> {
    let sizes = PoolSizes { blue: 1, green: 0, canary: 0 };
    let (mut stage, ()) = Stage::prepared(sizes, &[CHECKED, CHECKED6], |topology, scratch, _| {
        topology.take_returns(&scratch.bpf())
    })?;
    ensure!(stage.servers.stop("blue1"), "blue1 has no servers");
    let wire = Wire::open(&stage.topology.client, "eth0")?;
    for plan in [CHECKED, CHECKED6] {
        support::wait_for_health(&stage, &plan, Health::Down)?;
        for tags in [&[][..], &[INNER], &[OUTER, INNER]] {
            let echo = answer(&wire, &frames::echo_request(&plan)?, tags, is_echo_reply);
            echo.with_context(|| format!("{}: echo behind {tags:02x?}", plan.name))?;
            let reset = answer(&wire, &frames::syn(&plan)?, tags, is_reset);
            reset.with_context(|| format!("{}: SYN behind {tags:02x?}", plan.name))?;
        }
    }
    Ok(())
}

/// Sends the frame behind the tags, and waits for an answer behind the same ones.
fn answer(wire: &Wire, frame: &[u8], tags: &[[u8; 4]], wanted: fn(&TransportHeader) -> bool) -> Result<()> {
    wire.send(&frames::tagged(frame, tags))?;
    let tags = tags.concat();
    wire.receive(|frame| {
        let headers = PacketHeaders::from_ethernet_slice(frame).ok();
        frame[..6] == CLIENT.mac
            && frame[12..].starts_with(&tags)
            && headers.and_then(|headers| headers.transport).is_some_and(|header| wanted(&header))
            && matches!(frame[12 + tags.len()..], [8, 0, ..] | [0x86, 0xdd, ..])
    })?;
    Ok(())
}

fn is_echo_reply(header: &TransportHeader) -> bool {
    match header {
        TransportHeader::Icmpv4(header) => matches!(header.icmp_type, Icmpv4Type::EchoReply(_)),
        TransportHeader::Icmpv6(header) => matches!(header.icmp_type, Icmpv6Type::EchoReply(_)),
        _ => false,
    }
}

fn is_reset(header: &TransportHeader) -> bool {
    matches!(header, TransportHeader::Tcp(header) if header.rst && header.ack && header.acknowledgment_number == 2)
}
