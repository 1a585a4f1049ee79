//! The referee finds each kind of wrong: a plan that is right is changed in one place.

use fieldmesh_dispatch::{
    instance::Instance,
    plan::{Plan, Reason, Stop, Unserved, plan_day},
    referee::{Breach, judge},
};

use crate::town::steps;

/// One technician, two requests: the second needs a tool from the depot and the last part.
fn right() -> (Instance, Plan) {
    let text = "T\nINFO\nH\n2 2 1 1\nDEPOT TECHNICIANS AND REQUESTS\nH\n0 30 0 0 500 0 [] [] []\n\
                1 0 0 0 500 0 [0] [] [1]\n2 0 0 0 500 0 [1] [0] [9]\n\
                3 10 0 50 60 5 [0] [] [1]\n4 60 0 0 400 5 [0] [0] [1]\n";
    let instance = Instance::parse(text).unwrap();
    let plan = plan_day(&instance.problem, 1, steps(50));
    let stops: Vec<Stop> = plan.tours[0].visits.iter().map(|visit| visit.stop).collect();
    assert_eq!(stops, [Stop::Request(0), Stop::Depot, Stop::Request(1), Stop::Home]);
    judge(&instance, &[], &plan).unwrap();
    (instance, plan)
}

fn verdict(change: impl FnOnce(&mut Plan)) -> Breach {
    let (instance, mut plan) = right();
    change(&mut plan);
    judge(&instance, &[], &plan).unwrap_err()
}

#[test]
fn ways_windows_and_shifts_are_walked() {
    let breach = verdict(|plan| plan.tours[0].visits[0].arrive -= 1);
    assert!(matches!(breach, Breach::Way { technician: 1, stop: Stop::Request(0) }));
    let breach = verdict(|plan| plan.tours[0].visits[0].start -= 1);
    assert!(matches!(breach, Breach::Window { technician: 1, stop: Stop::Request(0) }));
    let breach = verdict(|plan| plan.tours[0].visits[0].end -= 1);
    assert!(matches!(breach, Breach::Window { .. }));
    let breach = verdict(|plan| plan.tours[0].visits[1].leave -= 1);
    assert!(matches!(breach, Breach::Way { stop: Stop::Depot, .. }));
    let breach = verdict(|plan| {
        for visit in &mut plan.tours[0].visits {
            visit.end += 400_000_000;
        }
    });
    assert_eq!(breach, Breach::Shift { technician: 1 });
    let breach = verdict(|plan| plan.tours[0].visits.truncate(3));
    assert_eq!(breach, Breach::NotHome { technician: 1 });
}

#[test]
fn skills_tools_and_parts_are_counted() {
    let breach = verdict(|plan| plan.tours.swap(0, 1));
    assert_eq!(breach, Breach::Skill { technician: 2, request: 3 });
    let breach = verdict(|plan| {
        plan.tours[0].visits.remove(1);
        let visit = &mut plan.tours[0].visits[1];
        visit.leave -= 20_000_000;
    });
    assert_eq!(breach, Breach::Tool { technician: 1, request: 4 });
}

#[test]
fn each_request_is_served_once_or_given_up() {
    let breach = verdict(|plan| plan.tours[0].visits.drain(..2).for_each(drop));
    assert!(matches!(breach, Breach::Way { .. } | Breach::Tool { .. }));
    let again = Unserved { request: 1, reason: Reason::Crowded };
    let breach = verdict(|plan| plan.unserved.push(again));
    assert_eq!(breach, Breach::Times { request: 4, times: 2 });
    let breach = verdict(|plan| plan.tours[0].visits.clear());
    assert_eq!(breach, Breach::Times { request: 3, times: 0 });
    let breach = verdict(|plan| plan.tours.truncate(1));
    assert_eq!(breach, Breach::Tours { found: 1, expected: 2 });
}

#[test]
fn nobody_leaves_for_what_is_not_known() {
    let (instance, plan) = right();
    let leave = plan.tours[0].visits[2].leave;
    assert!(judge(&instance, &[None, Some(leave)], &plan).is_ok());
    assert_eq!(
        judge(&instance, &[None, Some(leave + 1)], &plan),
        Err(Breach::Foresight { technician: 1, request: 4 })
    );
}
