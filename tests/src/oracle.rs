//! What holds for every frame that the data plane lets go, whatever the configuration: judged by a library that knows
//! nothing of ours.
//!
//! - If the frame that came in parsed and its checksums were right, so it is with the one that goes out.
//! - Nothing changes but Ethernet addresses, TTL, IP addresses, ports and their checksums; in what is only passed, not
//!   even the first two. What is answered and what is said about other packets (ICMP) is written anew, and a tunnel leaves
//!   the packet in it alone.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, NetSlice, SlicedPacket, checksum::Sum16BitWords};

use crate::golden::Verdict;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Judges a frame by the one that it came in as.
///
/// # Errors
/// What does not hold.
pub fn check(arrived: &[u8], left: &[u8], verdict: Verdict) -> Result<()> {
    if verdict == Verdict::Drop || arrived == left {
        return Ok(());
    }
    let Ok(before) = Seen::of(arrived) else {
        // Whatever is in it, nothing is made longer, and a frame too short for a header is left alone.
        ensure!(arrived.len() >= ETHERNET, "a frame without a whole Ethernet header was changed");
        return Ok(());
    };
    let after = Seen::of(left).context("a frame that parsed does not do so any more")?;
    if right(arrived).is_ok() {
        right(left).context("a frame's checksums were right, and are not any more")?;
    }
    changes(&before, &after, verdict)
}

/// The mobility header's number (RFC 6275).
const MOBILITY: IpNumber = IpNumber(135);

/// What the library sees in a frame.
struct Seen<'a> {
    frame: &'a [u8],
    /// Where the network header starts.
    at: usize,
    /// Where its payload starts.
    payload_at: usize,
    payload_length: usize,
    number: IpNumber,
    /// The transport header is in it: it is no later fragment.
    has_transport: bool,
    source: &'a [u8],
    destination: &'a [u8],
    is_v4: bool,
}

impl<'a> Seen<'a> {
    fn of(frame: &'a [u8]) -> Result<Self> {
        let sliced = SlicedPacket::from_ethernet(frame)?;
        let link = sliced.ether_payload().context("no Ethernet payload")?;
        let at = position(frame, link.payload);
        let (addresses, is_v4) = match &sliced.net {
            Some(NetSlice::Ipv4(_)) => ([12..16, 16..20], true),
            Some(NetSlice::Ipv6(_)) => ([8..24, 24..40], false),
            _ => bail!("no IP packet"),
        };
        let payload = sliced.ip_payload().context("no IP payload")?;
        let [source, destination] = addresses.map(|field| &frame[at + field.start..at + field.end]);
        let number = payload.ip_number;
        // The library does not look through it.
        ensure!(number != MOBILITY, "a mobility header");
        let (payload_at, payload_length) = (position(frame, payload.payload), payload.payload.len());
        let has_transport = !payload.fragmented || is_first(frame, at, payload_at, is_v4);
        Ok(Self { frame, at, payload_at, payload_length, number, has_transport, source, destination, is_v4 })
    }

    /// What may change in a frame that goes by.
    fn changeable(&self, verdict: Verdict) -> Vec<Range<usize>> {
        let ttl = if self.is_v4 { 8..9 } else { 7..8 };
        let mut fields = vec![if self.is_v4 { 10..20 } else { 8..40 }];
        if verdict != Verdict::Pass {
            fields.push(ttl);
        }
        let mut ranges: Vec<_> = fields.into_iter().map(|it| self.at + it.start..self.at + it.end).collect();
        if verdict != Verdict::Pass {
            ranges.push(0..12);
        }
        let checksum = if self.number == IpNumber::TCP { 16 } else { 6 };
        let of_transport = [0..4, checksum..checksum + 2];
        ranges.extend(of_transport.map(|it| self.payload_at + it.start..self.payload_at + it.end));
        ranges
    }

    const fn is_icmp(&self) -> bool {
        matches!(self.number, IpNumber::ICMP | IpNumber::IPV6_ICMP)
    }
}

/// Whether a fragment begins its packet.
fn is_first(frame: &[u8], at: usize, payload_at: usize, is_v4: bool) -> bool {
    // IPv6's fragment header is the last one in front of the fragment.
    let field = if is_v4 { at + 6 } else { payload_at - 6 };
    let word = u16::from_be_bytes([frame[field], frame[field + 1]]);
    if is_v4 { word & 0x1fff == 0 } else { word >> 3 == 0 }
}

fn position(frame: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - frame.as_ptr() as usize
}

/// Nothing but what may change has changed.
fn changes(before: &Seen<'_>, after: &Seen<'_>, verdict: Verdict) -> Result<()> {
    if before.is_icmp() || (after.destination == before.source && verdict == Verdict::Tx) {
        return Ok(());
    }
    let packet = &before.frame[before.at..before.payload_at + before.payload_length];
    if matches!(after.number, IpNumber::IPV4 | IpNumber::IPV6) && after.number != before.number {
        let inner = &after.frame[after.payload_at..after.payload_at + after.payload_length];
        ensure!(inner == packet, "the packet in the tunnel is not the one that came in");
        return Ok(());
    }
    ensure!(before.frame.len() == after.frame.len(), "the frame's length changed");
    let may = before.changeable(verdict);
    let differing = before.frame.iter().zip(after.frame).enumerate().filter(|(_, (old, new))| old != new);
    for (at, _) in differing {
        let allowed =
            may.iter().any(|range| range.contains(&at)) && (before.has_transport || at < before.payload_at);
        ensure!(allowed, "byte {at} changed, which none may that {verdict:?} stands for");
    }
    Ok(())
}

/// Whether every checksum of a frame is right, those of packets inside of it included.
///
/// # Errors
/// Which one is not.
pub fn right(frame: &[u8]) -> Result<()> {
    sums(&SlicedPacket::from_ethernet(frame)?)
}

fn sums(sliced: &SlicedPacket<'_>) -> Result<()> {
    let (pseudo, is_v4) = match &sliced.net {
        Some(NetSlice::Ipv4(slice)) => {
            let header = slice.header();
            ensure!(
                header.header_checksum() == header.to_header().calc_header_checksum(),
                "the IPv4 header's checksum is wrong"
            );
            (Sum16BitWords::new().add_4bytes(header.source()).add_4bytes(header.destination()), true)
        }
        Some(NetSlice::Ipv6(slice)) => {
            let header = slice.header();
            (Sum16BitWords::new().add_16bytes(header.source()).add_16bytes(header.destination()), false)
        }
        _ => bail!("no IP packet"),
    };
    let payload = sliced.ip_payload().context("no IP payload")?;
    if payload.fragmented {
        return Ok(());
    }
    let bytes = payload.payload;
    let length = (bytes.len() as u32).to_be_bytes();
    let mut pseudo = pseudo;
    let covered = pseudo.add_4bytes(length).add_2bytes([0, payload.ip_number.0]);
    let sum = match payload.ip_number {
        IpNumber::TCP | IpNumber::IPV6_ICMP => covered.add_slice(bytes),
        IpNumber::ICMP if is_v4 => Sum16BitWords::new().add_slice(bytes),
        IpNumber::UDP => {
            let header = bytes.get(..8).context("no UDP header")?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            ensure!(length == bytes.len(), "the UDP header's length is wrong");
            if header[6..8] == [0, 0] {
                ensure!(is_v4, "UDP over IPv6 without a checksum");
                return Ok(());
            }
            covered.add_slice(bytes)
        }
        IpNumber::IPV4 | IpNumber::IPV6 => return sums(&SlicedPacket::from_ip(bytes)?),
        _ => return Ok(()),
    };
    ensure!(sum.ones_complement() == 0, "the checksum of protocol {} is wrong", payload.ip_number.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn frame() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut frame = Vec::new();
        builder.tcp(1000, 443, 7, 9).write(&mut frame, b"payload").unwrap();
        frame
    }

    #[test]
    fn what_is_left_alone_is_right() {
        right(&frame()).unwrap();
        check(&frame(), &frame(), Verdict::Pass).unwrap();
    }

    #[test]
    fn a_wrong_checksum_shows() {
        let mut changed = frame();
        changed[30] ^= 1;
        let error = check(&frame(), &changed, Verdict::Redirect).unwrap_err();
        assert!(format!("{error:#}").contains("checksums"), "{error:#}");
    }

    #[test]
    fn a_changed_payload_shows_even_where_no_checksum_covers_it() {
        let mut arrived = frame();
        arrived[50] ^= 1;
        let mut left = arrived.clone();
        let last = left.len() - 1;
        left[last] ^= 1;
        let error = check(&arrived, &left, Verdict::Redirect).unwrap_err();
        assert!(format!("{error:#}").contains("byte 60 changed"), "{error:#}");
    }

    #[test]
    fn what_is_passed_keeps_its_ethernet_addresses() {
        let mut left = frame();
        left[0] ^= 2;
        check(&frame(), &left, Verdict::Redirect).unwrap();
        assert!(check(&frame(), &left, Verdict::Pass).is_err());
    }
}
