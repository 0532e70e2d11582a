//! Histories that once moved a connection.

use std::time::Duration;

use super::{
    ROOMY,
    action::{
        Action::{self, Open, Shift, Speak, Sweep, Talk, Vanish, Wait},
        Fate::{Answered, Lost, Unanswered},
    },
    network::Family,
    run,
};

fn holds(history: &[Action]) {
    for family in [Family::V4, Family::V6] {
        run(family, ROOMY, history).map(drop).unwrap();
    }
}

/// `previous` speaks of a connection whose client has begun another one: that must not be recorded over it.
#[test]
fn a_half_open_connection_does_not_take_over_the_next_one() {
    holds(&[
        Open { client: 0, fate: Answered },
        Talk { client: 0, fin: false, fate: Answered },
        Vanish { client: 0 },
        Shift { slot: 0, to: 2 },
        Open { client: 0, fate: Answered },
        Speak { client: 0, backend: 1, fin: false, arrives: false },
        Talk { client: 0, fin: false, fate: Answered },
    ]);
}

/// The backend's FIN of one connection and the client's FIN of the next are not FIN both ways.
#[test]
fn a_half_closed_connection_is_not_closed_by_an_older_fin() {
    holds(&[
        Open { client: 0, fate: Answered },
        Shift { slot: 0, to: 2 },
        Talk { client: 0, fin: true, fate: Unanswered },
        Speak { client: 0, backend: 1, fin: true, arrives: true },
        Open { client: 0, fate: Answered },
        Talk { client: 0, fin: true, fate: Lost },
        Wait(Duration::from_secs(70)),
        Sweep,
        Sweep,
        Talk { client: 0, fin: false, fate: Answered },
    ]);
}
