//! The plan of a region's day as advice: which technician goes to which ticket, in which order and when.
//!
//! What a technician has accepted, and what is pinned, stays with it; the rest may go to whoever the desk might
//! choose: the filters are those of `domain::selection`. A technician works until its shift or its device's
//! certificate ends, with half an hour left for the last ticket as the desk wants it, and not in its breaks. Who
//! is at work begins where that work is, once it should be done; everybody else begins at home, and is home
//! again by the end. Routes are those of `fieldmesh_dispatch`, with straight ways at the desk's speed.
//!
//! A ticket is to be finished by what was promised for it. Where not all can be, what is less urgent is late,
//! and is planned all the same: a stop says whether it keeps its promise. What is more urgent is left out
//! last, and comes first where something is late; priority 1 is late from now on, promised or not.
//!
//! **Invariants:** nothing is changed: what to order is said, and whoever orders it does so as any operator
//! does; nobody gets a new ticket whom the desk would not choose, but for how much it holds by then, which
//! bounds what is to be ordered; the same input, seed and steps of the budget give the same plan. **Not here:**
//! reading tickets and technicians (`web::plan`), the search (`fieldmesh_dispatch`), breaks (`hours`), what the
//! search is told (`setting`).

mod hours;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fieldmesh_dispatch::{
    plan::{Plan, plan_day},
    problem::ProblemError,
    search::WHOLE,
};
use fieldmesh_domain::{
    EntityId,
    desk::Summary,
    selection::{Away, Exclusion, Need},
    ticket::Stage,
    time::Millis,
};

use self::setting::Setting;

/// Technicians and tickets of a plan: the ways between all of them are a table of 32 MB.
pub const PLACES_MAX: usize = 2_000;

/// A technician who is planned for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    pub id: EntityId,
    pub summary: Summary,
}

/// A ticket that somebody is to go to, or is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: EntityId,
    /// What it asks the desk for.
    pub need: Need,
    pub stage: Stage,
    pub technician: Option<EntityId>,
    pub is_pinned: bool,
}

/// What is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    pub now: Millis,
    pub hands: Vec<Hand>,
    pub jobs: Vec<Job>,
    /// How long the day is.
    pub hours: u32,
    /// How long each ticket takes on site: nothing better is known of it.
    pub service_min: u32,
}

/// A stop of a technician; seconds from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub ticket: EntityId,
    pub arrive_s: u64,
    pub end_s: u64,
    /// It is this technician's, and is not moved.
    pub is_fixed: bool,
    /// It is with this technician already.
    pub is_kept: bool,
    /// Whether it ends by what was promised; none where nothing was.
    pub is_in_window: Option<bool>,
}

/// A technician's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub technician: EntityId,
    pub legs: Vec<Leg>,
    /// From leaving until being home again, without breaks.
    pub working_s: u64,
}

/// What to order so that the plan comes true as far as technicians may hold tickets now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub ticket: EntityId,
    pub to: EntityId,
}

/// Why a ticket is in no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Work is going on there.
    AtWork,
    /// It is another's to take it away: the technician who has it is not on shift.
    NotThere,
    /// Everybody who is on shift is out of the question; how many for which reason.
    Nobody(Vec<(Exclusion, u32)>),
    /// Whoever may do it could not be there in this day.
    TooFar,
    /// Whoever could be there has other work.
    Crowded,
}

impl Left {
    pub fn name(&self) -> String {
        let text = match self {
            Self::AtWork => "work is going on there",
            Self::NotThere => "the technician who has it is not on shift",
            Self::Nobody(reasons) if reasons.is_empty() => "nobody is on shift",
            Self::Nobody(reasons) => {
                let one = |(why, count): &(Exclusion, u32)| format!("{count} × {}", why.name());
                let all: Vec<String> = reasons.iter().map(one).collect();
                return format!("nobody who is on shift may do it: {}", all.join(", "));
            }
            Self::TooFar => "whoever may do it could not be there in this day",
            Self::Crowded => "whoever could be there has other work",
        };
        text.to_owned()
    }
}

/// A plan as advice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayPlan {
    pub routes: Vec<Route>,
    pub left: Vec<(EntityId, Left)>,
    pub moves: Vec<Move>,
    /// All routes together; and the first plan's, each ticket where it cost least when it was added.
    pub working_s: u64,
    pub greedy_working_s: u64,
}

impl Hand {
    fn away(&self) -> Option<Away> {
        self.summary.circumstances.as_ref()?.away
    }

    /// Its shift is under way, be it for a break.
    pub fn is_there(&self) -> bool {
        self.summary.on_shift || self.away() == Some(Away::Break)
    }
}

impl Job {
    fn is_fixed(&self) -> bool {
        self.technician.is_some() && (self.is_pinned || self.stage == Stage::Accepted)
    }

    fn is_at_work(&self) -> bool {
        matches!(self.stage, Stage::EnRoute | Stage::OnSite | Stage::Paused)
    }
}

impl Setting<'_> {
    /// The next ones of each route that are not with their technician, as many as it may hold beside what
    /// stays with it, and none for one who cannot be asked now.
    fn moves(&self, routes: &[Route]) -> Vec<Move> {
        let mut moves = Vec::new();
        for route in routes {
            let hand = self.day.hands.iter().find(|hand| hand.id == route.technician);
            let hand = hand.filter(|hand| hand.away().is_none());
            let capacity = hand.map_or(0, |hand| usize::from(hand.summary.capacity));
            let planned: BTreeSet<EntityId> = route.legs.iter().map(|leg| leg.ticket).collect();
            let stays = |job: &&Job| {
                job.technician == Some(route.technician)
                    && (job.is_at_work() || job.is_fixed() || planned.contains(&job.id))
            };
            let held = self.day.jobs.iter().filter(stays).count();
            let next = route.legs.iter().filter(|leg| !leg.is_kept);
            let next = next.take(capacity.saturating_sub(held));
            moves.extend(next.map(|leg| Move { ticket: leg.ticket, to: route.technician }));
        }
        moves
    }

    /// As many promises as can be are kept, in the first half of the budget; in the second one those that
    /// cannot be are planned beside them.
    fn search(
        &self,
        seed: u64,
        mut used: impl FnMut() -> u32,
    ) -> Result<(Plan, Plan), ProblemError> {
        let strict = self.problem(&BTreeSet::new())?;
        let greedy = plan_day(&strict, seed, || WHOLE);
        if !self.has_promises() {
            return Ok((plan_day(&strict, seed, used), greedy));
        }
        let first = plan_day(&strict, seed, || used().saturating_mul(2).min(WHOLE));
        let unserved = first.unserved.iter().map(|one| one.request);
        let late: BTreeSet<usize> = unserved.filter(|job| self.is_promised(*job)).collect();
        if late.is_empty() {
            return Ok((first, greedy));
        }
        drop(strict);
        let loose = self.problem(&late)?;
        let rest = || used().saturating_sub(WHOLE / 2).saturating_mul(2);
        Ok((plan_day(&loose, seed, rest), greedy))
    }
}

/// Plans until the budget is used up, which `used` says in parts of `fieldmesh_dispatch::search::WHOLE`.
///
/// # Errors
/// More technicians and tickets than fit.
pub fn plan(day: &Day, seed: u64, used: impl FnMut() -> u32) -> Result<DayPlan, ProblemError> {
    let setting = Setting::new(day);
    let (plan, greedy) = setting.search(seed, used)?;
    let routes = setting.routes(&plan);
    Ok(DayPlan {
        moves: setting.moves(&routes),
        left: setting.left(&plan),
        working_s: routes.iter().map(|route| route.working_s).sum(),
        greedy_working_s: u64::try_from(greedy.working_time()).unwrap_or(0),
        routes,
    })
}
