//! No plan breaks a filter that the desk has, and each ticket is in one route or has a reason.

use fieldmesh_domain::selection::{self, Fit};
use proptest::prelude::*;

use super::*;

fn any_hand() -> impl Strategy<Value = Hand> {
    let skills = prop::collection::vec((1_u16..4, 1_u8..4, prop::option::of(0_u64..600)), 1..4);
    let early = prop::option::of((0_u64..100, 1_u64..50));
    let breaks = (early, prop::option::of((160_u64..260, 1_u64..60)));
    let shifts = prop::option::weighted(0.6, (0_u64..500, breaks));
    let more = (0_u16..3, prop::option::of(0_u64..500), 0_u8..8, any::<bool>());
    ((-100_i32..100, skills), shifts, more).prop_map(
        |((lon, skills), shifted, (pumps, certified_min, state, is_on))| {
            let mut hand = hand(1, lon * 10_000, 1 + pumps);
            let skill = |(category, level, expires_min): (u16, u8, Option<u64>)| Skill {
                category,
                level,
                expires: expires_min.map(|minutes| NOW.after_s(minutes * MIN)),
            };
            hand.summary.skills = skills.into_iter().map(skill).collect();
            if let Some((ends_min, breaks)) = shifted {
                let breaks = [breaks.0, breaks.1].into_iter().flatten();
                let breaks: Vec<(u64, u64)> =
                    breaks.map(|(from, long)| (from, from + long)).collect();
                shift(&mut hand, ends_min, &breaks);
            }
            known(&mut hand).certified_until =
                certified_min.map(|minutes| NOW.after_s(minutes * MIN).0 / 1000);
            known(&mut hand).stock = Some(BTreeMap::from([("pump".to_owned(), pumps)]));
            known(&mut hand).away = match state {
                0 => Some(Away::Unreachable),
                1 => Some(Away::Break),
                _ => None,
            };
            hand.summary.on_shift = is_on || state == 0;
            hand
        },
    )
}

fn any_job() -> impl Strategy<Value = Job> {
    let place = (-100_i32..100, 1_u16..4, 1_u8..6);
    let asked = prop::collection::vec(0_u8..5, 0..3);
    let wishes =
        (prop::collection::btree_set(0_u8..5, 0..2), prop::collection::btree_set(0_u8..5, 0..2));
    let skill = prop::option::weighted(0.3, (1_u16..4, 1_u8..4));
    let bounds = (
        prop::option::weighted(0.3, 1_000_u32..100_000),
        prop::option::weighted(0.4, 0_u64..400),
        prop::option::weighted(0.2, 1_u16..3),
    );
    let held = (0_u8..10, 0_u8..5);
    (place, asked, wishes, skill, bounds, held).prop_map(
        |(
            (lon, category, priority),
            asked,
            (preferred, blocked),
            skill,
            bounds,
            (state, held_by),
        )| {
            let (radius_m, finish_min, pumps) = bounds;
            let all = |numbers: BTreeSet<u8>| numbers.into_iter().map(technician).collect();
            let (stage, by) = match state {
                0 => (Stage::Accepted, Some(held_by)),
                1 => (Stage::Offered, Some(held_by)),
                2 => (Stage::OnSite, Some(held_by)),
                _ => (Stage::Unfilled, None),
            };
            let mut job = job(1, lon * 10_000, stage, by);
            let need = Need::plain(category, priority, job.need.location, vec![]);
            job.need = Need {
                asked: asked.into_iter().map(technician).collect(),
                wishes: Some(Wishes { preferred: all(preferred), blocked: all(blocked) }),
                skills: skill.map(|(category, level)| vec![Skill::new(category, level)]),
                radius_m,
                finish_by: finish_min.map(|minutes| NOW.after_s(minutes * MIN)),
                parts: pumps.map(|count| vec![Part { number: "pump".to_owned(), count }]),
                ..need
            };
            job.is_pinned = state == 1 && held_by == 4;
            job
        },
    )
}

fn any_day() -> impl Strategy<Value = Day> {
    let hands = prop::collection::vec(any_hand(), 0..5);
    let jobs = prop::collection::vec(any_job(), 0..9);
    (hands, jobs, 1_u32..9, 5_u32..90).prop_map(|(mut hands, mut jobs, hours, service_min)| {
        hands.iter_mut().zip(0..).for_each(|(hand, number)| hand.id = technician(number));
        jobs.iter_mut().zip(0..).for_each(|(job, number)| job.id = ticket(number));
        Day { now: NOW, hands, jobs, hours, service_min }
    })
}

/// What the desk would say of a technician who stands there then with nothing else to do.
fn exclusion(hand: &Hand, need: &Need, from: Location, left_s: u64) -> Option<Exclusion> {
    let Summary { skills, capacity, home, circumstances, .. } = &hand.summary;
    let mut circumstances = circumstances.clone();
    if let Some(known) = &mut circumstances {
        // It is over by then: that nothing is done in it is looked at on its own.
        known.away = known.away.filter(|away| *away != Away::Break);
    }
    let fit = |home: Location| Fit {
        id: hand.id,
        on_shift: true,
        skills,
        home,
        from: None,
        capacity: *capacity,
        load: 0,
        assigned: 0,
        circumstances: circumstances.as_ref(),
        is_paced: false,
    };
    // How far away it lives is a filter of its own.
    let near = Need { radius_m: None, ..need.clone() };
    let now = NOW.after_s(left_s);
    let choice = selection::choose(&near, [fit(from)].into_iter(), 1, now);
    let excluded = choice.excluded.first().map(|(_, why)| *why);
    excluded.or_else(|| selection::unfit(need, &fit(*home)))
}

fn rests(hand: &Hand, second: u64) -> bool {
    let known = hand.summary.circumstances.as_ref();
    let shift = known.and_then(|known| known.shift.as_ref());
    let at = NOW.after_s(second);
    shift.into_iter().flat_map(|shift| &shift.breaks).any(|(from, to)| *from <= at && at < *to)
}

/// How much of a span is no break.
fn worked_s(hand: &Hand, from_s: u64, to_s: u64) -> u64 {
    (from_s..to_s).filter(|second| !rests(hand, *second)).count() as u64
}

/// The first moment at which so much is worked.
fn moment(hand: &Hand, worked_s: u64) -> u64 {
    let (mut second, mut worked) = (0, 0);
    while worked < worked_s {
        worked += u64::from(!rests(hand, second));
        second += 1;
    }
    second
}

fn check_route(day: &Day, route: &crate::day::Route) -> Result<(), TestCaseError> {
    let hand = day.hands.iter().find(|hand| hand.id == route.technician).unwrap();
    prop_assert!(hand.is_there());
    let at_work = day.jobs.iter().rfind(|job| job.is_at_work() && job.technician == Some(hand.id));
    let mut from = at_work.map_or(hand.summary.home, |job| job.need.location);
    let service_s = u64::from(day.service_min) * MIN;
    let mut left_s = at_work.map_or(0, |_| moment(hand, service_s));
    let mut pumps = 0;
    for leg in &route.legs {
        let job = day.jobs.iter().find(|job| job.id == leg.ticket).unwrap();
        prop_assert_eq!(worked_s(hand, leg.arrive_s, leg.end_s), service_s);
        prop_assert!(leg.end_s <= u64::from(day.hours) * 3600);
        let way_s = u64::from(travel_s(from, job.need.location));
        prop_assert_eq!(worked_s(hand, left_s, leg.arrive_s), way_s);
        let kept = job.need.finish_by.map(|by| NOW.after_s(leg.end_s) <= by);
        prop_assert_eq!(leg.is_in_window, kept);
        if leg.is_fixed {
            prop_assert_eq!(job.technician, Some(hand.id));
        } else {
            prop_assert_eq!(exclusion(hand, &job.need, from, left_s), None);
            let parts = job.need.parts.iter().flatten().map(|part| part.count);
            pumps += parts.sum::<u16>();
        }
        (from, left_s) = (job.need.location, leg.end_s);
    }
    let known = hand.summary.circumstances.as_ref().and_then(|known| known.stock.as_ref());
    prop_assert!(pumps <= known.and_then(|stock| stock.get("pump")).copied().unwrap_or(0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_plan_breaks_a_filter_of_the_desk(day in any_day()) {
        let plan = planned(&day);
        for route in &plan.routes {
            check_route(&day, route)?;
        }
        for (ticket, _) in &plan.left {
            prop_assert!(plan.routes.iter().flat_map(|one| &one.legs).all(|leg| leg.ticket != *ticket));
        }
        let stops: usize = plan.routes.iter().map(|route| route.legs.len()).sum();
        prop_assert_eq!(stops + plan.left.len(), day.jobs.len());
        for one in &plan.moves {
            let hand = day.hands.iter().find(|hand| hand.id == one.to).unwrap();
            prop_assert!(hand.summary.on_shift && hand.away().is_none());
        }
        prop_assert_eq!(planned(&day), plan);
    }
}
