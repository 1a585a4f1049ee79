//! Plans of small days: what each fact about a ticket or a technician changes in them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod laws;

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_dispatch::search::WHOLE;
use fieldmesh_domain::{
    EntityId, EntityKind,
    desk::Summary,
    message::Location,
    selection::{
        Away, Circumstances, Exclusion, Need, PREFERRED_S, Part, ShiftTime, Wishes, travel_s,
    },
    technician::Skill,
    ticket::Stage,
    time::Millis,
};

use super::{Day, DayPlan, Hand, Job, Left, Leg, Move, plan};

const NOW: Millis = Millis(1_900_000_000_000);
const MIN: u64 = 60;

fn id(kind: EntityKind, number: u8) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
}

fn technician(number: u8) -> EntityId {
    id(EntityKind::Technician, number)
}

fn ticket(number: u8) -> EntityId {
    id(EntityKind::Ticket, number)
}

fn at(lon_e6: i32) -> Location {
    Location { lat_e6: 0, lon_e6 }
}

fn hand(number: u8, lon_e6: i32, capacity: u16) -> Hand {
    let skills = vec![Skill::new(1, 1)];
    let summary =
        Summary { on_shift: true, skills, home: at(lon_e6), capacity, circumstances: None };
    Hand { id: technician(number), summary }
}

fn known(hand: &mut Hand) -> &mut Circumstances {
    hand.summary.circumstances.get_or_insert_default()
}

/// Its shift ends in so many minutes, and has breaks.
fn shift(hand: &mut Hand, ends_min: u64, breaks_min: &[(u64, u64)]) {
    let minute = |minute: u64| NOW.after_s(minute * MIN);
    let breaks = breaks_min.iter().map(|(from, to)| (minute(*from), minute(*to))).collect();
    known(hand).shift = Some(ShiftTime { ends: Some(minute(ends_min)), breaks });
}

fn job(number: u8, lon_e6: i32, stage: Stage, technician: Option<u8>) -> Job {
    Job {
        id: ticket(number),
        need: Need::plain(1, 3, at(lon_e6), vec![]),
        stage,
        technician: technician.map(self::technician),
        is_pinned: false,
    }
}

fn waiting(number: u8, lon_e6: i32) -> Job {
    job(number, lon_e6, Stage::Unfilled, None)
}

fn planned(day: &Day) -> DayPlan {
    let mut steps = 0;
    plan(day, 1, move || {
        steps += 1;
        if steps > 300 { WHOLE } else { WHOLE / 1000 * steps }
    })
    .unwrap()
}

fn day(hands: Vec<Hand>, jobs: Vec<Job>) -> Day {
    Day { now: NOW, hands, jobs, hours: 8, service_min: 30 }
}

fn leg(plan: &DayPlan, number: u8) -> Option<&Leg> {
    plan.routes.iter().flat_map(|route| &route.legs).find(|leg| leg.ticket == ticket(number))
}

fn who(plan: &DayPlan, number: u8) -> Option<EntityId> {
    let has = |legs: &[Leg]| legs.iter().any(|leg| leg.ticket == ticket(number));
    plan.routes.iter().find(|route| has(&route.legs)).map(|route| route.technician)
}

fn why(plan: &DayPlan, number: u8) -> Option<Left> {
    plan.left.iter().find(|(id, _)| *id == ticket(number)).map(|(_, why)| why.clone())
}

#[test]
fn what_is_accepted_or_pinned_stays_and_the_rest_goes_where_it_is_near() {
    let (near, far) = (hand(1, 0, 2), hand(2, 500_000, 2));
    let mut pinned = job(3, 500_000, Stage::Offered, Some(1));
    pinned.is_pinned = true;
    // It stays although the desk would not choose this one again.
    pinned.need.asked = vec![near.id];
    let accepted = job(1, 500_000, Stage::Accepted, Some(1));
    let hands = vec![near.clone(), far.clone()];
    let plan = planned(&day(hands.clone(), vec![accepted, pinned]));
    assert_eq!((who(&plan, 1), who(&plan, 3)), (Some(near.id), Some(near.id)));
    assert_eq!(plan.moves, []);
    let accepted = job(1, 0, Stage::Accepted, Some(1));
    let offered = job(2, 500_000, Stage::Offered, Some(1));
    let plan = planned(&day(hands, vec![accepted, offered]));
    assert_eq!((who(&plan, 1), who(&plan, 2)), (Some(near.id), Some(far.id)));
    assert_eq!(plan.moves, [Move { ticket: ticket(2), to: far.id }]);
    assert_eq!(plan.left, []);
}

#[test]
fn no_more_is_moved_than_a_technician_may_hold() {
    let jobs = (1..=5).map(|number| waiting(number, 10_000)).collect();
    let plan = planned(&day(vec![hand(1, 0, 2)], jobs));
    assert_eq!((plan.routes[0].legs.len(), plan.moves.len()), (5, 2));
    let first: Vec<EntityId> = plan.routes[0].legs.iter().map(|leg| leg.ticket).collect();
    let moved: Vec<EntityId> = plan.moves.iter().map(|one| one.ticket).collect();
    assert_eq!(moved, first[..2]);
}

#[test]
fn who_is_at_work_begins_there_when_it_is_done() {
    let at_work = job(1, 100_000, Stage::OnSite, Some(1));
    let plan = planned(&day(vec![hand(1, 0, 2)], vec![at_work, waiting(2, 100_000)]));
    assert_eq!(plan.left, [(ticket(1), Left::AtWork)]);
    assert_eq!(plan.routes[0].legs[0].arrive_s, 30 * MIN);
    // The way home is from there to where it lives.
    let way = u64::from(travel_s(at(100_000), at(0)));
    assert_eq!(plan.routes[0].working_s, 30 * MIN + way);
}

#[test]
fn what_nobody_serves_has_its_reason() {
    let mut other = waiting(1, 0);
    other.need.category = 9;
    let far = waiting(2, 90_000_000);
    let mut off = hand(2, 0, 1);
    off.summary.on_shift = false;
    let of_off = job(3, 0, Stage::Accepted, Some(2));
    let mut jobs = vec![other, far, of_off];
    jobs.extend((10..40).map(|number| waiting(number, 0)));
    let plan = planned(&day(vec![hand(1, 0, 9), off], jobs));
    assert_eq!(why(&plan, 1), Some(Left::Nobody(vec![(Exclusion::NoSkill, 1)])));
    assert_eq!(why(&plan, 2), Some(Left::TooFar));
    assert_eq!(why(&plan, 3), Some(Left::NotThere));
    // Sixteen half hours are a day.
    assert_eq!(plan.left.iter().filter(|(_, why)| *why == Left::Crowded).count(), 14);
    let name = why(&plan, 1).unwrap().name();
    assert_eq!(name, "nobody who is on shift may do it: 1 × lacks the skill");
}

#[test]
fn too_many_are_refused() {
    let jobs = (0..5000).map(|_| waiting(1, 0)).collect();
    assert!(plan(&day(vec![], jobs), 1, || WHOLE).is_err());
}

/// The near one is out of the question, and the ticket goes to the far one; alone, it is the reason.
fn goes_to_the_other(change: impl Fn(&mut Hand, &mut Job), why_not: Exclusion) {
    let (mut near, far, mut one) = (hand(1, 0, 2), hand(2, 200_000, 2), waiting(1, 0));
    let both = vec![near.clone(), far.clone()];
    assert_eq!(who(&planned(&day(both, vec![one.clone()])), 1), Some(near.id), "{why_not:?}");
    change(&mut near, &mut one);
    let mut able = far.clone();
    able.summary.skills.push(Skill::new(7, 3));
    known(&mut able).stock = Some(BTreeMap::from([("pump".to_owned(), 2)]));
    let plan = planned(&day(vec![near.clone(), able], vec![one.clone()]));
    assert_eq!(who(&plan, 1), Some(far.id), "{why_not:?}");
    let plan = planned(&day(vec![near], vec![one]));
    assert_eq!(why(&plan, 1), Some(Left::Nobody(vec![(why_not, 1)])));
    assert_eq!(plan.moves, []);
}

#[test]
fn whom_the_desk_would_not_choose_no_plan_chooses() {
    let skill = |_: &mut Hand, job: &mut Job| job.need.skills = Some(vec![Skill::new(7, 2)]);
    goes_to_the_other(skill, Exclusion::LacksRequired);
    let part = Part { number: "pump".to_owned(), count: 1 };
    let parts = |_: &mut Hand, job: &mut Job| job.need.parts = Some(vec![part.clone()]);
    goes_to_the_other(parts, Exclusion::LacksPart);
    let blocked = |hand: &mut Hand, job: &mut Job| {
        let (preferred, blocked) = (BTreeSet::new(), BTreeSet::from([hand.id]));
        job.need.wishes = Some(Wishes { preferred, blocked });
    };
    goes_to_the_other(blocked, Exclusion::Blocked);
    let asked = |hand: &mut Hand, job: &mut Job| job.need.asked = vec![hand.id];
    goes_to_the_other(asked, Exclusion::Asked);
    let unheard = |hand: &mut Hand, _: &mut Job| known(hand).away = Some(Away::Unreachable);
    goes_to_the_other(unheard, Exclusion::Unreachable);
    // A break whose end nobody knows.
    let rests = |hand: &mut Hand, _: &mut Job| known(hand).away = Some(Away::Break);
    goes_to_the_other(rests, Exclusion::OnBreak);
    let expires = |hand: &mut Hand, _: &mut Job| {
        hand.summary.skills[0].expires = Some(NOW.after_s(60));
    };
    goes_to_the_other(expires, Exclusion::SkillExpired);
    let required = |hand: &mut Hand, job: &mut Job| {
        let expires = Some(NOW.after_s(60));
        hand.summary.skills.push(Skill { expires, ..Skill::new(7, 2) });
        job.need.skills = Some(vec![Skill::new(7, 2)]);
    };
    goes_to_the_other(required, Exclusion::SkillExpired);
    let ends = |hand: &mut Hand, _: &mut Job| shift(hand, 29, &[]);
    goes_to_the_other(ends, Exclusion::ShiftEnds);
}

#[test]
fn a_radius_is_that_of_the_home() {
    let mut one = waiting(1, 100_000);
    one.need.radius_m = Some(5_000);
    let plan = planned(&day(vec![hand(1, 0, 1)], vec![one]));
    assert_eq!(why(&plan, 1), Some(Left::Nobody(vec![(Exclusion::TooFar, 1)])));
}

#[test]
fn parts_of_a_van_are_used_up() {
    let mut carries = hand(1, 0, 9);
    known(&mut carries).stock = Some(BTreeMap::from([("pump".to_owned(), 2)]));
    let jobs = (1..=3).map(|number| {
        let mut one = waiting(number, 0);
        one.need.parts = Some(vec![Part { number: "pump".to_owned(), count: 1 }]);
        one
    });
    let plan = planned(&day(vec![carries], jobs.collect()));
    assert_eq!((plan.routes[0].legs.len(), plan.left.len()), (2, 1));
    assert_eq!(plan.left[0].1, Left::Crowded);
}

#[test]
fn work_ends_within_the_shift_and_the_certificate() {
    let jobs: Vec<Job> = (1..=9).map(|number| waiting(number, 0)).collect();
    let mut short = hand(1, 0, 9);
    shift(&mut short, 100, &[]);
    let plan = planned(&day(vec![short], jobs.clone()));
    let ends: Vec<u64> = plan.routes[0].legs.iter().map(|leg| leg.end_s).collect();
    assert_eq!(ends, [30 * MIN, 60 * MIN, 90 * MIN]);
    let mut lapses = hand(1, 0, 9);
    known(&mut lapses).certified_until = Some(NOW.after_s(70 * MIN).0 / 1000);
    let plan = planned(&day(vec![lapses], jobs.clone()));
    assert_eq!(plan.routes[0].legs.len(), 2);
    // Ten minutes of work need half an hour of the shift, as at the desk.
    let mut short = hand(1, 0, 9);
    shift(&mut short, 45, &[]);
    let plan = planned(&Day { service_min: 10, ..day(vec![short], jobs) });
    assert_eq!(plan.routes[0].legs.len(), 2);
}

#[test]
fn nobody_works_in_a_break() {
    let jobs: Vec<Job> = (1..=9).map(|number| waiting(number, 0)).collect();
    let mut rests = hand(1, 0, 9);
    shift(&mut rests, 120, &[(15, 45)]);
    let plan = planned(&day(vec![rests], jobs.clone()));
    let times: Vec<(u64, u64)> =
        plan.routes[0].legs.iter().map(|leg| (leg.arrive_s / MIN, leg.end_s / MIN)).collect();
    assert_eq!(times, [(0, 60), (60, 90), (90, 120)]);
    // Whoever is at one begins behind it, and is not asked before.
    let mut rests = hand(1, 0, 9);
    shift(&mut rests, 120, &[(0, 20)]);
    rests.summary.on_shift = false;
    known(&mut rests).away = Some(Away::Break);
    let plan = planned(&day(vec![rests], jobs));
    assert_eq!(plan.routes[0].legs[0].arrive_s, 20 * MIN);
    assert_eq!((plan.routes[0].legs.len(), plan.moves), (3, vec![]));
}

#[test]
fn whom_the_customer_prefers_may_be_an_hour_farther_away() {
    let home = |seconds: u32| i32::try_from(u64::from(seconds) * 14 * 1_000_000 / 111_195).unwrap();
    let mut one = waiting(1, 0);
    let (near, far) = (hand(1, 0, 1), hand(2, home(PREFERRED_S / 2 - 300), 1));
    let (preferred, blocked) = (BTreeSet::from([far.id]), BTreeSet::new());
    let hands = vec![near.clone(), far.clone()];
    assert_eq!(who(&planned(&day(hands.clone(), vec![one.clone()])), 1), Some(near.id));
    one.need.wishes = Some(Wishes { preferred, blocked });
    assert_eq!(who(&planned(&day(hands, vec![one.clone()])), 1), Some(far.id));
    // There and back it is more than the wish is worth.
    let far = hand(2, home(PREFERRED_S / 2 + 300), 1);
    assert_eq!(who(&planned(&day(vec![near.clone(), far], vec![one])), 1), Some(near.id));
}

#[test]
fn what_is_more_urgent_is_left_out_last() {
    let mut jobs: Vec<Job> = (1..=20).map(|number| waiting(number, 0)).collect();
    jobs[19].need.priority = 2;
    jobs.push(job(21, 0, Stage::Accepted, Some(1)));
    jobs[20].need.priority = 5;
    let plan = planned(&day(vec![hand(1, 0, 30)], jobs));
    assert_eq!(plan.left.len(), 5);
    assert_eq!((why(&plan, 20), why(&plan, 21)), (None, None));
    // One that is urgent is worth more than some that are not.
    let mut far = waiting(1, 1_500_000);
    far.need.priority = 2;
    let jobs = [far].into_iter().chain((2..=12).map(|number| waiting(number, 0)));
    let plan = planned(&day(vec![hand(1, 0, 9)], jobs.collect()));
    assert_eq!(who(&plan, 1), Some(technician(1)));
}

#[test]
fn a_promise_is_a_window_and_each_stop_says_whether_it_keeps_it() {
    let mut jobs: Vec<Job> = (1..=4).map(|number| waiting(number, 0)).collect();
    jobs[3].need.finish_by = Some(NOW.after_s(30 * MIN));
    let plan = planned(&day(vec![hand(1, 0, 9)], jobs.clone()));
    let last = leg(&plan, 4).unwrap();
    assert_eq!((last.end_s, last.is_in_window), (30 * MIN, Some(true)));
    assert_eq!(leg(&plan, 1).unwrap().is_in_window, None);
    // Two cannot both be in time: the more urgent one is, the other one is late and said to be.
    jobs[0].need.finish_by = Some(NOW.after_s(40 * MIN));
    jobs[0].need.priority = 4;
    let plan = planned(&day(vec![hand(1, 0, 9)], jobs.clone()));
    let both = [4, 1].map(|number| leg(&plan, number).unwrap().is_in_window);
    assert_eq!((both, plan.left.len()), ([Some(true), Some(false)], 0));
    assert_eq!(leg(&plan, 1).unwrap().end_s, 60 * MIN, "it is next");
    // What is past can only be late.
    jobs[3].need.finish_by = Some(Millis(NOW.0 - 1));
    let plan = planned(&day(vec![hand(1, 0, 9)], jobs));
    assert_eq!(
        leg(&plan, 4).map(|leg| (leg.end_s, leg.is_in_window)),
        Some((30 * MIN, Some(false)))
    );
}

#[test]
fn a_break_before_a_promise_counts() {
    let mut one = waiting(1, 0);
    one.need.finish_by = Some(NOW.after_s(50 * MIN));
    let (mut rests, works) = (hand(1, 0, 1), hand(2, 50_000, 1));
    let hands = vec![rests.clone(), works.clone()];
    assert_eq!(who(&planned(&day(hands, vec![one.clone()])), 1), Some(rests.id));
    shift(&mut rests, 400, &[(10, 40)]);
    let plan = planned(&day(vec![rests, works.clone()], vec![one]));
    assert_eq!(who(&plan, 1), Some(works.id));
    assert_eq!(leg(&plan, 1).unwrap().is_in_window, Some(true));
}

#[test]
fn priority_1_comes_first_in_its_route() {
    let mut jobs: Vec<Job> =
        (1..=5).map(|number| waiting(number, i32::from(number) * 10_000)).collect();
    jobs[4].need.priority = 1;
    let plan = planned(&day(vec![hand(1, 0, 9)], jobs));
    assert_eq!(plan.routes[0].legs[0].ticket, ticket(5));
    assert_eq!(plan.left, []);
}
