//! The state machine of a slot, and of the connections that are its exceptions.
//!
//! A CLEAN slot needs no table: its `current` backend owns every connection. A shift makes it DIRTY: until
//! `idle_timeout` has passed, whoever is not recorded belongs to `previous`, and is recorded when that backend
//! answers. Then it is TRACKED: all exceptions are recorded, whoever is not belongs to `current`; and once the
//! daemon has seen the last exception go, and removed the slot's entries, it is CLEAN again.
//!
//! Packets are placed by [`place`] and answers noted by [`answer`], in the kernel; [`Slot::shift`],
//! [`Slot::track`] and [`Slot::clean`] are the daemon's transitions. Nothing here knows time or maps but
//! through its arguments.

use crate::net::TcpFlags;

/// Number of a backend in the kernel's table; 0 is none. Never reused while a slot or a flow names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct BackendId(u16);

impl BackendId {
    /// No backend.
    pub const NONE: Self = Self(0);

    /// The largest number: 0xffff marks a TRACKED slot.
    pub const MAX: u16 = 0xfffe;

    /// From a number; those above [`BackendId::MAX`] are none.
    #[inline(always)]
    pub const fn new(id: u16) -> Self {
        if id > Self::MAX { Self::NONE } else { Self(id) }
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// True for [`BackendId::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A slot: `current` in the low half, and in the high half what its state needs: 0 CLEAN, 0xffff TRACKED,
/// anything else DIRTY with that backend as `previous`. One aligned word, read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Slot(u32);

/// What a slot's state says of connections that no table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No table is consulted.
    Clean,
    /// Who is not recorded belongs to `previous`.
    Dirty {
        /// The backend before the first of the shifts that made the slot dirty.
        previous: BackendId,
    },
    /// Who is not recorded belongs to `current`.
    Tracked,
}

const TRACKED: u32 = 0xffff;

impl Slot {
    /// A slot in a state.
    pub const fn new(current: BackendId, state: State) -> Self {
        let high = match state {
            State::Clean => 0,
            State::Dirty { previous } => previous.0 as u32,
            State::Tracked => TRACKED,
        };
        Self(high << 16 | current.0 as u32)
    }

    /// A CLEAN slot.
    pub const fn clean(current: BackendId) -> Self {
        Self::new(current, State::Clean)
    }

    /// The backend of new connections.
    #[inline(always)]
    pub const fn current(self) -> BackendId {
        BackendId(self.0 as u16)
    }

    /// True when no table need be consulted.
    #[inline(always)]
    pub const fn is_clean(self) -> bool {
        self.0 >> 16 == 0
    }

    /// The state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 >> 16 {
            0 => State::Clean,
            TRACKED => State::Tracked,
            previous => State::Dirty { previous: BackendId(previous as u16) },
        }
    }

    /// The shift to `next`. `kept` tells whether a backend's connections are to be kept: false for one that is
    /// dead or taken out at once, whose connections nobody can save.
    ///
    /// A slot becomes CLEAN at once only if no table can hold an entry of it; one that was DIRTY or TRACKED
    /// becomes TRACKED, for its recorded exceptions live on.
    #[must_use]
    pub fn shift(self, next: BackendId, kept: impl Fn(BackendId) -> bool) -> Self {
        let keeps = |backend: BackendId| !backend.is_none() && kept(backend);
        let unrecorded = match self.state() {
            State::Dirty { previous } => previous,
            State::Clean | State::Tracked => self.current(),
        };
        let state = if unrecorded != next && keeps(unrecorded) {
            State::Dirty { previous: unrecorded }
        } else if self.is_clean() {
            State::Clean
        } else {
            State::Tracked
        };
        Self::new(next, state)
    }

    /// DIRTY to TRACKED: every connection that still lives has been recorded.
    #[must_use]
    pub const fn track(self) -> Self {
        match self.state() {
            State::Dirty { .. } => Self::new(self.current(), State::Tracked),
            State::Clean | State::Tracked => self,
        }
    }

    /// TRACKED to CLEAN: no exception is left and all the slot's entries have been removed.
    #[must_use]
    pub const fn settle(self) -> Self {
        match self.state() {
            State::Tracked => Self::new(self.current(), State::Clean),
            State::Clean | State::Dirty { .. } => self,
        }
    }
}

/// What a table holds of a connection, or that it holds nothing. One word: of an `Option`'s payload the compiler would leave
/// a part unwritten where there is none, and Linux 5.10's verifier refuses to see that copied ("invalid read from stack").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u32);

impl Entry {
    /// The table holds nothing.
    pub const NONE: Self = Self(0);
    const THERE: u32 = 1 << 17;
    const LIVE: u32 = 1 << 16;

    /// Where it belongs; `live`: seen within `idle_timeout`, not closed, not recorded by a FIN, backend alive: a SYN belongs
    /// to it.
    #[inline(always)]
    pub const fn new(backend: BackendId, live: bool) -> Self {
        Self(Self::THERE | (live as u32) << 16 | backend.0 as u32)
    }

    /// There is one.
    #[inline(always)]
    pub const fn is_there(self) -> bool {
        self.0 & Self::THERE != 0
    }

    /// There is one, and a SYN belongs to it.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 & Self::LIVE != 0
    }

    /// Where it belongs.
    #[inline(always)]
    pub const fn backend(self) -> BackendId {
        BackendId(self.0 as u16)
    }
}

/// Where a client's packet goes, and what is to be noted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The backend; none when the slot has none.
    pub backend: BackendId,
    /// What the tables must learn.
    pub note: Note,
}

/// What the tables must learn from a client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    Nothing,
    /// The flow table's entry was seen now.
    TouchFlow,
    /// The flow table's entry begins anew: what it has seen of FINs may be an older connection's.
    RenewFlow,
    /// The embryonic table's entry was seen now.
    TouchEmbryonic,
    /// The embryonic entry has become a connection: move it to the flow table.
    Promote,
    /// Forget the 4-tuple in both tables.
    Forget,
    /// Forget the 4-tuple in both tables, then record it as embryonic with the placement's backend.
    ForgetAndRecord,
    /// Not recorded: it belongs to `previous` (DIRTY) and will be recorded when that backend answers. With FIN it is
    /// recorded as embryonic: what follows may be the client's next connection.
    Miss,
}

/// Places a packet of a slot that is not CLEAN. `opens`: SYN without ACK. (A CLEAN slot's packets all go to
/// `current`.)
#[inline(always)]
pub fn place(slot: Slot, opens: bool, flow: Entry, embryonic: Entry) -> Placement {
    if opens {
        return place_opening(slot, flow, embryonic);
    }
    if flow.is_there() {
        return Placement { backend: flow.backend(), note: Note::TouchFlow };
    }
    if embryonic.is_there() {
        return Placement { backend: embryonic.backend(), note: Note::Promote };
    }
    match slot.state() {
        State::Dirty { previous } => Placement { backend: previous, note: Note::Miss },
        State::Clean | State::Tracked => Placement { backend: slot.current(), note: Note::Nothing },
    }
}

#[inline(always)]
fn place_opening(slot: Slot, flow: Entry, embryonic: Entry) -> Placement {
    if flow.is_live() {
        return Placement { backend: flow.backend(), note: Note::RenewFlow };
    }
    if embryonic.is_live() {
        return Placement { backend: embryonic.backend(), note: Note::TouchEmbryonic };
    }
    let backend = slot.current();
    let note = match slot.state() {
        State::Dirty { .. } if !backend.is_none() => Note::ForgetAndRecord,
        _ if flow.is_there() || embryonic.is_there() => Note::Forget,
        _ => Note::Nothing,
    };
    Placement { backend, note }
}

/// What the tables must learn from a backend's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// The flow table's entry was seen now.
    Touch,
    /// An unrecorded connection of `previous` lives: record it.
    Record,
    /// The backend has reset the connection: forget it, or strangers who guess would fill the table.
    ForgetFlow,
    /// The backend refused an embryonic connection: forget it.
    ForgetEmbryonic,
}

/// Notes the answer of `backend` for a slot that is not CLEAN. A reset, and the answer to a SYN, record
/// nothing: neither shows that the client has a connection.
#[inline(always)]
pub fn answer(slot: Slot, backend: BackendId, flags: TcpFlags, flow: Entry) -> Answer {
    if flow.is_there() {
        return match flow.backend() == backend {
            true if flags.rst() => Answer::ForgetFlow,
            true => Answer::Touch,
            false => Answer::Nothing,
        };
    }
    if flags.rst() {
        return Answer::ForgetEmbryonic;
    }
    match slot.state() {
        State::Dirty { previous } if previous == backend && !flags.syn() => Answer::Record,
        _ => Answer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BackendId = BackendId(1);
    const B: BackendId = BackendId(2);
    const C: BackendId = BackendId(3);

    fn dirty(current: BackendId, previous: BackendId) -> Slot {
        Slot::new(current, State::Dirty { previous })
    }

    #[test]
    fn a_word_holds_every_state() {
        for state in [State::Clean, State::Tracked, State::Dirty { previous: BackendId(BackendId::MAX) }] {
            let slot = Slot::new(B, state);
            assert_eq!((slot.current(), slot.state()), (B, state));
        }
        assert_eq!(BackendId::new(0xffff), BackendId::NONE);
    }

    #[test]
    fn shifts_keep_the_first_previous() {
        let all = |_| true;
        let first = Slot::clean(A).shift(B, all);
        assert_eq!(first, dirty(B, A));
        assert_eq!(first.shift(C, all), dirty(C, A));
        assert_eq!(first.shift(A, all), Slot::new(A, State::Tracked), "back home: misses belong to current");
        assert_eq!(first.track().shift(C, all), dirty(C, B));
        assert_eq!(Slot::clean(A).shift(A, all), Slot::clean(A));
    }

    #[test]
    fn a_dead_backend_is_not_waited_for() {
        let not_a = |backend| backend != A;
        assert_eq!(Slot::clean(A).shift(B, not_a), Slot::clean(B));
        assert_eq!(dirty(B, A).shift(C, not_a), Slot::new(C, State::Tracked), "those of B are recorded");
        assert_eq!(Slot::clean(BackendId::NONE).shift(B, not_a), Slot::clean(B));
    }

    #[test]
    fn a_syn_follows_a_live_entry_only() {
        let live = Entry::new(C, true);
        let stale = Entry::new(C, false);
        let slot = dirty(B, A);
        assert_eq!(place(slot, true, live, Entry::NONE), Placement { backend: C, note: Note::RenewFlow });
        assert_eq!(
            place(slot, true, Entry::NONE, live),
            Placement { backend: C, note: Note::TouchEmbryonic }
        );
        assert_eq!(
            place(slot, true, stale, Entry::NONE),
            Placement { backend: B, note: Note::ForgetAndRecord }
        );
        assert_eq!(
            place(slot.track(), true, stale, Entry::NONE),
            Placement { backend: B, note: Note::Forget }
        );
        assert_eq!(
            place(slot.track(), true, Entry::NONE, Entry::NONE),
            Placement { backend: B, note: Note::Nothing }
        );
    }

    #[test]
    fn data_follows_the_tables_then_the_state() {
        let entry = Entry::new(C, false);
        let slot = dirty(B, A);
        assert_eq!(place(slot, false, entry, Entry::NONE).backend, C);
        assert_eq!(place(slot, false, Entry::NONE, entry), Placement { backend: C, note: Note::Promote });
        assert_eq!(place(slot, false, Entry::NONE, Entry::NONE), Placement { backend: A, note: Note::Miss });
        assert_eq!(
            place(slot.track(), false, Entry::NONE, Entry::NONE),
            Placement { backend: B, note: Note::Nothing }
        );
    }

    #[test]
    fn only_an_answer_of_previous_records() {
        let (ack, syn_ack, rst) =
            (TcpFlags::from_byte(0x10), TcpFlags::from_byte(0x12), TcpFlags::from_byte(0x14));
        let slot = dirty(B, A);
        assert_eq!(answer(slot, A, ack, Entry::NONE), Answer::Record);
        assert_eq!(answer(slot, A, syn_ack, Entry::NONE), Answer::Nothing);
        assert_eq!(answer(slot, A, rst, Entry::NONE), Answer::ForgetEmbryonic);
        assert_eq!(answer(slot, B, ack, Entry::NONE), Answer::Nothing);
        assert_eq!(answer(slot.track(), A, ack, Entry::NONE), Answer::Nothing);
        assert_eq!(answer(slot, A, ack, Entry::new(A, true)), Answer::Touch);
        assert_eq!(answer(slot, A, ack, Entry::new(C, true)), Answer::Nothing);
        assert_eq!(answer(slot, A, rst, Entry::new(A, true)), Answer::ForgetFlow);
        assert_eq!(answer(slot, A, rst, Entry::new(C, true)), Answer::Nothing);
    }
}
