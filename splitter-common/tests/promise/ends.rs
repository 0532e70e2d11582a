//! Connections that end while a shift goes by. Of some of their segments nothing was noted, and yet the client's next
//! connection, from the same port, is a new one: it goes where new ones go.

use splitter_common::slot::BackendId;

use super::{
    ROOMY,
    action::{
        Action::{self, Open, Shift, Speak, Talk},
        Fate::{Answered, Unanswered},
    },
    network::Family,
    tcp::PeerState,
    world::World,
};

const OPEN: Action = Open { client: 0, fate: Answered };
const TALK: Action = Talk { client: 0, fin: false, fate: Answered };
const SHIFT: Action = Shift { slot: 0, to: 2 };
const BACKENDS_FIN: Action = Speak { client: 0, backend: 1, fin: true, arrives: true };

/// Of a client whose connection has ended, the next one goes to the new backend.
fn ends(history: &[Action]) {
    for family in [Family::V4, Family::V6] {
        let mut world = World::new(family, ROOMY);
        history.iter().try_for_each(|action| world.act(action)).expect("nothing is broken");
        assert_eq!(world.state(0), PeerState::Closed, "both FINs have gone by");
        world.act(&OPEN).expect("a client may open a connection");
        assert_eq!(world.state(0), PeerState::Open(BackendId::new(2)));
    }
}

#[test]
fn the_clients_fin_was_seen_before_the_shift() {
    ends(&[OPEN, TALK, Talk { client: 0, fin: true, fate: Unanswered }, SHIFT, BACKENDS_FIN]);
}

#[test]
fn the_backends_fin_was_seen_before_the_shift() {
    ends(&[OPEN, TALK, BACKENDS_FIN, SHIFT, Talk { client: 0, fin: true, fate: Answered }]);
}

/// The client's FIN comes before anything of its backend's does.
#[test]
fn both_fins_come_after_the_shift() {
    ends(&[OPEN, TALK, SHIFT, Talk { client: 0, fin: true, fate: Unanswered }, BACKENDS_FIN]);
}

/// A client that has sent FIN may be sent data for long, and stays.
#[test]
fn a_half_closed_connection_stays() {
    let world = |history: &[Action]| {
        let mut world = World::new(Family::V4, ROOMY);
        history.iter().try_for_each(|action| world.act(action)).expect("nothing is broken");
    };
    let fin = Talk { client: 0, fin: true, fate: Answered };
    let data = Speak { client: 0, backend: 1, fin: false, arrives: true };
    let minute = Action::Wait(std::time::Duration::from_secs(50));
    world(&[
        OPEN,
        TALK,
        SHIFT,
        fin.clone(),
        data.clone(),
        minute.clone(),
        fin.clone(),
        minute.clone(),
        Action::Sweep,
        Action::Sweep,
        minute,
        data,
        fin,
    ]);
}
