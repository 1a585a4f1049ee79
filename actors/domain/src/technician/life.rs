//! A technician's life beside its tickets: when it works, what it can do and has, whether its device is heard.
//!
//! **Invariants:** field numbers are never used again; nothing of this is in the history of a technician
//! of which nobody said more than that it is registered and on or off shift. **Not here:** how it is
//! decided (`roster`, `swap`, `revise`), who notices that a device is silent (`node`).

use std::collections::BTreeMap;

use fieldmesh_calendar::roster::{Override, Roster};
use minicbor::{Decode, Encode};

use super::{
    Event, Skill, Technician,
    roster::ByHand,
    swap::{self, Ended, Given, Lent},
};
use crate::{
    Ctx, Effect, EntityId, Rejection, message::Location, selection::ShiftTime, time::Millis,
};

/// What is said of a technician.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Word {
    /// It works by this roster from now on; by none, it goes on and off shift by hand.
    #[n(0)]
    SetRoster {
        #[n(0)]
        roster: Option<Roster>,
        /// The operator.
        #[n(1)]
        by: String,
    },
    /// What is otherwise of what it can do and has.
    #[n(1)]
    Revise(#[n(0)] Revision),
    /// Nobody is connected with its device, and was not for long.
    #[n(2)]
    NotHeard {
        /// For as long at least.
        #[n(0)]
        since: Millis,
    },
    /// Its device is connected.
    #[n(3)]
    HeardAgain,
    /// Its device's certificate counts until then, as the authority has it.
    #[n(4)]
    Certified {
        /// Unix seconds.
        #[n(0)]
        until: u64,
    },
    /// It gives its shifts of a date to another technician.
    #[n(5)]
    GiveShift(#[n(0)] Given),
    /// From a technician that gives shifts away.
    #[n(6)]
    TakeShift(#[n(0)] Lent),
    /// From whom shifts were offered to: it has them now, or why not.
    #[n(7)]
    ShiftAnswered {
        #[cbor(n(0), with = "minicbor::bytes")]
        swap: [u8; 16],
        #[n(1)]
        by: EntityId,
        #[n(2)]
        refused: Option<String>,
    },
    /// From whom shifts were taken over from: whether that counts.
    #[n(8)]
    ShiftSettled {
        #[cbor(n(0), with = "minicbor::bytes")]
        swap: [u8; 16],
        #[n(1)]
        is_done: bool,
    },
    /// It is offered nothing until it is resumed.
    #[n(9)]
    Suspend {
        /// The operator.
        #[n(0)]
        by: String,
    },
    #[n(10)]
    Resume {
        #[n(0)]
        by: String,
    },
}

/// What is otherwise of a technician; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Revision {
    #[n(0)]
    pub skills: Option<Vec<Skill>>,
    #[n(1)]
    pub home: Option<Location>,
    #[n(2)]
    pub capacity: Option<u16>,
    /// Parts on its van by number, with how many.
    #[n(3)]
    pub stock: Option<BTreeMap<String, u16>>,
    #[n(4)]
    pub name: Option<String>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Step {
    #[n(0)]
    RosterSet {
        #[n(0)]
        roster: Option<Roster>,
        #[n(1)]
        by: String,
    },
    /// The roster was looked at.
    #[n(1)]
    Planned {
        #[n(0)]
        at: Millis,
        /// It is looked at again then.
        #[n(1)]
        due: Millis,
        /// The shift that is under way, a break of it too.
        #[n(2)]
        shift: Option<ShiftTime>,
    },
    /// It went on or off shift by hand, on top of its roster; none is as the roster has it.
    #[n(2)]
    OverrodeRoster(#[n(0)] Option<ByHand>),
    #[n(3)]
    Revised(#[n(0)] Revision),
    #[n(4)]
    WentSilent {
        #[n(0)]
        since: Millis,
    },
    #[n(5)]
    HeardAgain,
    /// Until when its device's certificate counts; none where it has another one, of which nothing was said
    /// yet.
    #[n(6)]
    Certified {
        #[n(0)]
        until: Option<u64>,
    },
    /// Another technician is asked to take over.
    #[n(7)]
    ShiftOffered {
        #[n(0)]
        given: Given,
        /// What is answered later does not count.
        #[n(1)]
        due: Millis,
    },
    /// Its part of a swap is over.
    #[n(8)]
    SwapEnded {
        #[cbor(n(0), with = "minicbor::bytes")]
        swap: [u8; 16],
        #[n(1)]
        ended: Ended,
    },
    /// It works another's shifts, if that one says so.
    #[n(9)]
    ShiftTaken {
        #[n(0)]
        lent: Lent,
        /// What its roster has for the date from now on.
        #[n(1)]
        taken: Override,
    },
    #[n(10)]
    ShiftRefused {
        #[n(0)]
        lent: Lent,
        #[n(1)]
        why: String,
    },
    /// The giver's last word: it counts, or the roster is as it was.
    #[n(11)]
    ShiftSettled {
        #[cbor(n(0), with = "minicbor::bytes")]
        swap: [u8; 16],
        #[n(1)]
        is_done: bool,
    },
    /// Somebody answers a swap that is over: it is told to undo its part.
    #[n(12)]
    LateSwapRefused {
        #[cbor(n(0), with = "minicbor::bytes")]
        swap: [u8; 16],
        #[n(1)]
        by: EntityId,
    },
    #[n(13)]
    Suspended {
        #[n(0)]
        by: String,
    },
    #[n(14)]
    Resumed {
        #[n(0)]
        by: String,
    },
}

impl From<Step> for Event {
    fn from(step: Step) -> Self {
        Self::Life(step)
    }
}

impl Technician {
    pub(super) fn decide_life(&self, word: &Word, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        match word {
            Word::SetRoster { roster, by } => self.set_roster(roster.as_ref(), by, ctx),
            Word::Revise(revision) => self.revise(revision),
            Word::NotHeard { since } => Ok(self.not_heard(*since)),
            Word::HeardAgain => Ok(self.heard()),
            Word::Certified { until } => Ok(self.certified(*until)),
            Word::GiveShift(given) => self.give(given, ctx),
            Word::TakeShift(lent) => Ok(self.take(lent, ctx)),
            Word::ShiftAnswered { swap, by, refused } => {
                Ok(self.shift_answered(*swap, *by, refused.as_deref(), ctx))
            }
            Word::ShiftSettled { swap, is_done } => Ok(self.shift_settled(*swap, *is_done, ctx)),
            Word::Suspend { by } => Ok(self.suspend(by, ctx.now)),
            Word::Resume { by } => Ok(self.resume(by)),
        }
    }

    pub(super) fn evolve_life(&mut self, step: &Step) {
        match step {
            Step::RosterSet { roster, by } => {
                self.forget_taken();
                self.roster_set(roster.as_ref(), by);
            }
            Step::Planned { at, due, shift } => self.planned(*at, *due, shift.as_ref()),
            Step::OverrodeRoster(by_hand) => self.overrode(*by_hand),
            Step::Revised(revision) => self.revised(revision),
            Step::WentSilent { since } => self.silent_since = Some(*since),
            Step::HeardAgain => self.silent_since = None,
            Step::Certified { until } => self.certified_until = *until,
            Step::ShiftOffered { given, due } => self.shift_offered(given, *due),
            Step::SwapEnded { swap, ended } => self.swap_ended(*swap, ended),
            Step::ShiftTaken { lent, taken } => self.shift_taken(lent, taken),
            Step::ShiftSettled { swap, is_done } => self.settled(*swap, *is_done),
            Step::Suspended { .. } => self.suspended = true,
            Step::Resumed { .. } => self.suspended = false,
            Step::ShiftRefused { .. } | Step::LateSwapRefused { .. } => {}
        }
    }

    pub(super) fn react_life(&self, step: &Step, id: EntityId) -> Vec<Effect> {
        match step {
            Step::OverrodeRoster(_)
            | Step::Revised(_)
            | Step::WentSilent { .. }
            | Step::HeardAgain
            | Step::Suspended { .. }
            | Step::Resumed { .. } => vec![self.tell_desk(id), self.index(id)],
            Step::Certified { .. } => vec![self.tell_desk(id)],
            Step::RosterSet { roster: None, .. } | Step::Planned { .. } => {
                vec![self.shift_timer(), self.tell_desk(id), self.index(id)]
            }
            Step::ShiftOffered { given, .. } => self.offer_shift(id, given).into_iter().collect(),
            Step::SwapEnded { swap, ended } => {
                self.settle_ended(*swap, ended).into_iter().collect()
            }
            Step::ShiftTaken { lent, .. } => vec![swap::answer(id, lent, None)],
            Step::ShiftRefused { lent, why } => vec![swap::answer(id, lent, Some(why.clone()))],
            Step::LateSwapRefused { swap, by } => vec![swap::settle(*swap, *by, false)],
            // What it has now is said by the look that follows.
            Step::RosterSet { roster: Some(_), .. } | Step::ShiftSettled { .. } => vec![],
        }
    }
}
