//! One technician does another's shifts of one date: done by both or by neither.
//!
//! The giver owns the swap. It offers its shifts; the taker puts them into its roster, or says why not; the
//! giver takes them out of its own and says that it counts. Where the answer comes too late, or the giver
//! has another roster by then, the giver says that it does not count, and the taker puts its roster back as
//! it was. In between both have the shifts, so that nobody is missing.
//!
//! **Invariants:** a swap that is answered is settled; the same word again changes nothing; what a swap
//! changes are overrides of one date. **Not here:** what a swap is (`fieldmesh_calendar::roster`).

use fieldmesh_calendar::{
    civil::Date,
    interval::{DAY_MS, UnixMs},
    roster::{self, Override, Roster},
    shift::Shift,
};
use minicbor::{Decode, Encode};

use super::{
    Command, Event, Technician,
    life::{Step, Word},
    roster::check,
};
use crate::{
    Command as AnyCommand, Ctx, Effect, EntityId, EntityKind, Rejection, RejectionCode,
    time::Millis,
};

/// An answer comes at once, or as soon as the other's shard has a leader; later than this nobody waits.
const OFFER_LIFE_S: u64 = 600;
/// Shifts that are offered to others at a time: a week's and one.
const GIVING_MAX: usize = 8;
/// Shifts of others that are not settled: of two who each give a week.
const TAKING_MAX: usize = 16;
/// Swaps that are over and shown: the last weeks'.
const ENDED_KEPT: usize = 16;

/// What is given away to whom.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Given {
    /// Names the swap; the same one again is the same swap.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub swap: [u8; 16],
    /// On which the shifts start.
    #[n(1)]
    pub date: Date,
    #[n(2)]
    pub to: EntityId,
    /// The operator.
    #[n(3)]
    pub by: String,
}

/// What is taken over from whom.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Lent {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub swap: [u8; 16],
    #[n(1)]
    pub date: Date,
    #[n(2)]
    pub from: EntityId,
    /// Each with the zone that it is meant in.
    #[n(3)]
    pub shifts: Vec<Shift>,
}

/// How a swap ended for the giver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ended {
    #[n(0)]
    Done,
    #[n(1)]
    Refused(#[n(0)] String),
    /// Nobody answered in time.
    #[n(2)]
    Lapsed,
    /// It got another roster meanwhile.
    #[n(3)]
    Dropped,
}

/// An offer that is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Giving {
    #[n(0)]
    pub given: Given,
    #[n(1)]
    pub due: Millis,
}

/// Shifts that are another's until it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Taking {
    #[n(0)]
    pub lent: Lent,
    /// What the roster had for the date.
    #[n(1)]
    pub before: Option<Override>,
}

/// A technician's swaps, each list oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Swaps {
    #[n(0)]
    pub giving: Vec<Giving>,
    #[n(1)]
    pub taking: Vec<Taking>,
    #[n(2)]
    pub ended: Vec<(Given, Ended)>,
}

fn not_now<T>(text: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Rejection> {
    Rejection::new(RejectionCode::NotNow, text)
}

impl Technician {
    pub(super) fn give(&self, given: &Given, ctx: &Ctx) -> Result<Vec<Event>, Rejection> {
        let swaps = self.swaps.as_ref();
        let is_known = swaps.is_some_and(|swaps| {
            swaps.giving.iter().any(|giving| giving.given.swap == given.swap)
                || swaps.ended.iter().any(|(ended, _)| ended.swap == given.swap)
        });
        if is_known {
            return Ok(vec![]);
        }
        let to = given.to;
        let is_other = to.kind() == EntityKind::Technician && to != ctx.id;
        if !is_other || to.region() != ctx.id.region() {
            let text = "shifts are given to another technician of the same region";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        let Some(known) = &self.rostered else {
            return not_now("the technician has no roster, so it has no shifts to give");
        };
        if self.is_unsettled(given.date) {
            return not_now(format!(
                "another swap of {} is under way; try again once it is over",
                given.date
            ));
        }
        if swaps.is_some_and(|swaps| swaps.giving.len() >= GIVING_MAX) {
            let text = "the technician offers 8 dates already; wait until they are answered";
            return Rejection::new(RejectionCode::Limit, text);
        }
        lendable(&known.roster, given.date).or_else(not_now)?;
        let due = self.present(ctx.now).after_s(OFFER_LIFE_S);
        let offered = Step::ShiftOffered { given: given.clone(), due }.into();
        let at = self.present(ctx.now);
        let first = self.swaps_due(at).map_or(due, |other| other.min(due));
        let looked = self.look(&known.roster, known.by_hand, at, Some(first));
        Ok([offered].into_iter().chain(looked).collect())
    }

    /// A swap of that date waits for an answer.
    fn is_unsettled(&self, date: Date) -> bool {
        self.swaps.as_ref().is_some_and(|swaps| {
            swaps.giving.iter().any(|giving| giving.given.date == date)
                || swaps.taking.iter().any(|taking| taking.lent.date == date)
        })
    }

    pub(super) fn take(&self, lent: &Lent, ctx: &Ctx) -> Vec<Event> {
        let taking = self.swaps.iter().flat_map(|swaps| &swaps.taking);
        if taking.clone().any(|taking| taking.lent.swap == lent.swap) {
            return vec![];
        }
        let refused = |why: String| vec![Step::ShiftRefused { lent: lent.clone(), why }.into()];
        let Some(known) = &self.rostered else {
            return refused("the taker has no roster; set one first".into());
        };
        if self.is_unsettled(lent.date) {
            return refused(format!("the taker swaps {} with somebody already", lent.date));
        }
        if taking.count() >= TAKING_MAX {
            return refused("16 of the taker's swaps are not settled; wait until they are".into());
        }
        let taken = match self.with_taken(&known.roster, lent) {
            Ok(taken) => taken,
            Err(why) => return refused(why),
        };
        let mut roster = known.roster.clone();
        roster.overrides.insert(lent.date, taken.clone());
        if let Err(rejection) = check(&roster) {
            return refused(format!(
                "with the swap the taker's roster would be faulty: {rejection}"
            ));
        }
        let mut events = vec![Step::ShiftTaken { lent: lent.clone(), taken }.into()];
        let at = self.present(ctx.now);
        events.extend(self.look(&roster, known.by_hand, at, self.swaps_due(at)));
        events
    }

    /// What the roster has for the date with another's shifts, or why it cannot.
    fn with_taken(&self, own: &Roster, lent: &Lent) -> Result<Override, String> {
        let mut giver = Roster::new(own.zone.clone());
        giver.overrides.insert(lent.date, Override::Shifts(lent.shifts.clone()));
        let giver = giver.schedule().map_err(|faults| format!("the shifts: {faults}"))?;
        let taker = own.schedule().map_err(|faults| format!("the taker's roster: {faults}"))?;
        let swap = roster::swap(lent.date, &giver, &taker).map_err(|error| error.to_string())?;
        let midnight = u64::from(lent.date.days()) * DAY_MS;
        let (start, end) = (midnight.saturating_sub(3 * DAY_MS), midnight + 3 * DAY_MS);
        let worked = giver.intervals(UnixMs(start), UnixMs(end)).unwrap_or_default();
        let last = worked.last().map_or(Millis(midnight), |last| Millis(last.end.0));
        let missing = lent.shifts.iter().filter_map(|shift| shift.skill).find(|category| {
            let has = |skill: &super::Skill| skill.category == *category && skill.counts_at(last);
            !self.skills.iter().any(has)
        });
        match missing {
            Some(category) => Err(format!(
                "the taker lacks skill {category} at the end of the shift, which needs it"
            )),
            None => Ok(swap.taker),
        }
    }

    /// The taker's answer.
    pub(super) fn shift_answered(
        &self,
        swap: [u8; 16],
        by: EntityId,
        refused: Option<&str>,
        ctx: &Ctx,
    ) -> Vec<Event> {
        let giving = self.swaps.iter().flat_map(|swaps| &swaps.giving);
        let offer =
            giving.clone().find(|giving| giving.given.swap == swap && giving.given.to == by);
        let ended = |ended| Step::SwapEnded { swap, ended }.into();
        match (offer, refused, &self.rostered) {
            (Some(_), Some(why), _) => vec![ended(Ended::Refused(why.to_owned()))],
            (Some(offer), None, Some(known)) => {
                let mut roster = known.roster.clone();
                roster.overrides.insert(offer.given.date, Override::Off);
                let rest = giving.filter(|giving| giving.given.swap != swap);
                let at = self.present(ctx.now);
                let due = rest.map(|giving| giving.due).filter(|due| *due > at).min();
                let looked = self.look(&roster, known.by_hand, at, due);
                [ended(Ended::Done)].into_iter().chain(looked).collect()
            }
            (None, None, _) if self.was_done(swap) => vec![],
            (_, None, _) => vec![Step::LateSwapRefused { swap, by }.into()],
            (None, Some(_), _) => vec![],
        }
    }

    fn was_done(&self, swap: [u8; 16]) -> bool {
        let mut ended = self.swaps.iter().flat_map(|swaps| &swaps.ended);
        ended.any(|(given, ended)| given.swap == swap && *ended == Ended::Done)
    }

    /// The giver's last word.
    pub(super) fn shift_settled(&self, swap: [u8; 16], is_done: bool, ctx: &Ctx) -> Vec<Event> {
        let mut taking = self.swaps.iter().flat_map(|swaps| &swaps.taking);
        let Some(taking) = taking.find(|taking| taking.lent.swap == swap) else {
            return vec![];
        };
        let mut events = vec![Step::ShiftSettled { swap, is_done }.into()];
        if let (false, Some(known)) = (is_done, &self.rostered) {
            let mut roster = known.roster.clone();
            put_back(&mut roster, taking);
            let at = self.present(ctx.now);
            events.extend(self.look(&roster, known.by_hand, at, self.swaps_due(at)));
        }
        events
    }

    /// When an offer lapses next.
    pub(super) fn swaps_due(&self, after: Millis) -> Option<Millis> {
        let giving = self.swaps.iter().flat_map(|swaps| &swaps.giving);
        giving.map(|giving| giving.due).filter(|due| *due > after).min()
    }

    pub(super) fn lapse_swaps(&self, at: Millis) -> Vec<Event> {
        self.end_giving(Ended::Lapsed, |giving| giving.due <= at)
    }

    /// Another roster: what was offered is not in it, what was taken is the operator's word from now on.
    pub(super) fn drop_swaps(&self) -> Vec<Event> {
        self.end_giving(Ended::Dropped, |_| true)
    }

    fn end_giving(&self, why: Ended, ends: impl Fn(&Giving) -> bool) -> Vec<Event> {
        let giving = self.swaps.iter().flat_map(|swaps| &swaps.giving);
        let ended = giving.filter(|giving| ends(giving));
        ended
            .map(|giving| Step::SwapEnded { swap: giving.given.swap, ended: why.clone() }.into())
            .collect()
    }

    pub(super) fn shift_offered(&mut self, given: &Given, due: Millis) {
        let swaps = self.swaps.get_or_insert_default();
        swaps.giving.push(Giving { given: given.clone(), due });
    }

    pub(super) fn swap_ended(&mut self, swap: [u8; 16], ended: &Ended) {
        let Some(swaps) = &mut self.swaps else { return };
        let Some(at) = swaps.giving.iter().position(|giving| giving.given.swap == swap) else {
            return;
        };
        let Giving { given, .. } = swaps.giving.remove(at);
        if let (Ended::Done, Some(known)) = (ended, &mut self.rostered) {
            known.roster.overrides.insert(given.date, Override::Off);
        }
        if swaps.ended.len() >= ENDED_KEPT {
            swaps.ended.remove(0);
        }
        swaps.ended.push((given, ended.clone()));
    }

    pub(super) fn shift_taken(&mut self, lent: &Lent, taken: &Override) {
        let Some(known) = &mut self.rostered else { return };
        let before = known.roster.overrides.insert(lent.date, taken.clone());
        let swaps = self.swaps.get_or_insert_default();
        swaps.taking.push(Taking { lent: lent.clone(), before });
    }

    pub(super) fn settled(&mut self, swap: [u8; 16], is_done: bool) {
        let Some(swaps) = &mut self.swaps else { return };
        let Some(at) = swaps.taking.iter().position(|taking| taking.lent.swap == swap) else {
            return;
        };
        let taking = swaps.taking.remove(at);
        if let (false, Some(known)) = (is_done, &mut self.rostered) {
            put_back(&mut known.roster, &taking);
        }
    }

    /// Nothing that was taken is put back into another roster.
    pub(super) fn forget_taken(&mut self) {
        if let Some(swaps) = &mut self.swaps {
            swaps.taking.clear();
        }
    }

    pub(super) fn offer_shift(&self, id: EntityId, given: &Given) -> Option<Effect> {
        let shifts = lendable(&self.rostered.as_ref()?.roster, given.date).ok()?;
        let Given { swap, date, to, .. } = *given;
        let lent = Lent { swap, date, from: id, shifts };
        Some(tell(to, Word::TakeShift(lent)))
    }

    /// What the taker hears of the end of a swap; one that refused or did not answer hears nothing.
    pub(super) fn settle_ended(&self, swap: [u8; 16], ended: &Ended) -> Option<Effect> {
        let (Some(swaps), Ended::Done) = (&self.swaps, ended) else { return None };
        let (given, _) = swaps.ended.iter().find(|(given, _)| given.swap == swap)?;
        Some(settle(swap, given.to, true))
    }
}

fn put_back(roster: &mut Roster, taking: &Taking) {
    match &taking.before {
        Some(before) => roster.overrides.insert(taking.lent.date, before.clone()),
        None => roster.overrides.remove(&taking.lent.date),
    };
}

/// The shifts of a date, with their zones, as another can take them over.
fn lendable(own: &Roster, date: Date) -> Result<Vec<Shift>, String> {
    let nobody = Roster::new(own.zone.clone());
    let giver = own.schedule().map_err(|faults| faults.to_string())?;
    let taker = nobody.schedule().map_err(|faults| faults.to_string())?;
    let swap = roster::swap(date, &giver, &taker).map_err(|error| error.to_string())?;
    match swap.taker {
        Override::Shifts(shifts) => Ok(shifts),
        Override::Off => Ok(vec![]),
    }
}

fn tell(to: EntityId, word: Word) -> Effect {
    Effect::Tell { to, command: AnyCommand::Technician(Command::Life(word)) }
}

pub(super) fn settle(swap: [u8; 16], to: EntityId, is_done: bool) -> Effect {
    tell(to, Word::ShiftSettled { swap, is_done })
}

pub(super) fn answer(id: EntityId, lent: &Lent, refused: Option<String>) -> Effect {
    tell(lent.from, Word::ShiftAnswered { swap: lent.swap, by: id, refused })
}
