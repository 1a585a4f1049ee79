//! All routes together, and the requests that are in none.
//!
//! **Invariants:** each request that is to be planned is in exactly one route or absent; `cost` is
//! the sum of the routes' costs without what favours are worth, and a penalty for each absent request, by its
//! weight, that no detour outweighs.
//! **Not here:** what is tried in which order (`search`).

use crate::{
    problem::{Problem, TICKS_MAX, Ticks},
    route::{Insertion, Route},
    situation::Situation,
};

/// What an absent request of weight 1 costs: more than any day of any technician.
const ABSENCE_COST: Cost = 4 * TICKS_MAX as Cost;

/// Ticks of all technicians, and penalties of all weights: more than 64 bits have.
pub(crate) type Cost = i128;

#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) routes: Vec<Route>,
    /// Which route each request is in.
    pub(crate) of: Vec<Option<usize>>,
    pub(crate) absent: Vec<usize>,
}

impl Draft {
    /// Nothing but the technicians; every request of `open` is absent. None if somebody cannot even
    /// come home in time.
    pub(crate) fn empty(situation: &Situation<'_>, open: &[usize]) -> Self {
        let everyone = 0..situation.outsets.len();
        Self {
            routes: everyone.map(|technician| Route::idle(situation, technician)).collect(),
            of: vec![None; situation.problem.requests().len()],
            absent: open.to_vec(),
        }
    }

    /// Takes over a technician's sites; their requests are absent if it cannot reach them.
    pub(crate) fn adopt(&mut self, situation: &Situation<'_>, technician: usize, sites: &[usize]) {
        let requests = sites.iter().filter_map(|place| situation.problem.request_at(*place));
        let Some(route) = Route::of(sites.to_vec(), situation, technician) else {
            self.absent.extend(requests);
            return;
        };
        for request in requests {
            self.of[request] = Some(technician);
        }
        self.routes[technician] = route;
    }

    pub(crate) fn cost(&self, problem: &Problem) -> Cost {
        let routes: Ticks = self.routes.iter().map(|route| route.cost).sum();
        let absent = self.absent.iter().map(|one| Cost::from(problem.requests()[*one].weight));
        let served = self.of.iter().enumerate();
        let favours = served.filter_map(|(one, of)| of.map(|of| problem.favour(of, one)));
        Cost::from(routes) - Cost::from(favours.sum::<Ticks>())
            + ABSENCE_COST * absent.sum::<Cost>()
    }

    /// The cheapest way to add a request, and to whom.
    pub(crate) fn insertion(
        &self,
        situation: &Situation<'_>,
        request: usize,
        mut skip: impl FnMut() -> bool,
    ) -> Option<(usize, Insertion)> {
        let mut best: Option<(usize, Insertion)> = None;
        for (technician, route) in self.routes.iter().enumerate() {
            if !situation.problem.is_skilled(technician, request) {
                continue;
            }
            let favour = situation.problem.favour(technician, request);
            let found = route.insertion(situation, technician, request, &mut skip);
            let found = found.map(|mut found| {
                found.cost -= favour;
                found
            });
            if let Some(found) = found
                && best.is_none_or(|(_, best)| found.cost < best.cost)
            {
                best = Some((technician, found));
            }
        }
        best
    }

    /// Adds the absent requests one after the other in their order, each where it costs least.
    pub(crate) fn fill(&mut self, situation: &Situation<'_>) {
        let absent = std::mem::take(&mut self.absent);
        for request in absent {
            let place = |draft: &mut Self| {
                let (technician, insertion) = draft.insertion(situation, request, || false)?;
                let mut route = draft.routes[technician].clone();
                route.insert(situation, technician, request, insertion).then_some(())?;
                draft.routes[technician] = route;
                draft.of[request] = Some(technician);
                Some(())
            };
            if place(self).is_none() {
                self.absent.push(request);
            }
        }
    }
}
