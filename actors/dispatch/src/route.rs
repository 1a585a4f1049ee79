//! The rest of one technician's day: the stops in order, and what another stop would cost.
//!
//! A stop at the depot gives whatever tools and parts the stops after it need, so one is enough, and
//! a request that a technician cannot serve with what it carries may bring that stop with it.
//!
//! **Invariants:** a route that was built is feasible: nothing is late, no tool or part is missing;
//! what the technician has behind it is not part of it and cannot change. **Not here:** which route
//! a request goes into (`draft`), when exactly somebody leaves (`plan`, `online`).

use crate::{
    problem::{DEPOT, Ticks},
    segment::Segment,
    situation::{Outset, Situation},
};

#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Places: sites, and at most one stop at the depot.
    pub(crate) stops: Vec<usize>,
    /// Which of the stops is at the depot.
    depot: Option<usize>,
    /// The run up to and without each stop; the last is all of it without coming home.
    before: Vec<Segment>,
    /// The run from each stop on until home.
    after: Vec<Segment>,
    /// Of the parts carried at the start those that no stop before the depot takes.
    spare: Vec<u32>,
    pub(crate) cost: Ticks,
}

impl Clone for Route {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    /// The search copies routes back and forth all the time: memory is kept.
    fn clone_from(&mut self, from: &Self) {
        self.stops.clone_from(&from.stops);
        self.depot = from.depot;
        self.before.clone_from(&from.before);
        self.after.clone_from(&from.after);
        self.spare.clone_from(&from.spare);
        self.cost = from.cost;
    }
}

/// How a request goes into a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insertion {
    /// How much longer the day becomes.
    pub(crate) cost: Ticks,
    /// Before which stop.
    at: usize,
    /// Before which stop the depot is visited, where that is new; not after `at`.
    depot: Option<usize>,
}

impl Route {
    /// Nothing more to do. It exists even if the technician comes home late: that is past changing.
    pub(crate) fn idle(situation: &Situation<'_>, technician: usize) -> Self {
        let mut route = Self::default();
        route.rebuild(situation, technician);
        route
    }

    /// The route of these stops, unless something would be late or missing.
    pub(crate) fn of(
        stops: Vec<usize>,
        situation: &Situation<'_>,
        technician: usize,
    ) -> Option<Self> {
        let mut route = Self { stops, ..Self::default() };
        route.rebuild(situation, technician).then_some(route)
    }

    /// The cheapest way to add a request, leaving out the positions that `skip` says.
    pub(crate) fn insertion(
        &self,
        situation: &Situation<'_>,
        technician: usize,
        request: usize,
        mut skip: impl FnMut() -> bool,
    ) -> Option<Insertion> {
        let outset = &situation.outsets[technician];
        let site = situation.problem.site(request);
        let is_carried = outset.is_stocked || self.carries(situation, outset, request);
        let mut best: Option<Insertion> = None;
        let mut offer = |whole: Segment, at, depot| {
            let cost = whole.duration - self.cost;
            if best.is_none_or(|best| cost < best.cost) {
                best = Some(Insertion { cost, at, depot });
            }
        };
        if !is_carried && self.depot.is_none() {
            self.with_depot(situation, outset, site, skip, offer);
            return best;
        }
        let first = if is_carried { 0 } else { self.depot.map_or(0, |depot| depot + 1) };
        let (stop, problem) = (situation.stop(site), situation.problem);
        for at in first..=self.stops.len() {
            let (from, to) = self.around(outset, at);
            let Some(run) = self.before[at].join(problem.travel(from, site), stop) else { break };
            if let Some(whole) = run.join(problem.travel(site, to), self.after[at])
                && !skip()
            {
                offer(whole, at, None);
            }
        }
        best
    }

    /// All ways to add a site together with a stop at the depot somewhere before it.
    fn with_depot(
        &self,
        situation: &Situation<'_>,
        outset: &Outset,
        site: usize,
        mut skip: impl FnMut() -> bool,
        mut offer: impl FnMut(Segment, usize, Option<usize>),
    ) {
        let (stop, problem) = (situation.stop(site), situation.problem);
        for at in 0..=self.stops.len() {
            let (from, to) = self.around(outset, at);
            if self.before[at].join(problem.travel(from, site), stop).is_none() {
                break;
            }
            let Some(mut rest) = stop.join(problem.travel(site, to), self.after[at]) else {
                continue;
            };
            let mut next = site;
            for depot in (0..=at).rev() {
                let (from, _) = self.around(outset, depot);
                let there = self.before[depot]
                    .join(problem.travel(from, DEPOT), situation.depot())
                    .and_then(|run| run.join(problem.travel(DEPOT, next), rest));
                if let Some(whole) = there
                    && !skip()
                {
                    offer(whole, at, Some(depot));
                }
                if depot > 0 {
                    let earlier = situation.stop(from);
                    let Some(longer) = earlier.join(problem.travel(from, next), rest) else {
                        break;
                    };
                    (rest, next) = (longer, from);
                }
            }
        }
    }

    /// The places before and after a new stop.
    fn around(&self, outset: &Outset, at: usize) -> (usize, usize) {
        let from = at.checked_sub(1).map_or(outset.place, |before| self.stops[before]);
        (from, self.stops.get(at).copied().unwrap_or(outset.home))
    }

    /// Whether a request can be served before the depot, beside what is served there already.
    fn carries(&self, situation: &Situation<'_>, outset: &Outset, request: usize) -> bool {
        let request = &situation.problem.requests()[request];
        outset.tools.contains(request.tools)
            && request.parts.iter().zip(&self.spare).all(|(taken, spare)| taken <= spare)
    }

    /// Adds a request as `insertion` found. False, and the route is of no use, if the way between two
    /// places is longer than one with a stop in between.
    pub(crate) fn insert(
        &mut self,
        situation: &Situation<'_>,
        technician: usize,
        request: usize,
        insertion: Insertion,
    ) -> bool {
        self.stops.insert(insertion.at, situation.problem.site(request));
        if let Some(depot) = insertion.depot {
            self.stops.insert(depot, DEPOT);
        }
        self.rebuild(situation, technician)
    }

    /// Takes stops out, and the depot if it is no longer needed; false as with `insert`.
    pub(crate) fn remove(
        &mut self,
        situation: &Situation<'_>,
        technician: usize,
        is_out: impl Fn(usize) -> bool,
    ) -> bool {
        let had_depot = self.depot.is_some();
        self.stops.retain(|place| *place != DEPOT && !is_out(*place));
        if self.rebuild(situation, technician) {
            return true;
        }
        had_depot && self.replenish(situation, technician)
    }

    /// Puts the depot where it costs least.
    fn replenish(&mut self, situation: &Situation<'_>, technician: usize) -> bool {
        let outset = &situation.outsets[technician];
        let problem = situation.problem;
        if !self.schedule(situation, outset) {
            return false;
        }
        let last = self.carried_stops(situation, outset);
        let best = (0..=last)
            .filter_map(|at| {
                let (from, to) = self.around(outset, at);
                let whole = self.before[at]
                    .join(problem.travel(from, DEPOT), situation.depot())?
                    .join(problem.travel(DEPOT, to), self.after[at])?;
                Some((whole.duration, at))
            })
            .min();
        let Some((_, at)) = best else { return false };
        self.stops.insert(at, DEPOT);
        self.rebuild(situation, technician)
    }

    /// How many of the first stops can be served with what is carried.
    fn carried_stops(&mut self, situation: &Situation<'_>, outset: &Outset) -> usize {
        self.spare.clone_from(&outset.parts);
        let problem = situation.problem;
        for (index, place) in self.stops.iter().enumerate() {
            let Some(request) = problem.request_at(*place) else { return index };
            let request = &problem.requests()[request];
            if !outset.tools.contains(request.tools) {
                return index;
            }
            for (taken, spare) in request.parts.iter().zip(&mut self.spare) {
                let Some(left) = spare.checked_sub(*taken) else { return index };
                *spare = left;
            }
        }
        self.stops.len()
    }

    /// Recomputes everything from the stops; whether they are feasible.
    fn rebuild(&mut self, situation: &Situation<'_>, technician: usize) -> bool {
        let outset = &situation.outsets[technician];
        self.depot = self.stops.iter().position(|place| *place == DEPOT);
        let needed = self.depot.unwrap_or(self.stops.len());
        let is_supplied = outset.is_stocked || self.carried_stops(situation, outset) >= needed;
        is_supplied && self.schedule(situation, outset)
    }

    /// Recomputes the times from the stops.
    fn schedule(&mut self, situation: &Situation<'_>, outset: &Outset) -> bool {
        let problem = situation.problem;
        self.before.clear();
        self.before.push(outset.behind);
        let (mut run, mut from) = (outset.behind, outset.place);
        for place in &self.stops {
            let joined = run.join(problem.travel(from, *place), situation.stop(*place));
            let Some(joined) = joined else { return false };
            self.before.push(joined);
            (run, from) = (joined, *place);
        }
        self.after.clear();
        self.after.push(outset.homecoming);
        let (mut rest, mut to) = (outset.homecoming, outset.home);
        for place in self.stops.iter().rev() {
            let joined = situation.stop(*place).join(problem.travel(*place, to), rest);
            let Some(joined) = joined else { return false };
            self.after.push(joined);
            (rest, to) = (joined, *place);
        }
        self.after.reverse();
        if self.stops.is_empty() {
            self.cost = outset.idle_cost;
            return true;
        }
        let whole = run.join(problem.travel(from, outset.home), outset.homecoming);
        self.cost = whole.map_or(0, |whole| whole.duration);
        whole.is_some()
    }

    /// The whole day as one run.
    pub(crate) fn whole(&self, situation: &Situation<'_>, technician: usize) -> Option<Segment> {
        let outset = &situation.outsets[technician];
        let (from, to) = self.around(outset, 0);
        debug_assert!(self.after.len() == self.stops.len() + 1, "a route is built before use");
        debug_assert!(from == outset.place, "nothing comes before the first stop");
        outset.behind.join(situation.problem.travel(from, to), self.after[0])
    }

    /// The run from the first stop on.
    pub(crate) fn ahead(&self) -> Segment {
        self.after[0]
    }
}
