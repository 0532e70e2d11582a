//! What differs between IPv4 and IPv6. One pipeline is compiled for each.

use core::mem::offset_of;

use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use super::{NETWORK, Network, Piece};
use crate::{
    hash::{HashKey, Spot},
    net::{Addr, Port},
    packet::Packet,
    reason::Reason,
};

/// IPv4 or IPv6. Positions count from the start of the network header.
pub trait Family {
    /// An address as the header has it.
    type Address: Copy;
    /// 0 for IPv4, 1 for IPv6: index of its route table.
    const INDEX: u32;
    /// Length of the header without options and extension headers.
    const LEN: usize;
    /// Position of TTL or hop limit.
    const TTL: usize;
    /// Position of the source address.
    const SOURCE: usize;
    /// Position of the destination address.
    const DESTINATION: usize;
    /// Protocol number of its ICMP.
    const ICMP: u8;

    /// Reads the header of a frame as nearly all of them are, behind a bare Ethernet header; `None` for any other.
    fn bare<P: Packet + ?Sized>(packet: &P) -> Option<Network<Self::Address>>;
    /// Reads and checks the network header at `at`, options and extension headers included.
    ///
    /// # Errors
    /// Why no service can take the packet as it is.
    #[inline(always)]
    fn network<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Network<Self::Address>, Reason> {
        Self::inner(packet, at, packet.length().saturating_sub(at))
    }
    /// The same for a packet of which `room` bytes are there at the most, inside another perhaps, and perhaps cut off
    /// behind its network header: [`Network::total`] is what it says, not what is there, if `room` is `usize::MAX`.
    ///
    /// # Errors
    /// Why no service can take the packet as it is.
    fn inner<P: Packet + ?Sized>(
        packet: &P,
        at: usize,
        room: usize,
    ) -> Result<Network<Self::Address>, Reason>;
    /// The destination, of a packet that may be anything else.
    fn destination<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<Self::Address>;
    /// Whether the packet may not be fragmented on its way.
    fn whole_only<P: Packet + ?Sized>(packet: &P, at: usize) -> bool;
    /// An address that no client has: multicast, broadcast, loopback, or none.
    fn strange(address: &Self::Address) -> bool;
    /// Whether two addresses are one.
    fn same(one: &Self::Address, other: &Self::Address) -> bool;
    /// Where an address stands in a directory.
    fn spot(seed: u64, address: &Self::Address, rest: u32) -> Spot;
    /// The slot of a client.
    fn slot(key: &HashKey, client: &Self::Address, port: Port) -> usize;
    /// The address as the maps have it.
    fn addr(address: &Self::Address) -> Addr;
    /// The address as the header has it.
    fn address(addr: &Addr) -> Self::Address;
}

/// IPv4.
pub enum V4 {}

/// IPv6.
pub enum V6 {}

/// All of the fragment field but the flags "reserved" and "don't fragment".
const FRAGMENT: u16 = 0x3fff;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u8 = 0x40;

impl Family for V4 {
    type Address = [u8; 4];
    const INDEX: u32 = 0;
    const LEN: usize = Ipv4Hdr::LEN;
    const TTL: usize = offset_of!(Ipv4Hdr, ttl);
    const SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
    const ICMP: u8 = IpProto::Icmp as u8;

    #[inline(always)]
    fn bare<P: Packet + ?Sized>(packet: &P) -> Option<Network<[u8; 4]>> {
        // The last field first: when it is inside, so are the others.
        let destination = packet.load::<4>(NETWORK + Self::DESTINATION)?;
        let source = packet.load::<4>(NETWORK + Self::SOURCE)?;
        let [version, _, l0, l1] = packet.load::<4>(NETWORK)?;
        let fragment = packet.load::<2>(NETWORK + offset_of!(Ipv4Hdr, frags))?;
        let [ttl, protocol] = packet.load::<2>(NETWORK + Self::TTL)?;
        let total = u16::from_be_bytes([l0, l1]) as usize;
        if version != 0x45
            || u16::from_be_bytes(fragment) & FRAGMENT != 0
            || total < Ipv4Hdr::LEN
            || total > packet.length() - NETWORK
        {
            return None;
        }
        let (at, payload_at) = (NETWORK, NETWORK + Ipv4Hdr::LEN);
        let (piece, id, offset) = (Piece::Whole, 0, 0);
        Some(Network { source, destination, protocol, ttl, piece, id, offset, total, at, payload_at })
    }

    #[inline(always)]
    fn inner<P: Packet + ?Sized>(packet: &P, at: usize, room: usize) -> Result<Network<[u8; 4]>, Reason> {
        let Some(destination) = packet.load::<4>(at + Self::DESTINATION) else {
            return Err(Reason::Malformed);
        };
        let Some(source) = packet.load::<4>(at + Self::SOURCE) else { return Err(Reason::Malformed) };
        let Some([version, _, l0, l1]) = packet.load::<4>(at) else { return Err(Reason::Malformed) };
        let Some([i0, i1, f0, f1]) = packet.load::<4>(at + offset_of!(Ipv4Hdr, id)) else {
            return Err(Reason::Malformed);
        };
        let Some([ttl, protocol]) = packet.load::<2>(at + Self::TTL) else { return Err(Reason::Malformed) };
        let header = (version as usize & 0xf) * 4;
        let total = u16::from_be_bytes([l0, l1]) as usize;
        if version >> 4 != 4 || header < Ipv4Hdr::LEN || total < header || total > room {
            return Err(Reason::Malformed);
        }
        let fragment = u16::from_be_bytes([f0, f1]) & FRAGMENT;
        let (piece, offset) = piece(fragment & !MORE_FRAGMENTS, fragment & MORE_FRAGMENTS != 0);
        let (id, payload_at) = (u16::from_be_bytes([i0, i1]).into(), packet.forget(at + header));
        let at = packet.forget(at);
        Ok(Network { source, destination, protocol, ttl, piece, id, offset, total, at, payload_at })
    }

    #[inline(always)]
    fn destination<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<[u8; 4]> {
        packet.load(at + Self::DESTINATION)
    }

    #[inline(always)]
    fn whole_only<P: Packet + ?Sized>(packet: &P, at: usize) -> bool {
        packet.load::<1>(at + offset_of!(Ipv4Hdr, frags)).is_some_and(|[flags]| flags & DONT_FRAGMENT != 0)
    }

    /// "This network", loopback, multicast, reserved and broadcast (RFC 6890).
    #[inline(always)]
    fn strange(address: &[u8; 4]) -> bool {
        let [first, ..] = *address;
        first == 0 || first == 127 || first >= 224
    }

    #[inline(always)]
    fn same(one: &[u8; 4], other: &[u8; 4]) -> bool {
        u32::from_ne_bytes(*one) == u32::from_ne_bytes(*other)
    }

    #[inline(always)]
    fn spot(seed: u64, address: &[u8; 4], rest: u32) -> Spot {
        Spot::of_v4(seed, *address, rest)
    }

    #[inline(always)]
    fn slot(key: &HashKey, client: &[u8; 4], port: Port) -> usize {
        key.slot_v4(*client, port)
    }

    #[inline(always)]
    fn addr(address: &[u8; 4]) -> Addr {
        Addr::from_v4(*address)
    }

    #[inline(always)]
    fn address(addr: &Addr) -> [u8; 4] {
        addr.v4()
    }
}

impl Family for V6 {
    type Address = Addr;
    const INDEX: u32 = 1;
    const LEN: usize = Ipv6Hdr::LEN;
    const TTL: usize = offset_of!(Ipv6Hdr, hop_limit);
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);
    const ICMP: u8 = IpProto::Ipv6Icmp as u8;

    #[inline(always)]
    fn bare<P: Packet + ?Sized>(packet: &P) -> Option<Network<Addr>> {
        let (at, payload_at) = (NETWORK, NETWORK + Ipv6Hdr::LEN);
        let destination = v6_at(packet, at + Self::DESTINATION)?;
        let source = v6_at(packet, at + Self::SOURCE)?;
        let [version] = packet.load::<1>(at)?;
        let [l0, l1, protocol, ttl] = packet.load::<4>(at + offset_of!(Ipv6Hdr, payload_len))?;
        let total = u16::from_be_bytes([l0, l1]) as usize + Ipv6Hdr::LEN;
        if version >> 4 != 6 || total > packet.length() - at {
            return None;
        }
        let (piece, id, offset) = (Piece::Whole, 0, 0);
        Some(Network { source, destination, protocol, ttl, piece, id, offset, total, at, payload_at })
    }

    #[inline(always)]
    fn inner<P: Packet + ?Sized>(packet: &P, at: usize, room: usize) -> Result<Network<Addr>, Reason> {
        let Some(destination) = v6_at(packet, at + Self::DESTINATION) else { return Err(Reason::Malformed) };
        let Some(source) = v6_at(packet, at + Self::SOURCE) else { return Err(Reason::Malformed) };
        let Some([version]) = packet.load::<1>(at) else { return Err(Reason::Malformed) };
        let Some([l0, l1, protocol, ttl]) = packet.load::<4>(at + offset_of!(Ipv6Hdr, payload_len)) else {
            return Err(Reason::Malformed);
        };
        let total = u16::from_be_bytes([l0, l1]) as usize + Ipv6Hdr::LEN;
        if version >> 4 != 6 || total > room {
            return Err(Reason::Malformed);
        }
        let chain = follow(packet, protocol, at + Ipv6Hdr::LEN)?;
        let Chain { protocol, piece, id, offset, end: payload_at } = chain;
        if payload_at > at + total {
            return Err(Reason::Malformed);
        }
        let (at, payload_at) = (packet.forget(at), packet.forget(payload_at));
        Ok(Network { source, destination, protocol, ttl, piece, id, offset, total, at, payload_at })
    }

    #[inline(always)]
    fn destination<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<Addr> {
        v6_at(packet, at + Self::DESTINATION)
    }

    #[inline(always)]
    fn whole_only<P: Packet + ?Sized>(_: &P, _: usize) -> bool {
        true
    }

    /// Multicast, unspecified, loopback, and the forms that stand for IPv4 (RFC 4291, 2.5).
    #[inline(always)]
    fn strange(address: &Addr) -> bool {
        let [first, ..] = address.word(0);
        first == 0xff || address.small()
    }

    #[inline(always)]
    fn same(one: &Addr, other: &Addr) -> bool {
        one.is(other)
    }

    #[inline(always)]
    fn spot(seed: u64, address: &Addr, rest: u32) -> Spot {
        Spot::of_v6(seed, address, rest)
    }

    #[inline(always)]
    fn slot(key: &HashKey, client: &Addr, port: Port) -> usize {
        key.slot_v6(client, port)
    }

    #[inline(always)]
    fn addr(address: &Addr) -> Addr {
        *address
    }

    #[inline(always)]
    fn address(addr: &Addr) -> Addr {
        *addr
    }
}

#[inline(always)]
fn v6_at<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<Addr> {
    // The last word first: when it is inside, so are the others.
    let d = packet.load::<4>(at + 12)?;
    Some(Addr::from_words([packet.load::<4>(at)?, packet.load::<4>(at + 4)?, packet.load::<4>(at + 8)?, d]))
}

/// Which piece a fragment's offset (units of 8 bytes) and flag make it, and the offset.
#[inline(always)]
const fn piece(offset: u16, more: bool) -> (Piece, u16) {
    let piece = match (offset, more) {
        (0, false) => Piece::Whole,
        (0, true) => Piece::First,
        _ => Piece::Later,
    };
    (piece, offset)
}

/// IPv6 extension headers (RFC 8200, 4) that are followed.
const EXTENSION_HEADERS: usize = 4;

/// Where extension headers must end: no sender needs more room, and the verifier wants a bound.
const LAST_POSITION: usize = 512;

/// What stands at the end of a chain of extension headers.
struct Chain {
    protocol: u8,
    piece: Piece,
    id: u32,
    offset: u16,
    end: usize,
}

/// Follows extension headers from `at` on, where one of number `protocol` begins. The loop counts: it is unrolled, or ends
/// with a conditional jump. Linux 5.10 takes no other way back ("back-edge from insn 212 to 213").
#[inline(always)]
fn follow<P: Packet + ?Sized>(packet: &P, protocol: u8, at: usize) -> Result<Chain, Reason> {
    let mut chain = Chain { protocol, piece: Piece::Whole, id: 0, offset: 0, end: at };
    for _ in 0..EXTENSION_HEADERS {
        let Some(kind) = Extension::of(chain.protocol) else { return Ok(chain) };
        if chain.end > LAST_POSITION {
            return Err(Reason::ExtensionHeaders);
        }
        let Some([next, length, o0, o1, i0, i1, i2, i3]) = packet.load::<8>(chain.end) else {
            return Err(Reason::Malformed);
        };
        chain.protocol = next;
        chain.end += match kind {
            Extension::Fragment => 8,
            Extension::Authentication => (length as usize + 2) * 4,
            Extension::Options | Extension::Routing => (length as usize + 1) * 8,
        };
        match kind {
            Extension::Fragment => {
                let word = u16::from_be_bytes([o0, o1]);
                (chain.piece, chain.offset) = self::piece(word >> 3, word & 1 != 0);
                chain.id = u32::from_be_bytes([i0, i1, i2, i3]);
                if matches!(chain.piece, Piece::Later) {
                    return Ok(chain);
                }
            }
            // Segments left: the destination is not the last one.
            Extension::Routing if o1 != 0 => return Err(Reason::ExtensionHeaders),
            _ => {}
        }
    }
    match Extension::of(chain.protocol) {
        None => Ok(chain),
        Some(_) => Err(Reason::ExtensionHeaders),
    }
}

/// A kind of extension header.
#[derive(Clone, Copy)]
enum Extension {
    Options,
    Routing,
    Fragment,
    Authentication,
}

impl Extension {
    /// By IANA's number; `None` for what ends the chain.
    #[inline(always)]
    const fn of(number: u8) -> Option<Self> {
        match number {
            // Hop-by-hop, destination, mobility.
            0 | 60 | 135 => Some(Self::Options),
            43 => Some(Self::Routing),
            44 => Some(Self::Fragment),
            51 => Some(Self::Authentication),
            _ => None,
        }
    }
}
