//! A technician that works by a roster: it goes on and off shift by itself, and by hand on top of that.
//!
//! The roster is looked at when it is set, and then at each change that it has. Each look says when the next
//! one is, so that whoever leads the shard then has a timer, and decides by what the roster has at that
//! instant, not by what was before. A word by hand counts until the next shift starts or ends; a break is
//! no such change.
//!
//! **Invariants:** a technician with a roster has a timer, and none without; an instant that was looked at
//! is not looked at again, whatever a clock says later; a roster in force has no faults and fits its
//! bound. **Not here:** what is worked when (`fieldmesh_calendar`), swaps (`swap`).

use fieldmesh_calendar::{
    interval::{DAY_MS, Interval, UnixMs, merged, without},
    roster::{Override, Roster, Schedule},
};
use minicbor::{Decode, Encode};

use super::{Event, Technician, life::Step};
use crate::{
    Ctx, Effect, Rejection, RejectionCode, TimerName, encoded, selection::ShiftTime, time::Millis,
};

/// Bytes of a roster as it is stored: two years of single dates, and small beside a log entry (1 MiB).
pub const ROSTER_BYTES_MAX: usize = 32 * 1024;
/// A roster is looked at this often where nothing changes: what begins later than anybody looks ahead is
/// found, and the end of a shift that lasts for days is known to the desk in time.
const REVIEW_DAYS: u64 = 7;
/// The end of a shift is known so far ahead: longer than the time to the next look.
const AHEAD_DAYS: u64 = 8;
/// Faults of a roster that a refusal names; as many as fit a screen.
const FAULTS_SHOWN: usize = 12;

/// A roster in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rostered {
    #[n(0)]
    pub roster: Roster,
    /// The operator who set it.
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub looked_at: Millis,
    /// It is looked at again then.
    #[n(3)]
    pub due: Millis,
    /// The shift that was under way at the last look, a break of it too.
    #[n(4)]
    pub shift: Option<ShiftTime>,
    #[n(5)]
    pub by_hand: Option<ByHand>,
}

/// On or off shift by hand, on top of the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ByHand {
    /// When a shift starts or ends next; none is not as far as anybody looks ahead.
    #[n(0)]
    pub until: Option<Millis>,
}

impl ByHand {
    fn counts_at(self, at: Millis) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

/// The same roster with nobody at a break.
fn without_breaks(roster: &Roster) -> Roster {
    let mut whole = roster.clone();
    whole.rows.iter_mut().for_each(|row| row.shift.breaks.clear());
    for one in whole.overrides.values_mut() {
        if let Override::Shifts(shifts) = one {
            shifts.iter_mut().for_each(|shift| shift.breaks.clear());
        }
    }
    whole
}

/// The shift that is under way at an instant, with the breaks that are left of it.
fn shift_at(whole: &Schedule<'_>, schedule: &Schedule<'_>, at: UnixMs) -> Option<ShiftTime> {
    let horizon = at.plus(AHEAD_DAYS * DAY_MS);
    let shift = whole.intervals(at, horizon).ok()?.into_iter().next()?;
    if shift.start != at {
        return None;
    }
    let worked = schedule.intervals(at, horizon).ok()?;
    let breaks = without(&merged(vec![shift]), &worked);
    Some(ShiftTime {
        ends: (shift.end < horizon).then_some(Millis(shift.end.0)),
        breaks: breaks
            .iter()
            .map(|Interval { start, end }| (Millis(start.0), Millis(end.0)))
            .collect(),
    })
}

/// Refuses a roster that is not to be in force.
pub(super) fn check(roster: &Roster) -> Result<(), Rejection> {
    let invalid = |text: String| Rejection::new(RejectionCode::Invalid, text);
    let mut faults = roster.validate().err().map(|faults| faults.0).unwrap_or_default();
    if faults.is_empty() {
        faults = roster.overlaps();
    }
    if !faults.is_empty() {
        let shown = faults.iter().take(FAULTS_SHOWN).map(ToString::to_string);
        let mut text = shown.collect::<Vec<_>>().join("; ");
        if faults.len() > FAULTS_SHOWN {
            text = format!("{text}; and {} more", faults.len() - FAULTS_SHOWN);
        }
        return invalid(text);
    }
    let bytes = encoded(roster).len();
    if bytes > ROSTER_BYTES_MAX {
        return invalid(format!(
            "the roster takes {bytes} bytes, more than {ROSTER_BYTES_MAX}: remove dates that are past"
        ));
    }
    Ok(())
}

impl Technician {
    pub(super) fn set_roster(
        &self,
        roster: Option<&Roster>,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if self.rostered.as_ref().map(|known| &known.roster) == roster {
            return Ok(vec![]);
        }
        let Some(roster) = roster else {
            let mut events = self.drop_swaps();
            events.push(Step::RosterSet { roster: None, by: by.to_owned() }.into());
            return Ok(events);
        };
        check(roster)?;
        self.check_skills(roster, ctx.now)?;
        let mut events = self.drop_swaps();
        events.push(Step::RosterSet { roster: Some(roster.clone()), by: by.to_owned() }.into());
        events.extend(self.look(roster, None, ctx.now, None));
        Ok(events)
    }

    /// A shift that needs a skill is for whoever has it, and has it still.
    fn check_skills(&self, roster: &Roster, now: Millis) -> Result<(), Rejection> {
        let rows = roster.rows.iter().zip(1..);
        let rows = rows.map(|(row, number)| (format!("row {number}"), &row.shift));
        let dates = roster.overrides.iter().flat_map(|(date, one)| {
            let shifts: &[_] = match one {
                Override::Off => &[],
                Override::Shifts(shifts) => shifts,
            };
            shifts.iter().map(move |shift| (format!("the override of {date}"), shift))
        });
        for (place, shift) in rows.chain(dates) {
            let lacks = shift.skill.filter(|skill| !self.has_skill(*skill, now));
            if let Some(skill) = lacks {
                let text = format!(
                    "{place}: it needs skill {skill}, which the technician does not have, or no longer; \
                     give it the skill first, or leave the shift to somebody else"
                );
                return Rejection::new(RejectionCode::Invalid, text);
            }
        }
        Ok(())
    }

    fn has_skill(&self, category: u16, at: Millis) -> bool {
        self.skills.iter().any(|skill| skill.category == category && skill.counts_at(at))
    }

    /// What a roster has at an instant, and what follows from it. `due` is what else has to be looked at.
    pub(super) fn look(
        &self,
        roster: &Roster,
        by_hand: Option<ByHand>,
        at: Millis,
        due: Option<Millis>,
    ) -> Vec<Event> {
        let review = at.after_s(REVIEW_DAYS * 24 * 3600);
        let (now, whole) = (UnixMs(at.0), without_breaks(roster));
        // A database of zones that no longer knows one leaves everything as it is, until it does.
        let (Ok(schedule), Ok(whole)) = (roster.schedule(), whole.schedule()) else {
            return vec![Step::Planned { at, due: review, shift: None }.into()];
        };
        // A shift that begins with a break is under way before anybody works.
        let next = [schedule.next_change(now), whole.next_change(now)].into_iter().flatten().min();
        let next = next.map_or(review, |next| Millis(next.0));
        let due = next.min(review).min(due.unwrap_or(review));
        let is_on = schedule.is_on(now);
        let is_by_hand = by_hand.is_some_and(|by_hand| by_hand.counts_at(at));
        let change = (!is_by_hand && is_on != self.on_shift).then_some(match is_on {
            true => Event::WentOnShift,
            false => Event::WentOffShift,
        });
        let shift = shift_at(&whole, &schedule, now);
        change.into_iter().chain([Step::Planned { at, due, shift }.into()]).collect()
    }

    /// Now, or the last look where a clock was put back since.
    pub(super) fn present(&self, now: Millis) -> Millis {
        self.rostered.as_ref().map_or(now, |known| now.max(known.looked_at))
    }

    /// The timer is due. It may come before its time, where a clock was put back since: it is the time
    /// all the same.
    pub(super) fn shift_due(&self, generation: u32, now: Millis) -> Vec<Event> {
        let Some(known) = self.rostered.as_ref().filter(|_| self.looks == Some(generation)) else {
            return vec![];
        };
        let at = now.max(known.due);
        let mut events = self.lapse_swaps(at);
        events.extend(self.look(&known.roster, known.by_hand, at, self.swaps_due(at)));
        events
    }

    /// Somebody says that it goes on or off shift.
    pub(super) fn go(&self, on: bool, now: Millis) -> Vec<Event> {
        let flip = (self.on_shift != on).then_some(match on {
            true => Event::WentOnShift,
            false => Event::WentOffShift,
        });
        let Some(known) = &self.rostered else {
            return flip.into_iter().collect();
        };
        // It is off for a break already, and is not to come back after it.
        let leaves_in_break = !on && self.is_at_break();
        if flip.is_none() && !leaves_in_break {
            return vec![];
        }
        let at = UnixMs(self.present(now).0);
        let as_rostered = known.roster.schedule().is_ok_and(|schedule| schedule.is_on(at) == on);
        let whole = without_breaks(&known.roster);
        let until = whole.schedule().ok().and_then(|whole| whole.next_change(at));
        let by_hand = ByHand { until: until.map(|until| Millis(until.0)) };
        let counts = !as_rostered || leaves_in_break;
        let overrode = Step::OverrodeRoster(counts.then_some(by_hand)).into();
        flip.into_iter().chain([overrode]).collect()
    }

    /// Off shift for a break that its roster has.
    pub(super) fn is_at_break(&self) -> bool {
        let known = self.rostered.as_ref();
        !self.on_shift
            && known.is_some_and(|known| known.shift.is_some() && known.by_hand.is_none())
    }

    pub(super) fn roster_set(&mut self, roster: Option<&Roster>, by: &str) {
        self.rostered = roster.map(|roster| Rostered {
            roster: roster.clone(),
            by: by.to_owned(),
            looked_at: Millis(0),
            due: Millis(0),
            shift: None,
            by_hand: None,
        });
    }

    pub(super) fn planned(&mut self, at: Millis, due: Millis, shift: Option<&ShiftTime>) {
        let Some(known) = &mut self.rostered else { return };
        self.looks = Some(self.looks.unwrap_or_default().wrapping_add(1));
        (known.looked_at, known.due) = (at, due);
        known.shift = shift.cloned();
        known.by_hand = known.by_hand.filter(|by_hand| by_hand.counts_at(at));
    }

    pub(super) fn overrode(&mut self, by_hand: Option<ByHand>) {
        if let Some(known) = &mut self.rostered {
            known.by_hand = by_hand;
        }
    }

    /// The timer of the roster in force; none where there is none.
    pub(super) fn shift_timer(&self) -> Effect {
        let (name, generation) = (TimerName::Shift, self.looks.unwrap_or_default());
        match &self.rostered {
            Some(Rostered { due, .. }) => Effect::SetTimer { name, generation, due: *due },
            None => Effect::CancelTimer { name },
        }
    }
}
