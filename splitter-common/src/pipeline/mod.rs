//! The stages put together: one frame in, one verdict out.
//!
//! [`usual`] takes frames as nearly all of them are, of services in the modes that need no more than a rewrite; for
//! such a service in its steady state (all slots CLEAN) nothing there needs more than array look-ups. Whatever is out
//! of the ordinary it hands on, untouched and uncounted: to [`sort`] what must be looked at first, else straight to the
//! stage that takes it. In the kernel each stage is a program of its own for each family, so that none pays for another's
//! code, registers and stack.
//!
//! Each reads the generation once, and decides by what it has read alone.

mod choose;
mod deliver;
mod directory;
mod exceptions;
mod hop;
mod icmp;
mod room;
mod unusual;
mod usual;

pub use self::{
    icmp::{icmp, icmp_in, icmp_out},
    room::Room,
    unusual::{
        fragments::later,
        reply::outbound,
        request::inbound,
        snat::{release, translated_in, translated_out},
        sort,
    },
    usual::usual,
};
use crate::{
    complaint::{self, Complain},
    icmp::Icmp,
    packet::Resize,
    parse::{self, Carries, Family, V4, V6},
    reset,
    tables::Tables,
};

/// What becomes of a frame, as one word: an enum with a payload would leave a register unset where there is none,
/// and the verifier refuses to see that copied ("R1 !read_ok").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u32);

/// What becomes of a frame, to be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the kernel's network stack.
    Pass,
    /// Gone.
    Drop,
    /// Back to who sent it.
    Return,
    /// Back to who sent it, as this answer.
    Answer(Answer),
    /// Out on the link of this interface; the one it came in on, or another.
    Send(u32),
    /// On to the later stage of this number.
    HandOn(u32),
}

/// What a packet that cannot be delivered is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(u32);

impl Answer {
    /// A TCP reset.
    pub const RESET: Self = Self(0);
    /// ICMP port unreachable.
    pub const UNREACHABLE: Self = Self(1 << 16);

    const TOO_BIG: u32 = 2 << 16;

    /// ICMP "fragmentation needed" or "packet too big": at most `mtu` bytes go through.
    #[inline(always)]
    pub const fn too_big(mtu: u16) -> Self {
        Self(Self::TOO_BIG | mtu as u32)
    }
}

/// A stage that frames are handed on to, of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// [`sort`].
    Sort = 0,
    /// [`inbound`].
    Inbound = 1,
    /// [`outbound`].
    Outbound = 2,
    /// [`later`].
    Later = 3,
    /// [`translated_in`].
    TranslatedIn = 4,
    /// [`translated_out`].
    TranslatedOut = 5,
    /// [`icmp`].
    Icmp = 6,
    /// [`icmp_in`].
    IcmpIn = 7,
    /// [`icmp_out`].
    IcmpOut = 8,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Sort,
        Self::Inbound,
        Self::Outbound,
        Self::Later,
        Self::TranslatedIn,
        Self::TranslatedOut,
        Self::Icmp,
        Self::IcmpIn,
        Self::IcmpOut,
    ];

    /// How many programs they are: one for each family.
    pub const PROGRAMS: usize = 2 * Self::ALL.len();

    /// Place of its program among the programs.
    #[inline(always)]
    pub const fn program<F: Family>(self) -> u32 {
        self as u32 * 2 + F::INDEX
    }
}

impl Verdict {
    /// To the kernel's network stack. (No interface has number 0.)
    pub const PASS: Self = Self(0);
    /// Gone. (Interface numbers are positive `int`s.)
    pub const DROP: Self = Self(u32::MAX);
    /// Back to who sent it.
    pub const RETURN: Self = Self(u32::MAX - 1);
    /// The first of those that hand on.
    const HAND_ON: u32 = u32::MAX - 64;

    /// On to a later stage.
    #[inline(always)]
    pub const fn hand_on<F: Family>(stage: Stage) -> Self {
        Self(Self::HAND_ON + stage.program::<F>())
    }

    /// Marks answers. (Interface numbers are positive `int`s.)
    const ANSWER: u32 = 0xa000_0000;

    /// Back to who sent it, as an answer. What builds it is called when the packet's own way has ended: the two need not
    /// share a stack.
    #[inline(always)]
    pub const fn answer(answer: Answer) -> Self {
        Self(Self::ANSWER | answer.0)
    }

    /// Out on the link of an interface.
    #[inline(always)]
    pub const fn send(interface: u32) -> Self {
        Self(interface)
    }

    /// The same, to be matched.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self {
            Self::PASS => Action::Pass,
            Self::DROP => Action::Drop,
            Self::RETURN => Action::Return,
            Self(word) if word >= Self::HAND_ON => Action::HandOn(word - Self::HAND_ON),
            Self(word) if word >= Self::ANSWER => Action::Answer(Answer(word - Self::ANSWER)),
            Self(interface) => Action::Send(interface),
        }
    }
}

/// Turns the packet, which is whole or a first fragment, into the answer to it.
#[inline(always)]
pub fn answer<F: Complain, P: Resize + ?Sized>(packet: &mut P, answer: Answer) -> Option<()> {
    let (_, at) = parse::link(packet);
    let network = F::network(packet, at).ok()?;
    match answer {
        Answer::RESET => {
            let headers = parse::transport::<F, P>(packet, network).ok()?;
            reset::answer::<F, P>(packet, &headers)
        }
        Answer::UNREACHABLE => complaint::answer::<F, P>(packet, &network, &F::UNREACHABLE),
        Answer(word) => complaint::answer::<F, P>(packet, &network, &F::too_big((word & 0xffff) as usize)),
    }
}

/// One frame through all stages, as the kernel's programs take it.
pub fn process<P: Resize + ?Sized, T: Tables>(packet: &mut P, tables: &T) -> Action {
    let verdict = usual(packet, tables);
    follow(packet, tables, verdict)
}

/// The rest of a frame's way after a verdict.
pub fn follow<P: Resize + ?Sized, T: Tables>(packet: &mut P, tables: &T, verdict: Verdict) -> Action {
    let action = verdict.action();
    if let Action::Answer(answer) = action {
        let done = match parse::link(packet) {
            (Carries::V6, _) => self::answer::<V6, P>(packet, answer),
            _ => self::answer::<V4, P>(packet, answer),
        };
        return if done.is_some() { Action::Return } else { Action::Drop };
    }
    let Action::HandOn(number) = action else { return action };
    let stage = Stage::ALL[number as usize / 2];
    let verdict = match number as usize % 2 {
        0 => go::<V4, P, T>(packet, tables, stage),
        _ => go::<V6, P, T>(packet, tables, stage),
    };
    follow(packet, tables, verdict)
}

/// Each stage a function of its own on the host too: all in one would take the compiler minutes.
#[inline(never)]
fn apart(stage: impl FnOnce() -> Verdict) -> Verdict {
    stage()
}

fn go<F: Icmp, P: Resize + ?Sized, T: Tables>(packet: &mut P, tables: &T, stage: Stage) -> Verdict {
    let room = &mut Room::<F>::new();
    match stage {
        Stage::Sort => apart(|| sort::<F, P, T>(packet, tables, room)),
        Stage::Inbound => apart(|| inbound::<F, P, T>(packet, tables, room)),
        Stage::Outbound => apart(|| outbound::<F, P, T>(packet, tables, room)),
        Stage::Later => apart(|| later::<F, P, T>(packet, tables, room)),
        Stage::TranslatedIn => apart(|| translated_in::<F, P, T>(packet, tables, room)),
        Stage::TranslatedOut => apart(|| translated_out::<F, P, T>(packet, tables, room)),
        Stage::Icmp => apart(|| icmp::<F, P, T>(packet, tables, room)),
        Stage::IcmpIn => apart(|| icmp_in::<F, P, T>(packet, tables, room)),
        Stage::IcmpOut => apart(|| icmp_out::<F, P, T>(packet, tables, room)),
    }
}
