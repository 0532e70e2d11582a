//! Which backend of a pool gets which of its slots: weighted rendezvous hashing with exact quotas.
//!
//! Every pair of slot and backend has a score, and the pairs are served best first, as long as the slot is
//! free and the backend's quota is not used up. A slot thus has its favourite among the backends that still
//! had room, whatever else is in the pool: that keeps it there when another backend comes or goes.
//!
//! Scoring all pairs would take 16 million hashes for 1,024 backends. Weighted rendezvous hashing is a race,
//! however: each slot goes to the backend whose exponential clock of rate `weight` rings first, so a
//! backend's clocks can be walked in the order in which they ring: a permutation of the slots, keyed by the
//! backend, whose `k`-th ring has the score `1/weight * sum(1/(SLOTS - j), j = 0..=k)`, the expected `k`-th of
//! that many exponential arrivals (Rényi 1953). No logarithm is needed, all is integer, and every host agrees.
//! Serving best first is then a stable matching, which deferred acceptance (Gale, Shapley 1962) finds whatever
//! the order of the bids: a backend bids for slots along its permutation until it holds its quota, and an
//! outbid one bids on. About `SLOTS * ln(slots)` bids settle it, whatever the number of backends.

use super::{
    SLOTS,
    hash::{Generator, mix},
};

/// A backend that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    /// Hash of its address and port; orders the members, and breaks ties.
    pub(super) key: u64,
    /// Relative weight, above 0.
    pub(super) weight: u32,
}

/// The index of the member that gets each of `slots`, which are distinct. `members` is not empty, in the
/// order of their keys, and has at most 65,536 entries.
pub(super) fn share_out(slots: &[u16], members: &[Member]) -> Vec<u16> {
    let mut auction = Auction::new(slots, members);
    auction.run();
    slots.iter().map(|&slot| auction.held[usize::from(slot)].bidder() as u16).collect()
}

/// How many of `slots` each member gets: its weight's share, rounded by largest remainder, ties to the first.
fn quotas(slots: usize, members: &[Member]) -> Vec<u32> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let share = |member: &Member| slots as u64 * u64::from(member.weight);
    let mut quotas: Vec<u32> = members.iter().map(|member| (share(member) / total) as u32).collect();
    let left = slots - quotas.iter().map(|&quota| quota as usize).sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(share(&members[index]) % total));
    for &index in &by_remainder[..left] {
        quotas[index] += 1;
    }
    quotas
}

/// A score and who made it; the lowest wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bid(u64);

impl Bid {
    /// Beats every bid: the slot is not up for auction.
    const WITHHELD: Self = Self(0);
    /// Beaten by every bid.
    const FREE: Self = Self(u64::MAX);

    /// At most 24 bits of arrival, 24 of pace and 16 of bidder; above `WITHHELD` as arrivals begin at 64.
    fn new(arrival: u32, pace: u32, bidder: usize) -> Self {
        Self((u64::from(arrival) * u64::from(pace)) << 16 | bidder as u64)
    }

    fn bidder(self) -> usize {
        usize::from(self.0 as u16)
    }
}

/// One member's way through the auction.
struct Bidder {
    favourites: Favourites,
    /// The inverse of its weight.
    pace: u32,
    /// How many of its favourites it has bid for.
    bids: u32,
    /// How many slots it lacks to its quota.
    lacking: u32,
}

impl Bidder {
    fn new(member: &Member, quota: u32) -> Self {
        let pace = ((1 << 24) / member.weight).max(1);
        Self { favourites: Favourites::new(member.key), pace, bids: 0, lacking: quota }
    }
}

/// Who holds which slot for now.
struct Auction {
    held: Vec<Bid>,
    bidders: Vec<Bidder>,
}

impl Auction {
    fn new(slots: &[u16], members: &[Member]) -> Self {
        let mut held = vec![Bid::WITHHELD; SLOTS];
        for &slot in slots {
            held[usize::from(slot)] = Bid::FREE;
        }
        let quotas = quotas(slots.len(), members);
        let bidders = members.iter().zip(quotas).map(|(member, quota)| Bidder::new(member, quota)).collect();
        Self { held, bidders }
    }

    /// Lets everyone bid until each holds its quota. Quotas add up to the slots and a held slot stays held,
    /// so a bidder that lacks one has a favourite left: the slot that is still free.
    fn run(&mut self) {
        let mut waiting: Vec<usize> = (0..self.bidders.len()).collect();
        while let Some(bidder) = waiting.pop() {
            while self.bidders[bidder].lacking > 0 {
                waiting.extend(self.bid(bidder));
            }
        }
    }

    /// Bids for the next favourite of `bidder`; returns whom that outbids.
    fn bid(&mut self, bidder: usize) -> Option<usize> {
        let Bidder { favourites, pace, bids, lacking } = &mut self.bidders[bidder];
        let bid = Bid::new(ARRIVALS[*bids as usize], *pace, bidder);
        let held = &mut self.held[favourites.slot(*bids)];
        *bids += 1;
        if bid >= *held {
            return None;
        }
        *lacking -= 1;
        let outbid = std::mem::replace(held, bid);
        if outbid == Bid::FREE {
            return None;
        }
        self.bidders[outbid.bidder()].lacking += 1;
        Some(outbid.bidder())
    }
}

/// `sum(1/(SLOTS - j), j = 0..=k)` for every `k`, in units of 2^-20: from 64 to 24 bits, strictly growing.
static ARRIVALS: [u32; SLOTS] = arrivals();

const fn arrivals() -> [u32; SLOTS] {
    let mut arrivals = [0; SLOTS];
    let (mut k, mut sum) = (0, 0);
    while k < SLOTS {
        sum += (1 << 20) / (SLOTS - k) as u32;
        arrivals[k] = sum;
        k += 1;
    }
    arrivals
}

/// A permutation of the slots, keyed by a backend: three rounds of an odd multiplication, an addition and a
/// shift, each of which is a bijection modulo `SLOTS`.
struct Favourites([(u32, u32); 3]);

impl Favourites {
    const MASK: u32 = SLOTS as u32 - 1;
    const HALF_THE_BITS: u32 = SLOTS.ilog2() / 2;

    fn new(key: u64) -> Self {
        let mut generator = Generator::new(mix(key));
        Self([(); 3].map(|()| {
            let bits = generator.next();
            (bits as u32 | 1, (bits >> 32) as u32)
        }))
    }

    /// The slot that comes after `rank` others.
    fn slot(&self, rank: u32) -> usize {
        let round = |value: u32, &(factor, addend): &(u32, u32)| {
            let value = value.wrapping_mul(factor).wrapping_add(addend) & Self::MASK;
            value ^ (value >> Self::HALF_THE_BITS)
        };
        self.0.iter().fold(rank, round) as usize
    }
}

#[cfg(test)]
mod tests;
