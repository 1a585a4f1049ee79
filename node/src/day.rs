//! The plan of a region's day as advice: which technician goes to which ticket, in which order and when.
//!
//! What a technician has accepted, and what is pinned, stays with it; the rest may go to anybody who has the
//! skill. Who is at work begins where that work is, once it should be done; everybody else begins at home.
//! Routes are those of `fieldmesh_dispatch`, with straight ways at the desk's speed.
//!
//! **Invariants:** nothing is changed: what to order is said, and whoever orders it does so as any operator
//! does; the same input, seed and steps of the budget give the same plan. **Not here:** reading tickets and
//! technicians (`web::plan`), the search (`fieldmesh_dispatch`).

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_dispatch::{
    plan::{Plan, Reason, Stop, Tour, plan_day},
    problem::{Depot, Kinds, Place, Problem, ProblemError, Request, Technician, Ticks, Window},
};
use fieldmesh_domain::{
    EntityId, desk::Summary, message::Location, selection::travel_s, ticket::Stage,
};

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
    pub category: u16,
    pub location: Location,
    pub stage: Stage,
    pub technician: Option<EntityId>,
    pub is_pinned: bool,
}

/// What is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
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
}

/// A technician's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub technician: EntityId,
    pub legs: Vec<Leg>,
    /// From leaving until being home again.
    pub working_s: u64,
}

/// What to order so that the plan comes true as far as technicians may hold tickets now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub ticket: EntityId,
    pub to: EntityId,
}

/// Why a ticket is in no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Work is going on there.
    AtWork,
    /// Nobody who is on shift has the skill, or may do it.
    Nobody,
    /// Whoever may do it could not be there in this day.
    TooFar,
    /// Whoever could be there has other work.
    Crowded,
}

impl Left {
    pub fn name(self) -> &'static str {
        match self {
            Self::AtWork => "work is going on there",
            Self::Nobody => "nobody who is on shift may do it",
            Self::TooFar => "whoever may do it could not be there in this day",
            Self::Crowded => "whoever could be there has other work",
        }
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

/// A day with what follows from it.
struct Setting<'a> {
    day: &'a Day,
    hands: Vec<&'a Hand>,
    /// Where each begins and when, where that is not at home now.
    at: BTreeMap<EntityId, (Location, Ticks)>,
    /// Those that are to be planned.
    jobs: Vec<&'a Job>,
}

/// The place that stands for no depot: nothing is fetched there.
const NO_DEPOT: Depot = Depot { window: Window { open: 0, close: 0 }, service: 0 };

impl Job {
    fn is_fixed(&self) -> bool {
        self.technician.is_some() && (self.is_pinned || self.stage == Stage::Accepted)
    }

    fn is_at_work(&self) -> bool {
        matches!(self.stage, Stage::EnRoute | Stage::OnSite | Stage::Paused)
    }
}

impl<'a> Setting<'a> {
    fn new(day: &'a Day) -> Self {
        let hands: Vec<&Hand> = day.hands.iter().filter(|hand| hand.summary.on_shift).collect();
        let service = Ticks::from(day.service_min) * 60;
        let mut at = BTreeMap::new();
        for job in day.jobs.iter().filter(|job| job.is_at_work()) {
            let hand = hands.iter().find(|hand| Some(hand.id) == job.technician);
            if let Some(hand) = hand {
                let way = match job.stage {
                    Stage::EnRoute => Ticks::from(travel_s(hand.summary.home, job.location)),
                    _ => 0,
                };
                at.insert(hand.id, (job.location, way + service));
            }
        }
        let jobs = day.jobs.iter().filter(|job| !job.is_at_work()).collect();
        Self { day, hands, at, jobs }
    }

    fn problem(&self) -> Result<Problem, ProblemError> {
        let close = Ticks::from(self.day.hours) * 3600;
        let technicians = self.hands.iter().zip(0..).map(|(hand, id)| {
            let open = self.at.get(&hand.id).map_or(0, |(_, ready)| (*ready).min(close));
            let shift = Window { open, close };
            Technician {
                id,
                shift,
                skills: Kinds::default(),
                tools: Kinds::default(),
                parts: vec![],
            }
        });
        let requests = self.jobs.iter().zip(0..).map(|(job, id)| Request {
            id,
            window: Window { open: 0, close },
            service: Ticks::from(self.day.service_min) * 60,
            skills: Kinds::default(),
            tools: Kinds::default(),
            parts: vec![],
            only: Some(self.who(job)),
        });
        let home = |hand: usize| self.hands[hand].summary.home;
        let from = |place| match place {
            Place::Depot => None,
            Place::Home(hand) => {
                Some(self.at.get(&self.hands[hand].id).map_or(home(hand), |(at, _)| *at))
            }
            Place::Site(job) => Some(self.jobs[job].location),
        };
        let to = |place| match place {
            Place::Depot => None,
            Place::Home(hand) => Some(home(hand)),
            Place::Site(job) => Some(self.jobs[job].location),
        };
        Problem::new(NO_DEPOT, technicians.collect(), requests.collect(), |one, other| {
            from(one).zip(to(other)).map_or(0, |(one, other)| Ticks::from(travel_s(one, other)))
        })
    }

    /// Who may do it.
    fn who(&self, job: &Job) -> Box<[bool]> {
        let may = |hand: &&Hand| match job.technician.filter(|_| job.is_fixed()) {
            Some(technician) => technician == hand.id,
            None => hand.summary.skills.iter().any(|skill| skill.category == job.category),
        };
        self.hands.iter().map(may).collect()
    }

    /// Whoever has something to do begins with it as soon as may be.
    fn routes(&self, plan: &Plan) -> Vec<Route> {
        let worked = self.hands.iter().zip(&plan.tours).filter(|(_, tour)| !tour.visits.is_empty());
        worked
            .map(|(hand, tour)| Route {
                technician: hand.id,
                legs: self.legs(hand, tour),
                working_s: seconds(tour.working_time()),
            })
            .collect()
    }

    fn legs(&self, hand: &Hand, tour: &Tour) -> Vec<Leg> {
        let (mut from, mut now) = self.at.get(&hand.id).copied().unwrap_or((hand.summary.home, 0));
        let mut legs = Vec::new();
        for visit in &tour.visits {
            let Stop::Request(number) = visit.stop else { continue };
            let job = self.jobs[number];
            let arrive = now + Ticks::from(travel_s(from, job.location));
            (from, now) = (job.location, arrive + (visit.end - visit.start));
            legs.push(Leg {
                ticket: job.id,
                arrive_s: seconds(arrive),
                end_s: seconds(now),
                is_fixed: job.is_fixed(),
                is_kept: job.technician == Some(hand.id),
            });
        }
        legs
    }

    fn left(&self, plan: &Plan) -> Vec<(EntityId, Left)> {
        let at_work = self.day.jobs.iter().filter(|job| job.is_at_work());
        let unserved = plan.unserved.iter().map(|one| {
            let why = match one.reason {
                Reason::NoSkill => Left::Nobody,
                Reason::Unreachable => Left::TooFar,
                Reason::Crowded => Left::Crowded,
            };
            (self.jobs[one.request].id, why)
        });
        at_work.map(|job| (job.id, Left::AtWork)).chain(unserved).collect()
    }

    /// The next ones of each route that are not with their technician, as many as it may hold beside what
    /// stays with it.
    fn moves(&self, routes: &[Route]) -> Vec<Move> {
        let mut moves = Vec::new();
        for route in routes {
            let hand = self.hands.iter().find(|hand| hand.id == route.technician);
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
}

fn seconds(ticks: Ticks) -> u64 {
    u64::try_from(ticks).unwrap_or(0)
}

/// Plans until the budget is used up, which `used` says in parts of `fieldmesh_dispatch::search::WHOLE`.
///
/// # Errors
/// More technicians and tickets than fit.
pub fn plan(day: &Day, seed: u64, used: impl FnMut() -> u32) -> Result<DayPlan, ProblemError> {
    let setting = Setting::new(day);
    let problem = setting.problem()?;
    let greedy = plan_day(&problem, seed, || fieldmesh_dispatch::search::WHOLE);
    let plan = plan_day(&problem, seed, used);
    let routes = setting.routes(&plan);
    Ok(DayPlan {
        moves: setting.moves(&routes),
        left: setting.left(&plan),
        working_s: seconds(plan.working_time()),
        greedy_working_s: seconds(greedy.working_time()),
        routes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_dispatch::search::WHOLE;
    use fieldmesh_domain::{EntityKind, technician::Skill};

    use super::*;

    fn id(kind: EntityKind, number: u8) -> EntityId {
        EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
    }

    fn hand(number: u8, lon_e6: i32, capacity: u16) -> Hand {
        let skills = vec![Skill { category: 1, level: 1, expires: None }];
        let home = Location { lat_e6: 0, lon_e6 };
        let circumstances = None;
        let summary = Summary { on_shift: true, skills, home, capacity, circumstances };
        Hand { id: id(EntityKind::Technician, number), summary }
    }

    fn job(number: u8, lon_e6: i32, stage: Stage, technician: Option<u8>) -> Job {
        Job {
            id: id(EntityKind::Ticket, number),
            category: 1,
            location: Location { lat_e6: 0, lon_e6 },
            stage,
            technician: technician.map(|number| id(EntityKind::Technician, number)),
            is_pinned: false,
        }
    }

    fn planned(day: &Day) -> DayPlan {
        let mut steps = 0;
        plan(day, 1, move || {
            steps += 1;
            if steps > 300 { WHOLE } else { WHOLE / 1000 * steps }
        })
        .unwrap()
    }

    fn day(hands: Vec<Hand>, jobs: Vec<Job>) -> Day {
        Day { hands, jobs, hours: 8, service_min: 30 }
    }

    fn who(plan: &DayPlan, ticket: u8) -> Option<EntityId> {
        let ticket = id(EntityKind::Ticket, ticket);
        let routes = plan.routes.iter();
        routes
            .filter(|route| route.legs.iter().any(|leg| leg.ticket == ticket))
            .map(|route| route.technician)
            .next()
    }

    #[test]
    fn what_is_accepted_or_pinned_stays_and_the_rest_goes_where_it_is_near() {
        let (near, far) = (hand(1, 0, 2), hand(2, 500_000, 2));
        let mut pinned = job(3, 500_000, Stage::Offered, Some(1));
        pinned.is_pinned = true;
        let accepted = job(1, 500_000, Stage::Accepted, Some(1));
        let hands = vec![near.clone(), far.clone()];
        let plan = planned(&day(hands.clone(), vec![accepted, pinned]));
        assert_eq!((who(&plan, 1), who(&plan, 3)), (Some(near.id), Some(near.id)));
        assert_eq!(plan.moves, []);
        let accepted = job(1, 0, Stage::Accepted, Some(1));
        let offered = job(2, 500_000, Stage::Offered, Some(1));
        let plan = planned(&day(hands, vec![accepted, offered]));
        assert_eq!((who(&plan, 1), who(&plan, 2)), (Some(near.id), Some(far.id)));
        assert_eq!(plan.moves, [Move { ticket: id(EntityKind::Ticket, 2), to: far.id }]);
        assert_eq!(plan.left, []);
    }

    #[test]
    fn no_more_is_moved_than_a_technician_may_hold() {
        let jobs = (1..=5).map(|number| job(number, 10_000, Stage::Unfilled, None)).collect();
        let plan = planned(&day(vec![hand(1, 0, 2)], jobs));
        assert_eq!((plan.routes[0].legs.len(), plan.moves.len()), (5, 2));
        let first: Vec<EntityId> = plan.routes[0].legs.iter().map(|leg| leg.ticket).collect();
        let moved: Vec<EntityId> = plan.moves.iter().map(|one| one.ticket).collect();
        assert_eq!(moved, first[..2]);
    }

    #[test]
    fn who_is_at_work_begins_there_when_it_is_done() {
        let at_work = job(1, 100_000, Stage::OnSite, Some(1));
        let waiting = job(2, 100_000, Stage::Unfilled, None);
        let plan = planned(&day(vec![hand(1, 0, 2)], vec![at_work, waiting]));
        assert_eq!(plan.left, [(id(EntityKind::Ticket, 1), Left::AtWork)]);
        assert_eq!(plan.routes[0].legs[0].arrive_s, 30 * 60);
        // The way home is from there to where it lives.
        let way = u64::from(travel_s(
            Location { lat_e6: 0, lon_e6: 100_000 },
            Location { lat_e6: 0, lon_e6: 0 },
        ));
        assert_eq!(plan.routes[0].working_s, 30 * 60 + way);
    }

    #[test]
    fn what_nobody_serves_has_its_reason() {
        let mut other = job(1, 0, Stage::Unfilled, None);
        other.category = 9;
        let far = job(2, 90_000_000, Stage::Unfilled, None);
        let mut off = hand(2, 0, 1);
        off.summary.on_shift = false;
        let of_off = job(3, 0, Stage::Accepted, Some(2));
        let mut jobs = vec![other, far, of_off];
        jobs.extend((10..40).map(|number| job(number, 0, Stage::Unfilled, None)));
        let plan = planned(&day(vec![hand(1, 0, 9), off], jobs));
        let why: BTreeMap<EntityId, Left> = plan.left.iter().copied().collect();
        let of = |number| why.get(&id(EntityKind::Ticket, number)).copied();
        assert_eq!(of(1), Some(Left::Nobody));
        assert_eq!(of(2), Some(Left::TooFar));
        assert_eq!(of(3), Some(Left::Nobody));
        // Sixteen half hours are a day.
        assert_eq!(plan.left.iter().filter(|(_, why)| *why == Left::Crowded).count(), 14);
    }

    #[test]
    fn too_many_are_refused() {
        let jobs = (0..5000).map(|_| job(1, 0, Stage::Unfilled, None)).collect();
        assert!(plan(&day(vec![], jobs), 1, || WHOLE).is_err());
    }
}
