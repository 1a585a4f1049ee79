//! The search for a good plan: parts of some routes are taken out and put back elsewhere, again and
//! again, and what is hardly worse than the best is gone on from.
//!
//! Ruin and recreate are those of Christiaens and Vanden Berghe, "Slack induction by string removals
//! for vehicle routing problems", Transportation Science 54 (2020): neighbouring strings of
//! neighbouring routes go out, and come back greedily, with some positions overlooked by chance. It
//! is one operator of each kind where adaptive large neighbourhood search has a portfolio. What is
//! accepted is decided as in record-to-record travel (Dueck, Journal of Computational Physics 104,
//! 1993), which takes whole numbers alone.
//!
//! **Invariants:** the same draft, seed and progress of the budget give the same result; the result is
//! never worse than what the search began with. **Not here:** time, which only the budget knows.

use std::cmp::Reverse;

use crate::{
    draft::{Cost, Draft},
    problem::{DEPOT, Problem, Ticks},
    random::Random,
    route::Route,
    situation::Situation,
};

/// The whole of a budget: a share is given in these parts.
pub const WHOLE: u32 = 1_000_000;
/// Requests that go out at once, on average. The paper's value.
const REMOVED_MEAN: usize = 10;
/// The longest string. The paper's value.
const STRING_MAX: usize = 10;
/// How often, in percent, a string leaves out one request in its middle. The paper's value.
const SPLIT_PERCENT: usize = 50;
/// How often a position is overlooked, in percent. The paper's value.
const BLINK_PERCENT: usize = 1;
/// At the beginning a plan that is one part in so many worse than the best is gone on from. Measured:
/// 15 and 25 are worse within 6 s for a hundred requests, and so are 70 and more within 2 s.
const TOLERANCE: Ticks = 40;

/// Improves `draft` until the budget, asked before each step, says that the whole of it is used.
pub(crate) fn improve(
    draft: Draft,
    situation: &Situation<'_>,
    random: &mut Random,
    mut used: impl FnMut() -> u32,
) -> Draft {
    let served = draft.of.iter().flatten().count();
    if served + draft.absent.len() == 0 || situation.outsets.is_empty() {
        return draft;
    }
    let mut search = Search::new(draft, situation);
    loop {
        let share = used();
        if share >= WHOLE {
            return search.best;
        }
        search.step(random, share);
    }
}

struct Search<'a> {
    situation: &'a Situation<'a>,
    /// For each request those that are to be planned, the nearest first.
    neighbours: Vec<Vec<usize>>,
    open: Vec<usize>,
    /// How many technicians have the skills for each request.
    skilled: Vec<usize>,
    best: Draft,
    best_cost: Cost,
    /// What is gone on from.
    current: Draft,
    /// What is tried; equal to `current` but for the routes in `touched`.
    trial: Draft,
    touched: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(draft: Draft, situation: &'a Situation<'a>) -> Self {
        let problem = situation.problem;
        let planned = draft.of.iter().enumerate().filter(|(_, of)| of.is_some());
        let mut open: Vec<usize> = planned.map(|(request, _)| request).collect();
        open.extend(&draft.absent);
        open.sort_unstable();
        let everyone = 0..situation.outsets.len();
        let skilled = |request| {
            everyone.clone().filter(|technician| problem.is_skilled(*technician, request)).count()
        };
        let cost = draft.cost(problem);
        Self {
            situation,
            neighbours: neighbours(problem, &open),
            skilled: (0..problem.requests().len()).map(skilled).collect(),
            open,
            best: draft.clone(),
            best_cost: cost,
            current: draft.clone(),
            trial: draft,
            touched: Vec::new(),
        }
    }

    fn step(&mut self, random: &mut Random, share: u32) {
        let is_whole = self.ruin(random) && self.recreate(random);
        let cost = self.trial.cost(self.situation.problem);
        // Only what is served is weighed: a tolerance for penalties would give up requests.
        let served: Ticks = self.best.routes.iter().map(|route| route.cost).sum();
        let tolerance = served / TOLERANCE / Ticks::from(WHOLE) * Ticks::from(WHOLE - share);
        if !is_whole || cost > self.best_cost + Cost::from(tolerance) {
            copy(&mut self.trial, &self.current, &self.touched);
        } else {
            copy(&mut self.current, &self.trial, &self.touched);
            if cost < self.best_cost {
                self.best.clone_from(&self.trial);
                self.best_cost = cost;
            }
        }
        self.touched.clear();
    }

    /// Takes strings out of the routes around a request; false if that was not possible.
    fn ruin(&mut self, random: &mut Random) -> bool {
        let used = self.trial.routes.iter().filter(|route| !route.sites.is_empty()).count();
        let served = self.open.len() - self.trial.absent.len();
        let longest = STRING_MAX.min(served.div_ceil(used.max(1))).max(1);
        let strings_max = (4 * REMOVED_MEAN / (1 + longest)).saturating_sub(1).max(1);
        let strings = 1 + random.below(strings_max);
        let seed = self.open[random.below(self.open.len())];
        let around = std::mem::take(&mut self.neighbours[seed]);
        let mut is_whole = true;
        for request in &around {
            if self.touched.len() >= strings {
                break;
            }
            let Some(technician) = self.trial.of[*request] else { continue };
            if !self.touched.contains(&technician) {
                is_whole &= self.take_string(technician, *request, longest, random);
            }
        }
        self.neighbours[seed] = around;
        is_whole
    }

    /// Takes a string with `request` in it out of a route.
    fn take_string(
        &mut self,
        technician: usize,
        request: usize,
        longest: usize,
        random: &mut Random,
    ) -> bool {
        let problem = self.situation.problem;
        let route = &mut self.trial.routes[technician];
        let sites: Vec<usize> =
            route.sites.iter().filter_map(|place| problem.request_at(*place)).collect();
        let Some(middle) = sites.iter().position(|site| *site == request) else { return false };
        let length = 1 + random.below(longest.min(sites.len()));
        let is_split = length > 1 && length < sites.len() && random.percent(SPLIT_PERCENT);
        let span = length + usize::from(is_split);
        let first = (middle + 1).saturating_sub(span);
        let last = middle.min(sites.len() - span);
        let from = first + random.below(last - first + 1);
        let kept = from + 1 + random.below(span.max(3) - 2);
        let mut out = sites[from..from + span].to_vec();
        if is_split {
            out.remove(kept - from);
        }
        self.touched.push(technician);
        let is_out = |place| problem.request_at(place).is_some_and(|site| out.contains(&site));
        let is_whole = route.remove(self.situation, technician, is_out);
        for site in &out {
            self.trial.of[*site] = None;
        }
        self.trial.absent.extend(out);
        is_whole
    }

    /// Puts the absent requests back, in one of several orders.
    fn recreate(&mut self, random: &mut Random) -> bool {
        self.sort_absent(random);
        let absent = std::mem::take(&mut self.trial.absent);
        for request in absent {
            let skip = || random.percent(BLINK_PERCENT);
            let Some((technician, insertion)) = self.trial.insertion(self.situation, request, skip)
            else {
                self.trial.absent.push(request);
                continue;
            };
            if !self.touched.contains(&technician) {
                self.touched.push(technician);
            }
            let route = &mut self.trial.routes[technician];
            if !route.insert(self.situation, technician, request, insertion) {
                return false;
            }
            self.trial.of[request] = Some(technician);
        }
        true
    }

    /// By chance, by who is hardest to find, by distance from the depot, or by the window; what is worth more
    /// before all of that.
    fn sort_absent(&mut self, random: &mut Random) {
        let problem = self.situation.problem;
        let absent = &mut self.trial.absent;
        random.shuffle(absent);
        let way = |request: usize| problem.travel(DEPOT, problem.site(request));
        let window = |request: usize| problem.requests()[request].window;
        match random.below(14) {
            0..4 => {}
            4..7 => absent.sort_by_key(|request| self.skilled[*request]),
            7..9 => absent.sort_by_key(|request| -way(*request)),
            9 => absent.sort_by_key(|request| way(*request)),
            10..12 => absent.sort_by_key(|one| window(*one).close - window(*one).open),
            12 => absent.sort_by_key(|request| window(*request).close),
            _ => absent.sort_by_key(|request| -window(*request).open),
        }
        absent.sort_by_key(|request| Reverse(problem.requests()[*request].weight));
    }
}

/// Makes `to` equal to `from`, where they differ in the `touched` routes alone.
fn copy(to: &mut Draft, from: &Draft, touched: &[usize]) {
    for technician in touched {
        let route: &Route = &from.routes[*technician];
        to.routes[*technician].clone_from(route);
    }
    to.of.clone_from(&from.of);
    to.absent.clone_from(&from.absent);
}

fn neighbours(problem: &Problem, open: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(); problem.requests().len()];
    for one in open {
        let way = |other: &usize| problem.travel(problem.site(*one), problem.site(*other));
        let mut near = open.to_vec();
        near.sort_by_key(way);
        all[*one] = near;
    }
    all
}
