//! One service as the daemon keeps it: its release, its members and its slots. Pure: no clock, no map.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use splitter_common::{
    abi::ServiceTable,
    hash::HashKey,
    slot::{BackendId, Slot},
};

use super::{
    lane::{Lane, Purpose},
    slots::Slots,
};
use crate::{
    api::model::{Admin, Health, SlotCounts, Split},
    config::{self, ForwardMode, NoBackend, PoolName, Protocol, Weight},
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
    /// Slot tables beside its own.
    pub lanes: Vec<Lane>,
    key: HashKey,
    slots: Slots,
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
        lanes: Vec<Lane>,
        (hash_seed, order): (&str, &Order),
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
            lanes,
            slots: Slots::new(),
            mtu: u32::MAX,
            table: Arc::new(Slots::new().table(key, 0, 0, 0)),
            spec,
        };
        service.retarget(order, 0);
        service
    }

    /// The table for the kernel.
    pub const fn table(&self) -> &Arc<ServiceTable> {
        &self.table
    }

    /// The slots of its own table.
    pub const fn slots(&self) -> &[Slot] {
        self.slots.all()
    }

    /// Every slot table of it by number, its own first.
    pub fn slot_tables(&self) -> impl Iterator<Item = (u32, &[Slot])> {
        let lanes = self.lanes.iter().map(|lane| (lane.number, lane.slots.all()));
        std::iter::once((self.number, self.slots.all())).chain(lanes)
    }

    /// Every table of it for the kernel, by number.
    pub fn tables(&self) -> impl Iterator<Item = (u32, &Arc<ServiceTable>)> {
        let lanes = self.lanes.iter().map(|lane| (lane.number, &lane.table));
        std::iter::once((self.number, &self.table)).chain(lanes)
    }

    /// The number of the table that a client is placed by: the longest prefix wins.
    pub fn table_for(&self, client: IpAddr) -> u32 {
        let rules = self.spec.routes.iter().filter(|rule| rule.source.contains(client));
        let pool = rules.max_by_key(|rule| rule.source.length).map(|rule| rule.pool);
        pool.and_then(|pool| self.ruled_lane(pool)).map_or(self.number, |lane| lane.number)
    }

    /// The lane of clients whose rules lead to a pool.
    pub fn ruled_lane(&self, pool: PoolName) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.purpose == Purpose::Rules && lane.pool == pool)
    }

    /// The slot of a client.
    pub fn slot_of(&self, client: splitter_common::net::Addr, port: splitter_common::net::Port) -> usize {
        self.key.slot(client, port)
    }

    /// The member with a number, of the service or of a lane.
    pub fn member(&self, id: BackendId) -> Option<&Member> {
        let id = self.lanes.iter().fold(id, |id, lane| lane.main(id));
        self.members.iter().find(|member| member.id == id)
    }

    /// Shifts the slots to what split and members ask for; returns how many got another backend.
    pub fn retarget(&mut self, order: &Order, now_ns: u64) -> u32 {
        let wanted = self.wanted(order);
        let until = now_ns + nanoseconds(self.idle_timeout() + ANSWER_MARGIN);
        let keeps = self.keeps();
        let in_mode = self.spec.mode;
        // In mode `snat` each connection's own entry keeps it, and its slot need not.
        let moved = self.slots.shift(&wanted, until, |id| in_mode != ForwardMode::Snat && keeps(id));
        let wanted: Vec<Vec<BackendId>> = self.lanes.iter().map(|lane| self.wanted_in(lane, order)).collect();
        for (lane, wanted) in self.lanes.iter_mut().zip(wanted) {
            let (records_each, mains) = (lane.records_each(in_mode), lane.clone());
            lane.slots.shift(&wanted, until, |id| !records_each && keeps(mains.main(id)));
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
        let lanes: u32 = self.lanes.iter_mut().map(|lane| lane.slots.track(now_ns)).sum();
        let tracked = lanes + self.slots.track(now_ns);
        if tracked > 0 {
            self.rebuild();
        }
        tracked
    }

    /// TRACKED slots without exceptions become CLEAN, in the table of a number.
    pub fn settle(&mut self, number: u32, slots: &[usize]) {
        match self.lanes.iter_mut().find(|lane| lane.number == number) {
            Some(lane) => lane.slots.settle(slots),
            None => self.slots.settle(slots),
        }
        self.rebuild();
    }

    /// How many slots of its own table are in each state.
    pub fn counts(&self) -> SlotCounts {
        self.slots.counts()
    }

    /// Who gets new connections, from clients with rules too; those of preview listeners do not count.
    pub fn owners(&self) -> BTreeSet<BackendId> {
        let ruled = self.lanes.iter().filter(|lane| lane.purpose == Purpose::Rules);
        ruled.fold(self.slots.owners(), |owners, lane| &owners | &lane.slots.owners())
    }

    /// Until when each backend may have connections that have been silent since the shift, and so are recorded
    /// nowhere: nanoseconds of `CLOCK_MONOTONIC`. Of one that is absent and owns no slot, every connection is recorded.
    pub fn unseen_until_ns(&self) -> BTreeMap<BackendId, u64> {
        let mut unseen = BTreeMap::new();
        self.slots.unseen_until_ns(&mut unseen);
        self.lanes.iter().for_each(|lane| lane.slots.unseen_until_ns(&mut unseen));
        unseen
    }

    /// Every slot is CLEAN, those of the lanes too.
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
        self.placed(order, self.release.current(), |member| Some((member.pool, member.id)))
    }

    /// The backend of every slot of a lane: its pool's, whatever the split says.
    fn wanted_in(&self, lane: &Lane, order: &Order) -> Vec<BackendId> {
        let whole = Split { stable: PoolName::Blue, weights: [(PoolName::Blue, Weight::FULL)].into() };
        let own = |member: &Member| (member.pool == lane.pool).then(|| (PoolName::Blue, lane.own(member.id)));
        self.placed(order, &whole, own)
    }

    /// The backend of every slot under a split; `place`: a member's pool and number in the table.
    fn placed(
        &self,
        order: &Order,
        split: &Split,
        place: impl Fn(&Member) -> Option<(PoolName, BackendId)>,
    ) -> Vec<BackendId> {
        let mut pools: BTreeMap<PoolName, Vec<TableBackend>> = BTreeMap::new();
        let mut ids: BTreeMap<PoolName, Vec<BackendId>> = BTreeMap::new();
        for member in &self.members {
            let Some((pool, id)) = place(member) else { continue };
            let Member { address, weight, .. } = *member;
            let usable = member.usable();
            pools.entry(pool).or_default().push(TableBackend { address, weight, usable });
            ids.entry(pool).or_default().push(id);
        }
        let table = table::build(&TableInput { order, split, pools: &pools });
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

    /// Whose connections are kept. A UDP service without an idle timeout keeps none: datagrams follow the table.
    fn keeps(&self) -> impl Fn(BackendId) -> bool + use<> {
        let none = self.idle_timeout().is_zero();
        let kept: Vec<BackendId> =
            self.members.iter().filter(|member| member.keeps()).map(|member| member.id).collect();
        move |id| !none && kept.contains(&id)
    }

    fn rebuild(&mut self) {
        let resetting = if self.members.iter().any(Member::resets) { ServiceTable::RESETTING } else { 0 };
        let shared = resetting | flags(&self.spec) | self.number << 16;
        let idle_timeout_ns = nanoseconds(self.idle_timeout());
        let unsettled = |slots: &Slots| if slots.settled() { 0 } else { ServiceTable::UNSETTLED };
        let mut own = shared | unsettled(&self.slots);
        for lane in &mut self.lanes {
            let state = unsettled(&lane.slots);
            let flags = shared | state | lane.flags(self.spec.mode);
            lane.table = Arc::new(lane.slots.table(self.key, idle_timeout_ns, flags, self.mtu));
            // Replies are known by the service's own table.
            own |= state | if lane.purpose == Purpose::Rules { ServiceTable::ROUTED } else { 0 };
            own |= if lane.flags(self.spec.mode) == 0 { 0 } else { ServiceTable::PREVIEWED };
        }
        self.table = Arc::new(self.slots.table(self.key, idle_timeout_ns, own, self.mtu));
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
    use splitter_common::hash::SLOTS;

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
        service.settle(service.number, &(0..SLOTS).collect::<Vec<_>>());
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
