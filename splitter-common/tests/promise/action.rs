//! What can happen, and how often it is tried.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select};

use super::network::{BACKENDS, CLIENTS_PER_SLOT, SLOTS_IN_PLAY, STRANGERS_PER_SLOT};

/// A history: what happens, in order. Some play in one slot alone and with one client, so that much happens to it.
pub fn histories() -> impl Strategy<Value = Vec<Action>> {
    (1..=SLOTS_IN_PLAY).prop_flat_map(|slots| vec(any_action(slots), 1..120))
}

/// One thing that happens. What makes no sense at the moment (data without a connection) does not.
#[derive(Clone, Debug)]
pub enum Action {
    /// A slot goes to a backend, 0 for none.
    Shift { slot: usize, to: u16 },
    /// Time passes; whoever would be silent for too long speaks.
    Wait(Duration),
    /// A whole sweep.
    Sweep,
    /// One step of a sweep.
    SweepStep,
    /// A backend is found dead. `crashed`: its connections are gone, too.
    Die { backend: u16, crashed: bool },
    /// A backend is back.
    Revive { backend: u16 },
    /// A client sends SYN, for the first time or again.
    Open { client: usize, fate: Fate },
    /// A client sends data or an acknowledgement, with or without FIN.
    Talk { client: usize, fin: bool, fate: Fate },
    /// A backend sends data to a client it has a connection with, with or without FIN.
    Speak { client: usize, backend: u16, fin: bool, arrives: bool },
    /// A client resets its connection.
    Reset { client: usize, arrives: bool },
    /// A backend resets a connection.
    Abort { client: usize, backend: u16 },
    /// A client forgets its connection without a word.
    Vanish { client: usize },
    /// SYNs that nobody means, and the answers.
    Flood { slot: usize, size: usize },
    /// The answers to all floods so far, once more: a backend repeats a SYN-ACK that is not acknowledged.
    Echo,
    /// Segments of no connection, and the resets that answer them.
    Stray { slot: usize, size: usize },
}

/// How far a client's segment and its answer come. Both pass splitter, or are never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Lost behind splitter.
    Lost,
    /// It arrives and is not answered, as an acknowledgement is not.
    Unanswered,
    /// The answer is lost behind splitter.
    AnswerLost,
    /// All is well.
    Answered,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::Lost),
        2 => Just(Fate::Unanswered),
        1 => Just(Fate::AnswerLost),
        6 => Just(Fate::Answered),
    ]
}

/// Around the limits: the margin, the time closed entries linger, the idle timeout.
fn pause() -> impl Strategy<Value = Duration> {
    select(vec![1, 900, 1_000, 4_000, 6_000, 30_000, 59_000, 60_000, 61_000, 70_000])
        .prop_map(Duration::from_millis)
}

/// Any one action, among the first so many slots.
fn any_action(slots: usize) -> impl Strategy<Value = Action> {
    let slot = move || 0..slots;
    let client = move || 0..if slots == 1 { 1 } else { slots * CLIENTS_PER_SLOT };
    let backend = || 1..=BACKENDS;
    let rarely = || prop::bool::weighted(0.25);
    prop_oneof![
        10 => (slot(), prop_oneof![1 => Just(0), 9 => backend()])
            .prop_map(|(slot, to)| Action::Shift { slot, to }),
        10 => pause().prop_map(Action::Wait),
        6 => Just(Action::Sweep),
        12 => Just(Action::SweepStep),
        1 => (backend(), any::<bool>()).prop_map(|(backend, crashed)| Action::Die { backend, crashed }),
        2 => backend().prop_map(|backend| Action::Revive { backend }),
        25 => (client(), fate()).prop_map(|(client, fate)| Action::Open { client, fate }),
        30 => (client(), rarely(), fate()).prop_map(|(client, fin, fate)| Action::Talk { client, fin, fate }),
        15 => (client(), backend(), rarely(), any::<bool>())
            .prop_map(|(client, backend, fin, arrives)| Action::Speak { client, backend, fin, arrives }),
        4 => (client(), any::<bool>()).prop_map(|(client, arrives)| Action::Reset { client, arrives }),
        2 => (client(), backend()).prop_map(|(client, backend)| Action::Abort { client, backend }),
        3 => client().prop_map(|client| Action::Vanish { client }),
        2 => (slot(), 1..=STRANGERS_PER_SLOT).prop_map(|(slot, size)| Action::Flood { slot, size }),
        1 => Just(Action::Echo),
        2 => (slot(), 1..=STRANGERS_PER_SLOT).prop_map(|(slot, size)| Action::Stray { slot, size }),
    ]
}
