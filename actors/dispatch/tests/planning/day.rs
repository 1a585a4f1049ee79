//! The plan of a day: feasible, repeatable, and the best there is where that can be found out.

use fieldmesh_dispatch::{
    instance::{Instance, Point},
    plan::{Reason, plan_day},
    problem::{Kinds, Ticks},
    referee::judge,
};
use proptest::prelude::*;

use crate::town::{Size, steps, town};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_plan_is_feasible_repeatable_and_no_worse_than_the_greedy_one(
        seed: u64, technicians in 1_u64..6, requests in 0_u64..25,
    ) {
        let instance = town(seed, Size { technicians, requests });
        let plan = plan_day(&instance.problem, seed, steps(300));
        prop_assert_eq!(judge(&instance, &[], &plan), Ok(plan.working_time()));
        prop_assert_eq!(&plan_day(&instance.problem, seed, steps(300)), &plan);
        let greedy = plan_day(&instance.problem, seed, steps(0));
        prop_assert_eq!(judge(&instance, &[], &greedy), Ok(greedy.working_time()));
        let value = (plan.unserved.len(), plan.working_time());
        prop_assert!(value <= (greedy.unserved.len(), greedy.working_time()));
    }
}

#[test]
fn a_small_plan_is_the_best_of_all() {
    let mut others = 0;
    for seed in 0..80 {
        let instance = town(seed, Size { technicians: 2, requests: 4 });
        let plan = plan_day(&instance.problem, seed, steps(2000));
        judge(&instance, &[], &plan).unwrap();
        let found = (plan.unserved.len(), plan.working_time());
        let best = Exhaustive { instance: &instance }.best();
        assert!(
            found.0 == best.0 && found.1 <= best.1 + best.1 / 20,
            "town {seed}: {found:?}, {best:?}"
        );
        others += usize::from(found != best);
    }
    // A search may end beside the best plan; where everything can be tried that is the exception.
    assert!(others <= 2, "{others} of 80 plans are not the best");
}

#[test]
fn whom_nobody_can_serve_has_a_reason() {
    let text = "T\nINFO\nH\n1 2 1 1\nDEPOT TECHNICIANS AND REQUESTS\nH\n0 0 0 0 100 0 [] [] []\n\
                1 0 0 0 100 0 [0] [] [0]\n2 10 0 0 50 1 [1] [] [0]\n3 90 0 0 50 1 [0] [] [0]\n\
                4 40 0 40 40 1 [0] [] [0]\n5 0 40 40 40 1 [0] [] [0]\n";
    let instance = Instance::parse(text).unwrap();
    let plan = plan_day(&instance.problem, 1, steps(100));
    let unserved = plan.unserved.iter();
    let mut reasons: Vec<(usize, Reason)> = unserved.map(|one| (one.request, one.reason)).collect();
    reasons.sort_by_key(|(request, _)| *request);
    assert_eq!(reasons[..2], [(0, Reason::NoSkill), (1, Reason::Unreachable)]);
    assert_eq!((reasons.len(), reasons[2].1), (3, Reason::Crowded));
}

#[test]
fn a_stop_at_the_depot_brings_the_tool_that_is_missing() {
    let text = "T\nINFO\nH\n1 1 1 1\nDEPOT TECHNICIANS AND REQUESTS\nH\n0 30 40 0 500 0 [] [] []\n\
                1 0 0 0 500 0 [0] [] [1]\n2 0 80 0 400 7 [0] [0] [2]\n";
    let instance = Instance::parse(text).unwrap();
    let plan = plan_day(&instance.problem, 1, steps(10));
    // Home to depot 50, depot to site 50, service 7, and 80 home.
    assert_eq!(judge(&instance, &[], &plan), Ok(187_000_000));
}

/// Tries every order of every subset, with and without a stop at the depot at each position.
struct Exhaustive<'a> {
    instance: &'a Instance,
}

#[derive(Clone, Copy)]
enum Leg {
    Depot,
    Site(usize),
}

impl Exhaustive<'_> {
    fn best(&self) -> (usize, Ticks) {
        let requests = self.instance.problem.requests().len();
        let technicians = self.instance.problem.technicians().len();
        let mut best = (usize::MAX, 0);
        // A number with one digit for each request: who serves it, or nobody.
        for choice in 0..(technicians + 1).pow(requests as u32) {
            let who = |request| choice / (technicians + 1).pow(request as u32) % (technicians + 1);
            let unserved = (0..requests).filter(|request| who(*request) == technicians).count();
            let total = (0..technicians).try_fold(0, |total, technician| {
                let own = (0..requests).filter(|request| who(*request) == technician).collect();
                Some(total + self.shortest(technician, own, &mut Vec::new())?)
            });
            if let Some(total) = total {
                best = best.min((unserved, total));
            }
        }
        best
    }

    /// The least working time in which a technician serves exactly these.
    fn shortest(&self, technician: usize, left: Vec<usize>, done: &mut Vec<Leg>) -> Option<Ticks> {
        if left.is_empty() {
            let with_depot = (0..=done.len()).filter_map(|at| {
                let mut legs = done.clone();
                legs.insert(at, Leg::Depot);
                self.working_time(technician, &legs)
            });
            return with_depot.chain(self.working_time(technician, done)).min();
        }
        let mut best: Option<Ticks> = None;
        for request in &left {
            done.push(Leg::Site(*request));
            let rest = left.iter().copied().filter(|other| other != request).collect();
            let found = self.shortest(technician, rest, done);
            done.pop();
            best = best.into_iter().chain(found).min();
        }
        best
    }

    /// Forwards as early as possible, then backwards from that end as late as possible.
    fn working_time(&self, technician: usize, legs: &[Leg]) -> Option<Ticks> {
        let Instance { problem, depot, homes, sites, .. } = self.instance;
        let who = &problem.technicians()[technician];
        let (mut tools, mut parts) = (who.tools, who.parts.clone());
        let home = (homes[technician], who.shift.open, who.shift.close, 0);
        let mut stops = vec![home];
        for leg in legs {
            match leg {
                Leg::Depot => {
                    tools = Kinds::of(0..3)?;
                    parts = vec![u32::MAX; parts.len()];
                    let window = problem.depot().window;
                    stops.push((*depot, window.open, window.close, 0));
                }
                Leg::Site(request) => {
                    let at = sites[*request];
                    let request = &problem.requests()[*request];
                    for (carried, taken) in parts.iter_mut().zip(&request.parts) {
                        *carried = carried.checked_sub(*taken)?;
                    }
                    if !tools.contains(request.tools) || !who.skills.contains(request.skills) {
                        return None;
                    }
                    stops.push((at, request.window.open, request.window.close, request.service));
                }
            }
        }
        if stops.len() == 1 {
            return Some(0);
        }
        stops.push(home);
        let way = |from: Point, to: Point| {
            (((from.x - to.x).powi(2) + (from.y - to.y).powi(2)).sqrt() * 1e6).ceil() as Ticks
        };
        let mut now = who.shift.open;
        for pair in stops.windows(2) {
            let (from, (to, open, close, service)) = (pair[0].0, pair[1]);
            now = (now + way(from, to)).max(open);
            if now > close {
                return None;
            }
            now += service;
        }
        let mut begin = now;
        for pair in stops.windows(2).rev() {
            let (from, _, close, service) = pair[0];
            begin = (begin - way(from, pair[1].0) - service).min(close);
        }
        Some(now - begin)
    }
}
