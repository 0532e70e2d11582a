//! Memory for what the stages know of a packet. In the kernel it is not the stack, of which there are 512 bytes for a
//! function and all that it calls.

use core::mem::MaybeUninit;

use crate::{
    icmp::{self, Icmp, Names, Quoted},
    packet::Packet,
    parse::{self, Family, Headers, Network, Piece},
    rewrite::End,
};

/// Room for one packet. Any bytes will do before it is used.
pub struct Room<F: Family> {
    /// What a stage reads first.
    pub headers: MaybeUninit<Headers<F::Address>>,
    /// The same of a packet without a transport header.
    pub network: MaybeUninit<Network<F::Address>>,
    /// The packet that an ICMP error is about.
    pub quoted: MaybeUninit<Quoted<F::Address>>,
    /// What an ICMP error's addresses and ports become.
    pub names: MaybeUninit<Names>,
    /// What both ends of a connection become.
    pub ends: MaybeUninit<[End; 2]>,
}

impl<F: Family> Room<F> {
    /// Bytes that are enough for either family.
    pub const BYTES: usize = 512;

    /// Room on the host.
    pub const fn new() -> Self {
        Self {
            headers: MaybeUninit::uninit(),
            network: MaybeUninit::uninit(),
            quoted: MaybeUninit::uninit(),
            names: MaybeUninit::uninit(),
            ends: MaybeUninit::uninit(),
        }
    }
}

impl<F: Family> Default for Room<F> {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(size_of::<Room<crate::parse::V6>>() <= Room::<crate::parse::V6>::BYTES);

/// The headers of a whole packet or a first fragment.
///
/// A call of its own, as the others here: what it reads is in the room then, and nowhere else.
#[inline(never)]
pub fn headers<'r, F: Family, P: Packet + ?Sized>(
    packet: &P,
    room: &'r mut MaybeUninit<Headers<F::Address>>,
) -> Option<&'r Headers<F::Address>> {
    let (_, at) = parse::link(packet);
    let network = F::network(packet, at).ok()?;
    Some(room.write(parse::transport::<F, P>(packet, network).ok()?))
}

/// The network header of any packet.
#[inline(never)]
pub fn network<'r, F: Family, P: Packet + ?Sized>(
    packet: &P,
    room: &'r mut MaybeUninit<Network<F::Address>>,
) -> Option<&'r Network<F::Address>> {
    let (_, at) = parse::link(packet);
    Some(room.write(F::network(packet, at).ok()?))
}

/// The network header of a whole ICMP message.
#[inline(always)]
pub fn icmp<'r, F: Icmp, P: Packet + ?Sized>(
    packet: &P,
    room: &'r mut MaybeUninit<Network<F::Address>>,
) -> Option<&'r Network<F::Address>> {
    let network = network::<F, P>(packet, room)?;
    (network.protocol == F::ICMP && matches!(network.piece, Piece::Whole)).then_some(network)
}

/// The packet that an ICMP error is about.
#[inline(never)]
pub fn quoted<'r, F: Icmp, P: Packet + ?Sized>(
    packet: &P,
    outer: &Network<F::Address>,
    room: &'r mut MaybeUninit<Quoted<F::Address>>,
) -> Option<&'r Quoted<F::Address>> {
    Some(room.write(icmp::quoted::<F, P>(packet, outer)?))
}
