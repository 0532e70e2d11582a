//! Since when a connection has been known: what `splitter status` calls its age.

use std::time::Duration;

use super::{
    ROOMY,
    action::{
        Action::{self, Open, Shift, Talk, Wait},
        Fate::Answered,
    },
    network::Family,
    world::World,
};

const SECOND_NS: u64 = 1_000_000_000;
const OPEN: Action = Open { client: 0, fate: Answered };
const TALK: Action = Talk { client: 0, fin: false, fate: Answered };

/// For how many seconds the flow table has known of client 0's connection.
fn known_after(history: &[Action]) -> Option<u64> {
    let mut world = World::new(Family::V4, ROOMY);
    history.iter().try_for_each(|action| world.act(action)).expect("nothing is broken");
    world.known_for_ns(0).map(|age| age / SECOND_NS)
}

const fn seconds(count: u64) -> Action {
    Wait(Duration::from_secs(count))
}

#[test]
fn an_old_connection_is_known_from_its_first_answer_after_the_shift() {
    let history = [OPEN, TALK, Shift { slot: 0, to: 2 }, seconds(5), TALK, seconds(7), TALK];
    assert_eq!(known_after(&history), Some(7));
}

#[test]
fn a_young_one_is_known_from_its_syn() {
    let history = [Shift { slot: 0, to: 2 }, OPEN, seconds(5), TALK, seconds(7), TALK];
    assert_eq!(known_after(&history), Some(12));
}

#[test]
fn a_syn_begins_it_anew() {
    let history = [Shift { slot: 0, to: 2 }, OPEN, TALK, seconds(5), OPEN, seconds(7), TALK];
    assert_eq!(known_after(&history), Some(7));
}
