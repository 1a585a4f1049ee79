//! A day as the search is told of it, and what it found as routes with times.
//!
//! Parts on a van are used up by the tickets of a route together, where the desk looks at one ticket alone.
//! Time is what each technician works (`hours`); a promise counts as if all breaks before it were the longest
//! that anybody has who may do it, so that what the search calls in time is.
//!
//! **Invariant:** a stop is at a time when its technician works. **Not here:** when to search (`day`), which
//! filters there are (`domain::selection`).

use std::collections::BTreeSet;

use fieldmesh_dispatch::{
    plan::{Plan, Reason, Stop, Tour},
    problem::{
        Depot, Kinds, Place, Problem, ProblemError, Request, TICKS_MAX, Technician, Ticks, Window,
    },
};
use fieldmesh_domain::{
    EntityId,
    message::{Location, PRIORITY_MAX},
    selection::{self, Away, Exclusion, Fit, PREFERRED_S, SERVICE_S, travel_s},
    ticket::Stage,
    time::Millis,
};

use super::{
    Day, Hand, Job, Left, Leg, Route,
    hours::{Hours, is_absent},
};

/// The place that stands for no depot: nothing is fetched there, and it is too far away.
const NO_DEPOT: Depot = Depot { window: Window { open: 0, close: 0 }, service: 0 };
/// What a ticket is worth in those of the next lower priority, as in the desk's batches.
const STEP: u32 = 16;
/// Stops of a route that are put into another order where one is late: more are a plan for minutes each.
const ORDERED_MAX: usize = 32;

/// Being late, in what it costs, for each priority.
type Lateness = [u64; PRIORITY_MAX as usize];

/// A technician who may be planned for.
struct Worker<'a> {
    hand: &'a Hand,
    hours: Hours,
    /// Where it begins, and after how much more work there.
    from: Location,
    ready: Ticks,
}

/// A day with what follows from it.
pub(super) struct Setting<'a> {
    pub(super) day: &'a Day,
    workers: Vec<Worker<'a>>,
    /// Those that are to be planned.
    jobs: Vec<&'a Job>,
    /// Numbers of all parts that are required.
    parts: Vec<&'a str>,
    service: Ticks,
}

impl Worker<'_> {
    fn fit(&self) -> Fit<'_> {
        let summary = &self.hand.summary;
        Fit {
            id: self.hand.id,
            on_shift: true,
            skills: &summary.skills,
            home: summary.home,
            from: None,
            capacity: summary.capacity,
            load: 0,
            assigned: 0,
            circumstances: summary.circumstances.as_ref(),
            is_paced: false,
        }
    }

    /// How many of a part are on its van.
    fn stock(&self, part: &str) -> u32 {
        let known = self.hand.summary.circumstances.as_ref();
        let stock = known.and_then(|known| known.stock.as_ref());
        stock.and_then(|stock| stock.get(part)).map_or(0, |count| u32::from(*count))
    }

    /// What keeps it from a ticket that is not its own.
    fn exclusion(&self, job: &Job, day: &Day) -> Option<Exclusion> {
        let (fit, away) = (self.fit(), self.hand.away());
        if away == Some(Away::Unreachable) {
            return Some(Exclusion::Unreachable);
        }
        if is_absent(away, &self.hours) {
            return Some(Exclusion::OnBreak);
        }
        let ends = day.now.after_s(seconds(self.hours.when(self.hours.worked)));
        let lasts = selection::is_skilled_at(&job.need, fit.skills, ends);
        selection::unfit(&job.need, &fit)
            .or((fit.capacity == 0).then_some(Exclusion::Full))
            .or((!lasts).then_some(Exclusion::SkillExpired))
    }
}

impl<'a> Setting<'a> {
    pub(super) fn new(day: &'a Day) -> Self {
        let service = Ticks::from(day.service_min) * 60;
        let at_work = |hand: &Hand| {
            day.jobs.iter().rfind(|job| job.is_at_work() && job.technician == Some(hand.id))
        };
        let worker = |hand: &'a Hand| {
            let known = hand.summary.circumstances.as_ref();
            let reserve = (Ticks::from(SERVICE_S) - service).max(0);
            let hours = Hours::new(known, day.now, Ticks::from(day.hours) * 3600, reserve);
            let (from, ready) = match at_work(hand) {
                Some(job) if job.stage == Stage::EnRoute => {
                    let way = travel_s(hand.summary.home, job.need.location);
                    (job.need.location, Ticks::from(way) + service)
                }
                Some(job) => (job.need.location, service),
                None => (hand.summary.home, 0),
            };
            let ready = ready.min(hours.worked);
            Worker { hand, hours, from, ready }
        };
        let jobs: Vec<&Job> = day.jobs.iter().filter(|job| !job.is_at_work()).collect();
        let required = jobs.iter().flat_map(|job| job.need.parts.iter().flatten());
        let parts: BTreeSet<&str> = required.map(|part| part.number.as_str()).collect();
        Self {
            day,
            workers: day.hands.iter().filter(|hand| hand.is_there()).map(worker).collect(),
            jobs,
            parts: parts.into_iter().collect(),
            service,
        }
    }

    pub(super) fn is_promised(&self, job: usize) -> bool {
        self.jobs[job].need.finish_by.is_some()
    }

    pub(super) fn has_promises(&self) -> bool {
        (0..self.jobs.len()).any(|job| self.is_promised(job))
    }

    /// What the search is told; those of `late` may be finished after what was promised.
    pub(super) fn problem(&self, late: &BTreeSet<usize>) -> Result<Problem, ProblemError> {
        let technicians = self.workers.iter().zip(0..).map(|(worker, id)| Technician {
            id,
            shift: Window { open: worker.ready, close: worker.hours.worked },
            skills: Kinds::default(),
            tools: Kinds::default(),
            parts: self.parts.iter().map(|part| worker.stock(part)).collect(),
        });
        let requests = (0..self.jobs.len()).zip(0..).map(|(job, id)| self.request(job, id, late));
        let home = |worker: usize| self.workers[worker].hand.summary.home;
        let from = |place| match place {
            Place::Depot => None,
            Place::Home(worker) => Some(self.workers[worker].from),
            Place::Site(job) => Some(self.jobs[job].need.location),
        };
        let to = |place| match place {
            Place::Depot => None,
            Place::Home(worker) => Some(home(worker)),
            Place::Site(job) => Some(self.jobs[job].need.location),
        };
        Problem::new(NO_DEPOT, technicians.collect(), requests.collect(), |one, other| {
            let way = from(one).zip(to(other));
            way.map_or(TICKS_MAX, |(one, other)| Ticks::from(travel_s(one, other)))
        })
    }

    fn request(&self, number: usize, id: u32, late: &BTreeSet<usize>) -> Request {
        let job = self.jobs[number];
        let day = Ticks::from(self.day.hours) * 3600;
        let promised = job.need.finish_by.filter(|_| !late.contains(&number));
        let kept = promised.and_then(|by| self.keepers(job, self.seconds_to(by)));
        let (only, close) = kept.unwrap_or_else(|| (self.who(job), day));
        let steps = u32::from(PRIORITY_MAX.saturating_sub(job.need.priority.max(1)));
        let taken = |part: &&str| {
            let required = job.need.parts.iter().flatten().find(|one| one.number == **part);
            required.filter(|_| !job.is_fixed()).map_or(0, |one| u32::from(one.count))
        };
        let preferred = job.need.wishes.as_ref().map(|wishes| &wishes.preferred);
        let favour = |worker: &Worker<'_>| {
            let is_preferred = preferred.is_some_and(|all| all.contains(&worker.hand.id));
            if is_preferred { Ticks::from(PREFERRED_S) } else { 0 }
        };
        Request {
            id,
            window: Window { open: 0, close },
            service: self.service,
            skills: Kinds::default(),
            tools: Kinds::default(),
            parts: self.parts.iter().map(taken).collect(),
            only: Some(only),
            // What somebody has promised to do is above everything.
            weight: STEP.pow(if job.is_fixed() { PRIORITY_MAX.into() } else { steps }),
            favours: preferred.map(|_| self.workers.iter().map(favour).collect()),
        }
    }

    fn seconds_to(&self, at: Millis) -> Ticks {
        Ticks::try_from(at.0.saturating_sub(self.day.now.0) / 1000).unwrap_or(TICKS_MAX)
    }

    /// Who may do it and would be done by then, were there nothing else to do, and when it is to begin at the
    /// latest; none where there is nobody.
    fn keepers(&self, job: &Job, by: Ticks) -> Option<(Box<[bool]>, Ticks)> {
        let mut only = self.who(job);
        let mut rest = None;
        for (worker, may) in self.workers.iter().zip(&mut only) {
            let way = Ticks::from(travel_s(worker.from, job.need.location));
            *may = *may && worker.hours.when(worker.ready + way + self.service) <= by;
            if *may {
                rest = rest.max(Some(worker.hours.rest_until(by)));
            }
        }
        let day = Ticks::from(self.day.hours) * 3600;
        rest.map(|rest| (only, (by - rest - self.service).clamp(0, day)))
    }

    /// Who may do it.
    fn who(&self, job: &Job) -> Box<[bool]> {
        let may = |worker: &Worker<'_>| match job.technician.filter(|_| job.is_fixed()) {
            Some(technician) => technician == worker.hand.id,
            None => worker.exclusion(job, self.day).is_none(),
        };
        self.workers.iter().map(may).collect()
    }

    /// Whoever has something to do begins with it as soon as may be.
    pub(super) fn routes(&self, plan: &Plan) -> Vec<Route> {
        let route = |(worker, tour): (&Worker<'_>, &Tour)| {
            let request = |stop| match stop {
                Stop::Request(job) => Some(job),
                Stop::Depot | Stop::Home => None,
            };
            let jobs: Vec<usize> =
                tour.visits.iter().filter_map(|visit| request(visit.stop)).collect();
            (!jobs.is_empty()).then(|| self.route(worker, jobs))
        };
        self.workers.iter().zip(&plan.tours).filter_map(route).collect()
    }

    fn route(&self, worker: &Worker<'_>, jobs: Vec<usize>) -> Route {
        let jobs = self.in_order(worker, jobs);
        let (ends, home) = self.ends(worker, &jobs);
        let leg = |(job, end): (&usize, Ticks)| {
            let (job, ends) = (self.jobs[*job], worker.hours.when(end));
            Leg {
                ticket: job.id,
                arrive_s: seconds(worker.hours.when(end - self.service)),
                end_s: seconds(ends),
                is_fixed: job.is_fixed(),
                is_kept: job.technician == Some(worker.hand.id),
                is_in_window: job
                    .need
                    .finish_by
                    .map(|by| by.0 >= self.day.now.after_s(seconds(ends)).0),
            }
        };
        let legs = jobs.iter().zip(ends).map(leg).collect();
        Route { technician: worker.hand.id, legs, working_s: seconds(home - worker.ready) }
    }

    /// When each is done in what is worked, and when it is home again.
    fn ends(&self, worker: &Worker<'_>, jobs: &[usize]) -> (Vec<Ticks>, Ticks) {
        let (mut at, mut now) = (worker.from, worker.ready);
        let mut ends = Vec::with_capacity(jobs.len());
        for job in jobs {
            let site = self.jobs[*job].need.location;
            now += Ticks::from(travel_s(at, site)) + self.service;
            at = site;
            ends.push(now);
        }
        (ends, now + Ticks::from(travel_s(at, worker.hand.summary.home)))
    }

    /// What is late is brought forward, one after the other, as long as less is late then.
    fn in_order(&self, worker: &Worker<'_>, mut jobs: Vec<usize>) -> Vec<usize> {
        let Some(mut best) = self.lateness(worker, &jobs) else { return jobs };
        let ordered = jobs.len().min(ORDERED_MAX);
        for _ in 0..ordered {
            let mut found = None;
            for (from, to) in (1..ordered).flat_map(|from| (0..from).map(move |to| (from, to))) {
                let mut other = jobs.clone();
                let job = other.remove(from);
                other.insert(to, job);
                if let Some(lateness) = self.lateness(worker, &other).filter(|one| *one < best) {
                    (best, found) = (lateness, Some(other));
                }
            }
            match found {
                Some(other) => jobs = other,
                None => break,
            }
        }
        jobs
    }

    /// The most urgent first; none where the day is too short for that order.
    fn lateness(&self, worker: &Worker<'_>, jobs: &[usize]) -> Option<Lateness> {
        let (ends, home) = self.ends(worker, jobs);
        if home > worker.hours.worked {
            return None;
        }
        let mut all = Lateness::default();
        for (job, end) in jobs.iter().zip(ends) {
            let need = &self.jobs[*job].need;
            let by = match need.finish_by {
                Some(by) => self.seconds_to(by),
                None if need.priority <= 1 => 0,
                None => continue,
            };
            let late_s = seconds(worker.hours.when(end) - by);
            let priority = usize::from(need.priority.clamp(1, PRIORITY_MAX)) - 1;
            all[priority] += u64::from(selection::late_worth_s(late_s));
        }
        Some(all)
    }

    pub(super) fn left(&self, plan: &Plan) -> Vec<(EntityId, Left)> {
        let at_work = self.day.jobs.iter().filter(|job| job.is_at_work());
        let unserved = plan.unserved.iter().map(|one| {
            let job = self.jobs[one.request];
            let why = match one.reason {
                Reason::NoSkill if job.is_fixed() => Left::NotThere,
                Reason::NoSkill => {
                    let why = |worker: &Worker<'_>| worker.exclusion(job, self.day);
                    Left::Nobody(counted(self.workers.iter().filter_map(why)))
                }
                Reason::Unreachable => self.too_far(job),
                Reason::Crowded => Left::Crowded,
            };
            (job.id, why)
        });
        at_work.map(|job| (job.id, Left::AtWork)).chain(unserved).collect()
    }

    /// Whether it is the way, or what will not last until they are there.
    fn too_far(&self, job: &Job) -> Left {
        let may = self.who(job);
        let all = may.iter().filter(|may| **may).count();
        let shortage =
            |worker: &Worker<'_>| selection::shortage(&job.need, &worker.fit(), self.day.now);
        let who = self.workers.iter().zip(&may).filter(|(_, may)| **may);
        let short = who.filter(|(worker, _)| shortage(worker).is_some()).count();
        if short < all {
            return Left::TooFar;
        }
        let why = |(worker, may): (&Worker<'_>, &bool)| match may {
            true => shortage(worker),
            false => worker.exclusion(job, self.day).filter(|_| !job.is_fixed()),
        };
        Left::Nobody(counted(self.workers.iter().zip(&may).filter_map(why)))
    }
}

/// How many of each, in the order in which they come.
fn counted(all: impl Iterator<Item = Exclusion>) -> Vec<(Exclusion, u32)> {
    let mut counts: Vec<(Exclusion, u32)> = Vec::new();
    for one in all {
        match counts.iter_mut().find(|(known, _)| *known == one) {
            Some((_, count)) => *count += 1,
            None => counts.push((one, 1)),
        }
    }
    counts
}

/// What is before now is now.
fn seconds(ticks: Ticks) -> u64 {
    u64::try_from(ticks).unwrap_or(0)
}
