//! One service as the daemon keeps it: its release, its members and its slots. Pure: no clock, no map.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use splitter_common::{
    abi::ServiceTable,
    hash::{HashKey, SLOTS},
    slot::{BackendId, Slot, State},
};

use crate::{
    api::model::{Admin, Health, SlotCounts, Split},
    config::{self, ForwardMode, NoBackend, PoolName, Protocol},
    release::Release,
    table::{self, Order, TableBackend, TableInput},
};

/// How long a backend's answer may take to the packet that shows a connection alive: a DIRTY phase is this much
/// longer than the idle timeout.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// A service.
#[derive(Clone)]
pub struct Service {
    /// Its number in the kernel's maps.
    pub number: u32,
    /// Its part of the configuration.
    pub spec: config::Service,
    /// Its split and the way back.
    pub release: Release,
    /// Every backend of every pool, pool by pool, in the configuration's order.
    pub members: Vec<Member>,
    /// Generation of its last change.
    pub generation: u64,
    /// When its split last changed, nanoseconds of `CLOCK_MONOTONIC`.
    pub changed_ns: u64,
    key: HashKey,
    slots: Box<[Slot]>,
    /// Until when each slot is DIRTY, nanoseconds of `CLOCK_MONOTONIC`.
    dirty_until_ns: Box<[u64]>,
    /// Largest IP packet that every member can be sent, bytes.
    mtu: u32,
    table: Arc<ServiceTable>,
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number in the kernel's maps.
    pub id: BackendId,
    /// Its pool.
    pub pool: PoolName,
    /// Address and port.
    pub address: SocketAddr,
    /// Relative weight inside the pool.
    pub weight: u32,
    /// The operator's word.
    pub admin: Admin,
    /// The health check's word.
    pub health: Health,
    /// A deadline has passed: what is left on it is reset. Never true of one that owns a slot.
    pub resetting: bool,
}

impl Member {
    /// May get new connections.
    pub fn usable(&self) -> bool {
        self.admin == Admin::Ready && self.health != Health::Down
    }

    /// Its live connections are kept again.
    pub const fn reset_no_more(&mut self) {
        self.resetting = false;
    }

    /// Its live connections are to be reset.
    pub const fn resets(&self) -> bool {
        self.resetting
    }

    /// Its live connections can be kept.
    pub fn keeps(&self) -> bool {
        self.admin != Admin::Maint && self.health != Health::Down
    }
}

impl Service {
    /// A service at its beginning: every slot CLEAN.
    pub fn new(
        number: u32,
        spec: config::Service,
        members: Vec<Member>,
        hash_seed: &str,
        order: &Order,
    ) -> Self {
        let weights = spec.pools.iter().map(|(name, pool)| (*name, pool.weight)).collect();
        let key = table::hash_key(hash_seed, &spec);
        let mut service = Self {
            number,
            release: Release::new(Split { stable: spec.stable, weights }),
            members,
            generation: 0,
            changed_ns: 0,
            key,
            slots: vec![Slot::default(); SLOTS].into(),
            dirty_until_ns: vec![0; SLOTS].into(),
            mtu: u32::MAX,
            table: Arc::new(ServiceTable::new(key, 0, 0, 0, [Slot::default(); SLOTS])),
            spec,
        };
        service.retarget(order, 0);
        service
    }

    /// The table for the kernel.
    pub const fn table(&self) -> &Arc<ServiceTable> {
        &self.table
    }

    /// The slots.
    pub const fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The number of the table that a client is placed by.
    pub const fn table_for(&self, _client: std::net::IpAddr) -> u32 {
        self.number
    }

    /// The slot of a client.
    pub fn slot_of(&self, client: splitter_common::net::Addr, port: splitter_common::net::Port) -> usize {
        self.key.slot(client, port)
    }

    /// The member with a number.
    pub fn member(&self, id: BackendId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Shifts the slots to what split and members ask for; returns how many got another backend.
    pub fn retarget(&mut self, order: &Order, now_ns: u64) -> u32 {
        let wanted = self.wanted(order);
        let until = now_ns + nanoseconds(self.idle_timeout() + ANSWER_MARGIN);
        let keeps = self.keeps();
        let mut moved = 0;
        for ((slot, next), dirty_until) in self.slots.iter_mut().zip(wanted).zip(&mut self.dirty_until_ns) {
            let shifted = slot.shift(next, &keeps);
            if shifted == *slot {
                continue;
            }
            moved += u32::from(shifted.current() != slot.current());
            // From the first shift on, whoever is younger is recorded: a later one does not begin the wait anew.
            if matches!(shifted.state(), State::Dirty { .. }) && !matches!(slot.state(), State::Dirty { .. })
            {
                *dirty_until = until;
            }
            *slot = shifted;
        }
        self.end_resets();
        self.rebuild();
        moved
    }

    /// Who gets new connections keeps them.
    fn end_resets(&mut self) {
        let owners = self.owners();
        self.members.iter_mut().filter(|member| owners.contains(&member.id)).for_each(Member::reset_no_more);
    }

    /// DIRTY slots whose time has come become TRACKED; returns how many.
    pub fn track(&mut self, now_ns: u64) -> u32 {
        let mut tracked = 0;
        for (slot, until) in self.slots.iter_mut().zip(&self.dirty_until_ns) {
            if matches!(slot.state(), State::Dirty { .. }) && *until <= now_ns {
                *slot = slot.track();
                tracked += 1;
            }
        }
        if tracked > 0 {
            self.rebuild();
        }
        tracked
    }

    /// TRACKED slots without exceptions become CLEAN.
    pub fn settle(&mut self, slots: &[usize]) {
        for slot in slots {
            self.slots[*slot] = self.slots[*slot].settle();
        }
        self.rebuild();
    }

    /// How many slots are in each state.
    pub fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts { total: SLOTS as u32, ..SlotCounts::default() };
        for slot in &self.slots {
            match slot.state() {
                State::Clean => counts.clean += 1,
                State::Dirty { .. } => counts.dirty += 1,
                State::Tracked => counts.tracked += 1,
            }
        }
        counts
    }

    /// Who gets new connections.
    pub fn owners(&self) -> BTreeSet<BackendId> {
        self.slots.iter().map(|slot| slot.current()).filter(|id| !id.is_none()).collect()
    }

    /// Until when each backend may have connections that have been silent since the shift, and so are recorded
    /// nowhere: nanoseconds of `CLOCK_MONOTONIC`. Of one that is absent and owns no slot, every connection is recorded.
    pub fn unseen_until_ns(&self) -> BTreeMap<BackendId, u64> {
        let mut unseen = BTreeMap::new();
        for (slot, until) in self.slots.iter().zip(&self.dirty_until_ns) {
            if let State::Dirty { previous } = slot.state() {
                let latest = unseen.entry(previous).or_default();
                *latest = (*until).max(*latest);
            }
        }
        unseen
    }

    /// Every slot is CLEAN.
    pub fn settled(&self) -> bool {
        self.table.flags & ServiceTable::UNSETTLED == 0
    }

    /// How long a connection may be silent.
    pub fn idle_timeout(&self) -> Duration {
        match self.spec.protocol {
            Protocol::Tcp => self.spec.idle_timeout,
            Protocol::Udp => self.spec.udp_idle_timeout,
            // The longer one: a slot's state is one for both.
            Protocol::Both => self.spec.idle_timeout.max(self.spec.udp_idle_timeout),
        }
    }

    /// The backend of every slot.
    fn wanted(&self, order: &Order) -> Vec<BackendId> {
        let mut pools: BTreeMap<PoolName, Vec<TableBackend>> = BTreeMap::new();
        let mut ids: BTreeMap<PoolName, Vec<BackendId>> = BTreeMap::new();
        for member in &self.members {
            let Member { address, weight, .. } = *member;
            pools.entry(member.pool).or_default().push(TableBackend {
                address,
                weight,
                usable: member.usable(),
            });
            ids.entry(member.pool).or_default().push(member.id);
        }
        let table = table::build(&TableInput { order, split: self.release.current(), pools: &pools });
        let id =
            |place: &table::Placement| place.backend.map_or(BackendId::NONE, |index| ids[&place.pool][index]);
        table.placements().iter().map(id).collect()
    }

    /// The largest IP packet that every member can be sent has changed.
    pub fn set_mtu(&mut self, mtu: u32) {
        if self.mtu != mtu {
            self.mtu = mtu;
            self.rebuild();
        }
    }

    /// Whose connections are kept. A UDP service without an idle timeout keeps none: datagrams follow the table. In mode
    /// `snat` each connection's own entry keeps it, and its slot need not.
    fn keeps(&self) -> impl Fn(BackendId) -> bool + use<> {
        let none = self.idle_timeout().is_zero() || self.spec.mode == ForwardMode::Snat;
        let kept: Vec<BackendId> =
            self.members.iter().filter(|member| member.keeps()).map(|member| member.id).collect();
        move |id| !none && kept.contains(&id)
    }

    fn rebuild(&mut self) {
        let unsettled =
            if self.slots.iter().all(|slot| slot.is_clean()) { 0 } else { ServiceTable::UNSETTLED };
        let resetting = if self.members.iter().any(Member::resets) { ServiceTable::RESETTING } else { 0 };
        let flags = unsettled | resetting | flags(&self.spec) | self.number << 16;
        let mut slots = [Slot::default(); SLOTS];
        slots.copy_from_slice(&self.slots);
        let idle_timeout_ns = nanoseconds(self.idle_timeout());
        self.table = Arc::new(ServiceTable::new(self.key, idle_timeout_ns, flags, self.mtu, slots));
    }
}

/// What a table says of its service's settings.
fn flags(spec: &config::Service) -> u32 {
    let reject = if spec.no_backend == NoBackend::Reject { ServiceTable::REJECT } else { 0 };
    reject
        | match spec.mode {
            ForwardMode::Dnat => 0,
            ForwardMode::Snat => ServiceTable::TRANSLATE,
            ForwardMode::DsrL2 => ServiceTable::LINK,
            ForwardMode::DsrIpip => ServiceTable::TUNNEL,
        }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::samples;

    fn order() -> Order {
        Order::new("a fleet-wide secret")
    }

    fn canary_like(points: u32) -> BTreeMap<PoolName, crate::config::Weight> {
        [(PoolName::Green, crate::config::Weight::from_basis_points(points).unwrap())].into()
    }

    #[test]
    fn a_shift_moves_exactly_the_slots_of_its_share() {
        let order = order();
        let mut service = samples::service(&order);
        assert!(service.settled());
        service.release = service.release.weights(&canary_like(2500)).unwrap();
        assert_eq!(service.retarget(&order, 0), 4096);
        let counts = service.counts();
        assert_eq!((counts.clean, counts.dirty, counts.tracked), (12_288, 4096, 0));
        assert_eq!(service.retarget(&order, 0), 0, "nothing is left to do");
    }

    #[test]
    fn a_rollback_makes_no_slot_wait() {
        let order = order();
        let mut service = samples::service(&order);
        service.release = service.release.weights(&canary_like(2500)).unwrap();
        service.retarget(&order, 0);
        service.release = service.release.rollback().unwrap();
        assert_eq!(service.retarget(&order, 0), 4096);
        assert_eq!(service.counts().tracked, 4096);
    }

    #[test]
    fn slots_are_dirty_for_the_idle_timeout_and_the_margin() {
        let order = order();
        let mut service = samples::service(&order);
        service.release = service.release.switch(PoolName::Green).unwrap();
        service.retarget(&order, 1000);
        let until = 1000 + nanoseconds(service.idle_timeout() + ANSWER_MARGIN);
        assert_eq!(service.track(until - 1), 0);
        assert_eq!(service.track(until) as usize, SLOTS);
        service.settle(&(0..SLOTS).collect::<Vec<_>>());
        assert!(service.settled());
    }

    #[test]
    fn only_whose_slots_are_dirty_may_have_connections_that_nobody_has_seen() {
        let order = order();
        let mut service = samples::service(&order);
        let (blue, green) = (service.members[0].id, service.members[1].id);
        assert!(service.unseen_until_ns().is_empty());
        service.release = service.release.weights(&canary_like(5000)).unwrap();
        service.retarget(&order, 0);
        service.release = service.release.switch(PoolName::Green).unwrap();
        service.retarget(&order, 1000);
        let until = 1000 + nanoseconds(service.idle_timeout() + ANSWER_MARGIN);
        assert_eq!(service.unseen_until_ns(), [(blue, until)].into());
        assert_eq!(service.owners(), [green].into());
        service.track(until);
        assert!(service.unseen_until_ns().is_empty());
    }

    #[test]
    fn who_gets_new_connections_again_is_not_reset() {
        let order = order();
        let mut service = samples::service(&order);
        service.release = service.release.switch(PoolName::Green).unwrap();
        service.retarget(&order, 0);
        service.members[0].resetting = true;
        service.retarget(&order, 0);
        assert!(service.members[0].resets());
        service.release = service
            .release
            .weights(&[(PoolName::Blue, crate::config::Weight::from_basis_points(1).unwrap())].into())
            .unwrap();
        service.retarget(&order, 0);
        assert!(!service.members[0].resets());
    }

    #[test]
    fn a_further_shift_does_not_begin_the_wait_anew() {
        let order = order();
        let mut service = samples::service(&order);
        service.release = service.release.weights(&canary_like(5000)).unwrap();
        service.retarget(&order, 0);
        service.release = service.release.weights(&canary_like(7500)).unwrap();
        service.retarget(&order, 1_000_000);
        let first = nanoseconds(service.idle_timeout() + ANSWER_MARGIN);
        assert_eq!((service.track(first), service.track(first + 1_000_000)), (8192, 4096));
    }

    #[test]
    fn a_dead_backend_leaves_clean_slots_and_comes_back_to_the_same() {
        let order = order();
        let mut service = samples::service(&order);
        let before = service.slots().to_vec();
        service.members[0].health = Health::Down;
        assert_eq!(service.retarget(&order, 0) as usize, SLOTS);
        assert!(service.settled() && service.slots().iter().all(|slot| slot.current().is_none()));
        service.members[0].health = Health::Up;
        service.retarget(&order, 0);
        assert_eq!(service.slots(), before);
    }
}
