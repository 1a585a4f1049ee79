//! Dispatch during the day: feasible, repeatable, and without knowledge of the future.

use fieldmesh_dispatch::{
    instance::Instance,
    online::{Policy, dispatch_day},
    plan::{Plan, Stop, Visit},
    problem::Ticks,
    referee::judge,
};
use proptest::prelude::*;

use crate::town::{Size, releases, steps, text, town};

fn replan(instance: &Instance, released: &[Option<Ticks>], seed: u64) -> Plan {
    let mut round = None;
    let mut budget = steps(0);
    let mut used = |release| {
        if round.replace(release) != Some(release) {
            budget = steps(100);
        }
        budget()
    };
    dispatch_day(&instance.problem, released, &mut Policy::Replan { seed, used: &mut used })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_day_is_feasible_and_repeatable(
        seed: u64, technicians in 1_u64..6, requests in 0_u64..20,
    ) {
        let instance = town(seed, Size { technicians, requests });
        let released = releases(seed, &instance);
        let plan = replan(&instance, &released, seed);
        prop_assert_eq!(judge(&instance, &released, &plan), Ok(plan.working_time()));
        prop_assert_eq!(&replan(&instance, &released, seed), &plan);
        let greedy = dispatch_day(&instance.problem, &released, &mut Policy::Greedy);
        prop_assert_eq!(judge(&instance, &released, &greedy), Ok(greedy.working_time()));
    }

    #[test]
    fn what_is_begun_does_not_depend_on_what_is_not_yet_known(seed: u64) {
        let size = Size { technicians: 3, requests: 12 };
        let instance = town(seed, size);
        let released = releases(seed, &instance);
        let latest = (0..released.len()).max_by_key(|request| released[*request]).unwrap();
        let Some(known) = released[latest] else { return Ok(()) };
        // The same town, but for what the latest request is.
        let id = format!("\n{} ", instance.problem.requests()[latest].id);
        let original = text(seed, size);
        let (before, after) = original.split_at(original.find(&id).unwrap() + id.len());
        let (_, rest) = after.split_once('\n').unwrap();
        let other = format!("{before}1 99 300 350 20 [0,1] [2] [1,1]\n{rest}");
        let other = Instance::parse(&other).unwrap();
        let begun = |plan: Plan| -> Vec<Vec<Visit>> {
            let until = |visits: Vec<Visit>| visits.into_iter().filter(|one| one.leave < known).collect();
            plan.tours.into_iter().map(|tour| until(tour.visits)).collect()
        };
        prop_assert_eq!(
            begun(replan(&instance, &released, seed)),
            begun(replan(&other, &released, seed))
        );
    }
}

#[test]
fn who_is_under_way_to_a_request_goes_there_first() {
    // The technician must leave at 0 for the request at 100. At 10 another appears on the way, which
    // would be nearer; it comes afterwards.
    let text = "T\nINFO\nH\n1 1 1 1\nDEPOT TECHNICIANS AND REQUESTS\nH\n0 0 0 0 500 0 [] [] []\n\
                1 0 0 0 500 0 [0] [] [0]\n2 100 0 0 100 5 [0] [] [0]\n3 20 0 0 400 5 [0] [] [0]\n";
    let instance = Instance::parse(text).unwrap();
    let released = [None, Some(10_000_000)];
    for plan in [
        replan(&instance, &released, 1),
        dispatch_day(&instance.problem, &released, &mut Policy::Greedy),
    ] {
        let stops: Vec<Stop> = plan.tours[0].visits.iter().map(|visit| visit.stop).collect();
        assert_eq!(stops, [Stop::Request(0), Stop::Request(1), Stop::Home]);
        judge(&instance, &released, &plan).unwrap();
    }
}

#[test]
fn who_has_come_home_may_be_called_again() {
    let text = "T\nINFO\nH\n1 1 1 1\nDEPOT TECHNICIANS AND REQUESTS\nH\n0 0 0 0 500 0 [] [] []\n\
                1 0 0 0 500 0 [0] [] [0]\n2 10 0 0 20 5 [0] [] [0]\n3 20 0 100 400 5 [0] [] [0]\n";
    let instance = Instance::parse(text).unwrap();
    let released = [None, Some(200_000_000)];
    let plan = replan(&instance, &released, 1);
    let stops: Vec<Stop> = plan.tours[0].visits.iter().map(|visit| visit.stop).collect();
    assert_eq!(stops, [Stop::Request(0), Stop::Home, Stop::Request(1), Stop::Home]);
    judge(&instance, &released, &plan).unwrap();
    assert_eq!(plan.unserved, []);
}
