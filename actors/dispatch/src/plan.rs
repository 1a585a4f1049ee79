//! A plan: who is where and when, and which requests nobody serves and why.
//!
//! **Invariants:** a technician that works begins and ends at home; each request is visited at most
//! once, or is unserved with a reason. **Not here:** the search for a good one (`search`), what
//! happens while the day goes on (`online`).

use std::{cmp::Reverse, fmt};

use crate::{
    draft::Draft,
    problem::{DEPOT, Problem, Ticks},
    random::Random,
    route::Route,
    search,
    situation::{Position, Situation},
};

/// Where a technician goes; a request by its position in the problem's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Depot,
    Home,
    Request(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub stop: Stop,
    /// When the place before is left.
    pub leave: Ticks,
    pub arrive: Ticks,
    /// When the service begins; later than the arrival where the window is not yet open.
    pub start: Ticks,
    pub end: Ticks,
}

/// A technician's day; the last visit is at home. Empty if it stays there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tour {
    pub visits: Vec<Visit>,
}

impl Tour {
    /// From leaving home to the last return, waiting and service included.
    pub fn working_time(&self) -> Ticks {
        let (first, last) = (self.visits.first(), self.visits.last());
        first.zip(last).map_or(0, |(first, last)| last.end - first.leave)
    }
}

/// Why nobody serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No technician has all the skills.
    NoSkill,
    /// Nobody with the skills could be there in time with what is needed, having nothing else to do.
    Unreachable,
    /// Somebody could, but not beside what else is to be done.
    Crowded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSkill => "no technician has all the skills",
            Self::Unreachable => "nobody with the skills could be there in time",
            Self::Crowded => "who could be there in time has other work",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    pub request: usize,
    pub reason: Reason,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each technician, in the problem's order.
    pub tours: Vec<Tour>,
    pub unserved: Vec<Unserved>,
}

impl Plan {
    pub fn working_time(&self) -> Ticks {
        self.tours.iter().map(Tour::working_time).sum()
    }
}

/// Plans a day of which everything is known, until the budget is used up: `used` says before each
/// step how much of it is, in parts of [`search::WHOLE`]. The greedy plan is there at once.
pub fn plan_day(problem: &Problem, seed: u64, used: impl FnMut() -> u32) -> Plan {
    let situation = Situation::morning(problem);
    let mut all: Vec<usize> = (0..problem.requests().len()).collect();
    all.sort_by_key(|request| Reverse(problem.requests()[*request].weight));
    let mut draft = Draft::empty(&situation, &all);
    draft.fill(&situation);
    let draft = search::improve(draft, &situation, &mut Random::new(seed), used);
    let tours = draft.routes.iter().enumerate();
    Plan {
        tours: tours.map(|(technician, route)| tour(&situation, technician, route)).collect(),
        unserved: draft
            .absent
            .iter()
            .map(|request| Unserved { request: *request, reason: reason(problem, *request, 0) })
            .collect(),
    }
}

/// A route from home with its times, leaving as late as costs nothing.
fn tour(situation: &Situation<'_>, technician: usize, route: &Route) -> Tour {
    let home = situation.problem.home(technician);
    let Some(whole) = route.whole(situation, technician).filter(|_| !route.sites.is_empty()) else {
        return Tour::default();
    };
    let (mut now, mut from) = (whole.latest, home);
    let places = route.stops().into_iter().chain([home]);
    let visit = |place| {
        let visit = visit(situation, from, place, now);
        (now, from) = (visit.end, place);
        visit
    };
    Tour { visits: places.map(visit).collect() }
}

/// Leaving one place for another at a moment.
pub(crate) fn visit(situation: &Situation<'_>, from: usize, to: usize, leave: Ticks) -> Visit {
    let stop = match situation.problem.request_at(to) {
        Some(request) => Stop::Request(request),
        None if to == DEPOT => Stop::Depot,
        None => Stop::Home,
    };
    let arrive = leave + situation.problem.travel(from, to);
    let run = situation.stop(to);
    let start = if stop == Stop::Home { arrive } else { arrive.max(run.earliest) };
    Visit { stop, leave, arrive, start, end: start + run.duration }
}

/// Why a request that nobody knew before `released` is served by nobody.
pub(crate) fn reason(problem: &Problem, request: usize, released: Ticks) -> Reason {
    let everyone = 0..problem.technicians().len();
    if !everyone.clone().any(|technician| problem.is_skilled(technician, request)) {
        return Reason::NoSkill;
    }
    let positions: Vec<Position> =
        everyone.map(|technician| Position::at_home(problem, technician)).collect();
    let situation = Situation::new(problem, &positions, released);
    match Draft::empty(&situation, &[]).insertion(&situation, request, || false) {
        None => Reason::Unreachable,
        Some(_) => Reason::Crowded,
    }
}
