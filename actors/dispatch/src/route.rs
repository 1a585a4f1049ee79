//! The rest of one technician's day: the sites in order, and what another site would cost.
//!
//! A stop at the depot gives whatever tools and parts the stops after it need, so one is enough. It
//! is not a decision of the search: wherever something would be missing, the depot is visited at the
//! moment where that costs least.
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
    /// Places, without the depot.
    pub(crate) sites: Vec<usize>,
    /// Before which of the sites the depot is visited.
    depot: Option<usize>,
    /// The run up to and without each site, then up to the last; never by the depot.
    before: Vec<Segment>,
    /// The run from each site on until home, then just coming home; never by the depot.
    after: Vec<Segment>,
    /// So many of the first sites can be served with what is carried at the start.
    carried: usize,
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
        self.sites.clone_from(&from.sites);
        self.depot = from.depot;
        self.before.clone_from(&from.before);
        self.after.clone_from(&from.after);
        self.carried = from.carried;
        self.cost = from.cost;
    }
}

/// How a request goes into a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insertion {
    /// How much longer the day becomes.
    pub(crate) cost: Ticks,
    /// Before which site.
    at: usize,
}

impl Route {
    /// Nothing more to do. It exists even if the technician comes home late: that is past changing.
    pub(crate) fn idle(situation: &Situation<'_>, technician: usize) -> Self {
        let mut route = Self::default();
        route.rebuild(situation, technician);
        route
    }

    /// The route of these sites, unless something would be late or missing.
    pub(crate) fn of(
        sites: Vec<usize>,
        situation: &Situation<'_>,
        technician: usize,
    ) -> Option<Self> {
        let mut route = Self { sites, ..Self::default() };
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
        let (problem, site) = (situation.problem, situation.problem.site(request));
        let stop = situation.stop(site);
        let carried = self.carried_with(situation, outset, request);
        let is_carried = carried == Some(self.sites.len()) || outset.is_stocked;
        let mut best: Option<Insertion> = None;
        for at in 0..=self.sites.len() {
            let (from, to) = self.around(outset, at);
            let Some(run) = self.before[at].join(problem.travel(from, site), stop) else { break };
            let Some(whole) = run.join(problem.travel(site, to), self.after[at]) else { continue };
            if skip() {
                continue;
            }
            let duration = if is_carried {
                Some(whole.duration)
            } else {
                let earlier = self.depot_before(situation, outset, at, site);
                let later = self.depot_after(situation, outset, at, site, carried);
                earlier.into_iter().chain(later).min()
            };
            let cost = duration.map(|duration| duration - self.cost);
            if let Some(cost) = cost
                && best.is_none_or(|best| cost < best.cost)
            {
                best = Some(Insertion { cost, at });
            }
        }
        best
    }

    /// The least duration with a site added and the depot visited somewhere before it.
    fn depot_before(
        &self,
        situation: &Situation<'_>,
        outset: &Outset,
        at: usize,
        site: usize,
    ) -> Option<Ticks> {
        let problem = situation.problem;
        let (_, to) = self.around(outset, at);
        let mut rest = situation.stop(site).join(problem.travel(site, to), self.after[at])?;
        let (mut next, mut least) = (site, None::<Ticks>);
        for depot in (0..=at).rev() {
            let (from, _) = self.around(outset, depot);
            if depot <= self.carried {
                let whole = self.before[depot]
                    .join(problem.travel(from, DEPOT), situation.depot())
                    .and_then(|run| run.join(problem.travel(DEPOT, next), rest));
                least = least.into_iter().chain(whole.map(|whole| whole.duration)).min();
            }
            if depot > 0 {
                let Some(longer) = situation.stop(from).join(problem.travel(from, next), rest)
                else {
                    break;
                };
                (rest, next) = (longer, from);
            }
        }
        least
    }

    /// The least duration with a site added and the depot visited somewhere after it, which is
    /// possible as long as no more than the first `carried` sites come before the depot.
    fn depot_after(
        &self,
        situation: &Situation<'_>,
        outset: &Outset,
        at: usize,
        site: usize,
        carried: Option<usize>,
    ) -> Option<Ticks> {
        let problem = situation.problem;
        let last = carried.filter(|carried| at <= *carried)?;
        let (from, _) = self.around(outset, at);
        let mut run = self.before[at].join(problem.travel(from, site), situation.stop(site))?;
        let (mut from, mut least) = (site, None::<Ticks>);
        for depot in at..=last {
            let (_, to) = self.around(outset, depot);
            let whole = run
                .join(problem.travel(from, DEPOT), situation.depot())
                .and_then(|run| run.join(problem.travel(DEPOT, to), self.after[depot]));
            least = least.into_iter().chain(whole.map(|whole| whole.duration)).min();
            if depot < last {
                let Some(longer) = run.join(problem.travel(from, to), situation.stop(to)) else {
                    break;
                };
                (run, from) = (longer, to);
            }
        }
        least
    }

    /// The places before and after a new site.
    fn around(&self, outset: &Outset, at: usize) -> (usize, usize) {
        let from = at.checked_sub(1).map_or(outset.place, |before| self.sites[before]);
        (from, self.sites.get(at).copied().unwrap_or(outset.home))
    }

    /// How many of the first sites can be served with what is carried, and a request too; none if not
    /// even that request can.
    fn carried_with(
        &self,
        situation: &Situation<'_>,
        outset: &Outset,
        request: usize,
    ) -> Option<usize> {
        let problem = situation.problem;
        let request = &problem.requests()[request];
        if !outset.tools.contains(request.tools) {
            return None;
        }
        let mut most = self.carried;
        for (kind, (carried, taken)) in outset.parts.iter().zip(&request.parts).enumerate() {
            most = self.lasts(situation, kind, carried.checked_sub(*taken)?, most);
        }
        Some(most)
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
        self.sites.insert(insertion.at, situation.problem.site(request));
        self.rebuild(situation, technician)
    }

    /// Takes sites out; false as with `insert`.
    pub(crate) fn remove(
        &mut self,
        situation: &Situation<'_>,
        technician: usize,
        is_out: impl Fn(usize) -> bool,
    ) -> bool {
        self.sites.retain(|place| !is_out(*place));
        self.rebuild(situation, technician)
    }

    /// Recomputes everything from the sites; whether they are feasible.
    fn rebuild(&mut self, situation: &Situation<'_>, technician: usize) -> bool {
        let outset = &situation.outsets[technician];
        self.depot = None;
        self.carried = self.count_carried(situation, outset);
        if !self.schedule(situation, outset) {
            return false;
        }
        if self.carried < self.sites.len() {
            let gaps = 0..=self.carried;
            let costs =
                gaps.filter_map(|at| Some((self.by_depot(situation, outset, at)?.duration, at)));
            let Some((_, at)) = costs.min() else { return false };
            self.depot = Some(at);
        }
        if self.sites.is_empty() {
            self.cost = outset.idle_cost;
            return true;
        }
        let whole = self.whole(situation, technician);
        self.cost = whole.map_or(0, |whole| whole.duration);
        whole.is_some()
    }

    /// How many of the first sites can be served with what is carried.
    fn count_carried(&self, situation: &Situation<'_>, outset: &Outset) -> usize {
        if outset.is_stocked {
            return self.sites.len();
        }
        let has_tools = |place: &&usize| {
            let request = situation.problem.request_at(**place);
            request
                .is_some_and(|one| outset.tools.contains(situation.problem.requests()[one].tools))
        };
        let mut most = self.sites.iter().take_while(has_tools).count();
        for (kind, carried) in outset.parts.iter().enumerate() {
            most = self.lasts(situation, kind, *carried, most);
        }
        most
    }

    /// How many of the first sites, `most` at most, so many parts of a kind are enough for.
    fn lasts(&self, situation: &Situation<'_>, kind: usize, mut left: u32, most: usize) -> usize {
        let problem = situation.problem;
        for (index, place) in self.sites[..most].iter().enumerate() {
            let request = problem.request_at(*place);
            let taken = request.map_or(0, |request| problem.requests()[request].parts[kind]);
            let Some(rest) = left.checked_sub(taken) else { return index };
            left = rest;
        }
        most
    }

    /// Recomputes the times from the sites, leaving the depot out.
    fn schedule(&mut self, situation: &Situation<'_>, outset: &Outset) -> bool {
        let problem = situation.problem;
        self.before.clear();
        self.before.push(outset.behind);
        let (mut run, mut from) = (outset.behind, outset.place);
        for place in &self.sites {
            let joined = run.join(problem.travel(from, *place), situation.stop(*place));
            let Some(joined) = joined else { return false };
            self.before.push(joined);
            (run, from) = (joined, *place);
        }
        self.after.clear();
        self.after.push(outset.homecoming);
        let (mut rest, mut to) = (outset.homecoming, outset.home);
        for place in self.sites.iter().rev() {
            let joined = situation.stop(*place).join(problem.travel(*place, to), rest);
            let Some(joined) = joined else { return false };
            self.after.push(joined);
            (rest, to) = (joined, *place);
        }
        self.after.reverse();
        true
    }

    /// The whole day with the depot visited before a site.
    fn by_depot(&self, situation: &Situation<'_>, outset: &Outset, at: usize) -> Option<Segment> {
        let problem = situation.problem;
        let (from, to) = self.around(outset, at);
        self.before[at]
            .join(problem.travel(from, DEPOT), situation.depot())?
            .join(problem.travel(DEPOT, to), self.after[at])
    }

    /// The whole day as one run.
    pub(crate) fn whole(&self, situation: &Situation<'_>, technician: usize) -> Option<Segment> {
        let outset = &situation.outsets[technician];
        if let Some(at) = self.depot {
            return self.by_depot(situation, outset, at);
        }
        let (from, to) = self.around(outset, 0);
        outset.behind.join(situation.problem.travel(from, to), self.after[0])
    }

    /// All stops in order, the depot too.
    pub(crate) fn stops(&self) -> Vec<usize> {
        let mut stops = self.sites.clone();
        if let Some(at) = self.depot {
            stops.insert(at, DEPOT);
        }
        stops
    }

    /// The run from the first stop on.
    pub(crate) fn ahead(&self, situation: &Situation<'_>, technician: usize) -> Option<Segment> {
        let outset = &situation.outsets[technician];
        let problem = situation.problem;
        let Some(at) = self.depot else { return self.after.first().copied() };
        let (from, to) = self.around(outset, at);
        let rest = situation.depot().join(problem.travel(DEPOT, to), self.after[at])?;
        let (mut rest, mut next) = (rest, DEPOT);
        for place in self.sites[..at].iter().rev() {
            rest = situation.stop(*place).join(problem.travel(*place, next), rest)?;
            next = *place;
        }
        debug_assert!(at == 0 || from == self.sites[at - 1], "the depot is where it was put");
        Some(rest)
    }
}
