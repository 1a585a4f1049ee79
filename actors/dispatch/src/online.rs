//! A day during which requests become known: what was begun stays, the rest is planned anew.
//!
//! Each time requests are released the technicians are moved to that moment along the plan, then the
//! rest of the day is planned from where they are. Whoever has left a place for the next one goes
//! there; whoever has begun a service ends it.
//!
//! **Invariants:** a technician leaves for a request only after its release; nothing that lies before
//! a release depends on it. **Not here:** the search (`search`), reading files (`instance`).

use std::collections::BTreeMap;

use crate::{
    draft::Draft,
    plan::{Plan, Stop, Tour, Unserved, Visit, reason, visit},
    problem::{DEPOT, Problem, Ticks},
    random::Random,
    route::Route,
    search,
    situation::{Position, Situation},
};

/// How the rest of the day is planned after each release.
pub enum Policy<'a> {
    /// Each request goes where it costs least when it is released, and stays there in this order.
    Greedy,
    /// All that was not begun is planned anew. `used` says how much of the budget of the release
    /// with that number is used, in parts of [`search::WHOLE`]; the first is the start of the day.
    Replan { seed: u64, used: &'a mut dyn FnMut(usize) -> u32 },
}

/// Dispatches a day: `released` says for each request when it becomes known, or that it is known from
/// the start.
pub fn dispatch_day(
    problem: &Problem,
    released: &[Option<Ticks>],
    policy: &mut Policy<'_>,
) -> Plan {
    let mut reveals: BTreeMap<Ticks, Vec<usize>> = BTreeMap::from([(0, Vec::new())]);
    for request in 0..problem.requests().len() {
        let at = released.get(request).copied().flatten().unwrap_or(0);
        reveals.entry(at).or_default().push(request);
    }
    let mut day = Day::new(problem);
    for (round, (now, requests)) in reveals.into_iter().enumerate() {
        day.advance(now);
        day.plan(now, &requests, round, policy);
    }
    day.advance(Ticks::MAX);
    let unserved = day.absent.iter().map(|request| {
        let released = released.get(*request).copied().flatten().unwrap_or(0);
        Unserved { request: *request, reason: reason(problem, *request, released) }
    });
    Plan { unserved: unserved.collect(), tours: day.tours }
}

struct Day<'a> {
    problem: &'a Problem,
    now: Ticks,
    positions: Vec<Position>,
    /// The sites where each technician is to go, and for which it has not left.
    ahead: Vec<Vec<usize>>,
    tours: Vec<Tour>,
    /// Known, and in no route.
    absent: Vec<usize>,
}

impl<'a> Day<'a> {
    fn new(problem: &'a Problem) -> Self {
        let everyone = 0..problem.technicians().len();
        Self {
            problem,
            now: 0,
            positions: everyone.clone().map(|who| Position::at_home(problem, who)).collect(),
            ahead: everyone.clone().map(|_| Vec::new()).collect(),
            tours: everyone.map(|_| Tour::default()).collect(),
            absent: Vec::new(),
        }
    }

    /// Plans what is not begun, with what has just become known.
    fn plan(&mut self, now: Ticks, new: &[usize], round: usize, policy: &mut Policy<'_>) {
        self.now = now;
        self.absent.extend(new);
        let situation = Situation::new(self.problem, &self.positions, now);
        let mut draft = Draft::empty(&situation, &self.absent);
        for (technician, sites) in self.ahead.iter().enumerate() {
            draft.adopt(&situation, technician, sites);
        }
        draft.fill(&situation);
        if let Policy::Replan { seed, used } = policy {
            let mut random = Random::new(*seed ^ round as u64);
            draft = search::improve(draft, &situation, &mut random, || used(round));
        }
        self.ahead = draft.routes.into_iter().map(|route| route.sites).collect();
        self.absent = draft.absent;
    }

    /// Lets the technicians do what they begin before `until`.
    fn advance(&mut self, until: Ticks) {
        for technician in 0..self.positions.len() {
            while self.begin_next(technician, until) {}
        }
    }

    /// The next thing that a technician does, if it begins before `until`.
    fn begin_next(&mut self, technician: usize, until: Ticks) -> bool {
        let situation = Situation::new(self.problem, &self.positions, self.now);
        let position = &mut self.positions[technician];
        let sites = &mut self.ahead[technician];
        let home = self.problem.home(technician);
        if sites.is_empty() {
            let is_out = position.departed.is_some() && position.place != home;
            let leave = position.ready.max(self.now);
            if !is_out || leave >= until {
                return false;
            }
            let visit = visit(&situation, position.place, home, leave);
            (position.place, position.ready) = (home, visit.end);
            self.tours[technician].visits.push(visit);
            return true;
        }
        let Some((to, leave)) = next(&situation, technician, position, sites) else {
            self.absent.extend(sites.iter().filter_map(|place| self.problem.request_at(*place)));
            sites.clear();
            return true;
        };
        if leave >= until {
            return false;
        }
        let visit = visit(&situation, position.place, to, leave);
        position.begin(self.problem, &visit);
        self.tours[technician].visits.push(visit);
        sites.retain(|place| *place != to);
        true
    }
}

/// Where a technician goes next and when it leaves: under way as late as costs nothing, from home as
/// early as costs nothing. To stay at home longer keeps the choice open, but then nothing can be added
/// on the way: on published instances twice as many requests were left out, for the same working time.
/// None if the sites cannot be reached, which the plan rules out.
fn next(
    situation: &Situation<'_>,
    technician: usize,
    position: &Position,
    sites: &[usize],
) -> Option<(usize, Ticks)> {
    let route = Route::of(sites.to_vec(), situation, technician)?;
    let to = *route.stops().first()?;
    if position.departed.is_none() {
        return Some((to, route.whole(situation, technician)?.earliest));
    }
    let way = situation.problem.travel(position.place, to);
    let ahead = route.ahead(situation, technician)?;
    Some((to, position.ready.max(situation.now).max(ahead.earliest - way)))
}

impl Position {
    /// Leaves for a stop, which from now on lies behind.
    fn begin(&mut self, problem: &Problem, visit: &Visit) {
        self.departed.get_or_insert(visit.leave);
        self.ready = visit.end;
        match visit.stop {
            Stop::Home => {}
            Stop::Depot => {
                self.place = DEPOT;
                self.is_stocked = true;
            }
            Stop::Request(request) => {
                self.place = problem.site(request);
                let taken = &problem.requests()[request].parts;
                for (carried, taken) in self.parts.iter_mut().zip(taken) {
                    // Whoever was at the depot has what it needs.
                    *carried = carried.saturating_sub(*taken);
                }
            }
        }
    }
}
