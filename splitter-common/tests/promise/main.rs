//! The promise: a TCP connection that is never silent for longer than `idle_timeout` is never moved by any sequence
//! of shifts, as long as the flow table is not full; and a service that nobody has shifted for a while holds
//! nothing of it.
//!
//! The real packet path and the real slot transitions, under random histories, against a model that knows every
//! connection's true backend. What the model takes as given: [`world`]. `PROPTEST_CASES=100000 cargo test --release`
//! looks harder.

mod action;
mod ages;
mod daemon;
mod ends;
mod memory;
mod network;
mod past;
mod tcp;
mod world;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{TestError, TestRunner},
};
use splitter_common::abi::TableCounters;

use self::{
    action::{Action, histories},
    network::Family,
    world::{Setting, World},
};

/// The flow table never fills; the embryonic one does whenever there is a flood.
const ROOMY: Setting = Setting { flows: 1000, embryonic: 12, clean_slots_only: false };

/// The world at the end of a history, or what went wrong.
fn run(family: Family, setting: Setting, history: &[Action]) -> Result<World, String> {
    let mut world = World::new(family, setting);
    history.iter().try_for_each(|action| world.act(action))?;
    world.come_to_rest()?;
    Ok(world)
}

/// Tries `histories` in worlds of `settings`.
fn explore(cases: u32, settings: impl Strategy<Value = Setting>) {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let worlds = (prop_oneof![Just(Family::V4), Just(Family::V6)], settings, histories());
    let outcome = TestRunner::new(config).run(&worlds, |(family, setting, history)| {
        run(family, setting, &history).map(drop).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, world)) = outcome {
        panic!("{why} after {world:#?}");
    }
}

#[test]
fn no_history_moves_a_connection() {
    explore(800, Just(ROOMY));
}

/// Flow tables that fill up, or take nothing at all.
#[test]
fn full_tables_disturb_no_clean_slot() {
    let small = (0..4usize, 0..4usize);
    explore(250, small.prop_map(|(flows, embryonic)| Setting { flows, embryonic, clean_slots_only: true }));
}

/// Counters of the same hundred histories, added up.
fn counted(setting: Setting) -> (TableCounters, usize) {
    let mut runner = TestRunner::deterministic();
    let (mut sum, mut evicted) = (TableCounters::default(), 0);
    for _ in 0..100 {
        let history = histories().new_tree(&mut runner).expect("nothing is rejected").current();
        let world = run(Family::V4, setting, &history).expect("these histories break nothing");
        let counters = world.counters();
        evicted += world.evicted_flows();
        sum.recorded += counters.recorded;
        sum.embryonic += counters.embryonic;
        sum.promoted += counters.promoted;
        sum.forgotten_flows += counters.forgotten_flows;
        sum.forgotten_embryonic += counters.forgotten_embryonic;
        sum.missed += counters.missed;
        sum.failed += counters.failed;
    }
    (sum, evicted)
}

#[test]
fn histories_reach_all_that_can_happen_to_an_entry() {
    let (counters, evicted) = counted(ROOMY);
    let reached = [
        counters.recorded,
        counters.embryonic,
        counters.promoted,
        counters.forgotten_flows,
        counters.forgotten_embryonic,
        counters.missed,
    ];
    assert!(reached.iter().all(|count| *count > 20), "{counters:?}");
    assert_eq!((counters.failed, evicted), (0, 0), "a roomy table takes all");
}

#[test]
fn tables_that_refuse_are_counted_and_full_ones_evict() {
    let setting = |flows| Setting { flows, embryonic: 4, clean_slots_only: true };
    assert!(counted(setting(0)).0.failed > 100, "a table without room refuses");
    let (counters, evicted) = counted(setting(1));
    assert!(counters.failed == 0 && evicted > 20, "a full table evicts: {evicted} in {counters:?}");
}
