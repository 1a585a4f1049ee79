//! A queue against targets that fail for a while: each notice ends, and nobody is flooded.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;

const PACE: Pace = Pace { first_pause_ms: 5_000, digest_after_ms: 600_000 };

fn failed(retry_after_s: Option<u64>) -> Met {
    Met::Failed { reason: "500".into(), retry_after_s }
}

fn told(now_ms: u64) -> Waiting {
    Waiting { told_ms: now_ms, next_ms: now_ms, attempts: 0, call: None, is_over: false }
}

fn calling(number: u8, is_needed: bool) -> Call {
    let region = "eu1".parse().unwrap();
    let ticket = EntityId::new(fieldmesh_domain::EntityKind::Ticket, region, [number; 10]);
    Call { ticket, is_needed }
}

/// What calls somebody to a ticket, or off.
fn call(number: u8, is_needed: bool) -> Waiting {
    Waiting { call: Some(calling(number, is_needed)), ..told(0) }
}

/// Calls to the first ticket are over that were told before the one with this number.
fn before(last: u64) -> impl Fn(u64, Call) -> bool {
    move |number, one| one == calling(1, true) && number < last
}

/// What a simulated target does, and for how long.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Well,
    Failing,
    Busy,
}

fn moods() -> impl Strategy<Value = Vec<(Mood, u64)>> {
    let mood = prop_oneof![Just(Mood::Well), Just(Mood::Failing), Just(Mood::Busy)];
    vec((mood, 1_000_u64..40_000_000), 0..8)
}

fn mood_at(moods: &[(Mood, u64)], mut now_ms: u64) -> Mood {
    for (mood, lasts_ms) in moods {
        match now_ms.checked_sub(*lasts_ms) {
            Some(rest) => now_ms = rest,
            None => return *mood,
        }
    }
    Mood::Failing
}

/// Lets time pass until nothing waits; what became of each notice.
fn lived(arrivals: &[u64], moods: &[(Mood, u64)], chance: u32) -> BTreeMap<u64, Outcome> {
    let (mut lane, mut ended) = (Lane::default(), BTreeMap::new());
    let mut under_way: Vec<(u64, Attempt)> = Vec::new();
    let mut arrivals: Vec<u64> = arrivals.to_vec();
    arrivals.sort_unstable();
    let (mut next, mut now, mut requests) = (0, 0, 0_u32);
    for _ in 0..100_000 {
        while arrivals.get(next).is_some_and(|at| *at <= now) {
            lane.add(next as u64, told(now));
            next += 1;
        }
        for settled in lane.give_up(now) {
            assert!(ended.insert(settled.number, settled.outcome).is_none());
        }
        while let Some(attempt) = lane.begin(now, PACE) {
            requests += 1;
            assert!(attempt.notices.len() <= DIGEST_MAX && !attempt.notices.is_empty());
            under_way.push((now + 50, attempt));
            let busy: Vec<u64> =
                under_way.iter().flat_map(|(_, a)| &a.notices).map(|(n, _)| *n).collect();
            assert_eq!(busy.iter().collect::<BTreeSet<_>>().len(), busy.len(), "twice at once");
            assert!(under_way.len() <= REQUESTS_MAX);
        }
        let ready = under_way.iter().map(|(at, _)| *at).min();
        let arrival = arrivals.get(next).copied();
        let rests = lane.due_ms().map(|due| due.max(now + 1));
        let Some(then) = [ready, arrival, rests].into_iter().flatten().min() else {
            assert_eq!(requests == 0, arrivals.is_empty());
            return ended;
        };
        now = then;
        let (over, rest) = under_way.into_iter().partition(|(at, _)| *at <= now);
        under_way = rest;
        let over: Vec<(u64, Attempt)> = over;
        for (_, attempt) in over {
            let met = match mood_at(moods, now) {
                Mood::Well => Met::Taken,
                Mood::Failing => failed(None),
                Mood::Busy => failed(Some(60)),
            };
            for settled in lane.end(&attempt, &met, (now, chance), PACE) {
                assert!(settled.attempt <= ATTEMPTS_MAX);
                match settled.outcome {
                    Outcome::Failed { next, .. } => assert!(next.0 > now),
                    over => assert!(ended.insert(settled.number, over).is_none()),
                }
            }
        }
    }
    panic!("the queue does not come to rest");
}

proptest! {
    #[test]
    fn each_notice_ends_once(
        arrivals in vec(0_u64..100_000_000, 0..40),
        moods in moods(),
        chance: u32,
    ) {
        let ended = lived(&arrivals, &moods, chance);
        prop_assert_eq!(ended.len(), arrivals.len());
        let is_over =
            |outcome: &Outcome| matches!(outcome, Outcome::Delivered | Outcome::Dead { .. });
        prop_assert!(ended.values().all(is_over));
    }

    #[test]
    fn a_target_that_is_well_gets_everything(arrivals in vec(0_u64..1_000, 0..80)) {
        let ended = lived(&arrivals, &[(Mood::Well, u64::MAX)], 0);
        prop_assert!(ended.values().all(|outcome| *outcome == Outcome::Delivered));
    }
}

#[test]
fn attempts_last_about_a_day() {
    for (chance, hours) in [(0, 16..24), (u32::MAX / 2, 20..28), (u32::MAX, 24..32)] {
        let all: u64 = (1..ATTEMPTS_MAX).map(|attempt| pause_ms(attempt, chance, PACE)).sum();
        assert!(hours.contains(&(all / HOUR_MS)), "{chance}: {all}");
    }
    assert_eq!(pause_ms(1, u32::MAX / 2, PACE), 4_999);
}

#[test]
fn what_is_old_after_an_outage_goes_as_one_digest() {
    let mut lane = Lane::default();
    for number in 0..60 {
        lane.add(number, told(number));
    }
    let first = lane.begin(100, PACE).unwrap();
    assert!(!first.is_digest);
    lane.end(&first, &failed(None), (150, 0), PACE);
    // It failed once: one at a time, until it is well.
    let second = lane.begin(200, PACE).unwrap();
    assert_eq!(lane.begin(200, PACE), None);
    lane.end(&second, &failed(Some(700)), (250, 0), PACE);
    assert_eq!(lane.begin(700_000, PACE), None, "it asked to be left alone");
    let digest = lane.begin(700_251, PACE).unwrap();
    assert!(digest.is_digest && digest.notices.len() == 60);
    let settled = lane.end(&digest, &Met::Taken, (700_300, 0), PACE);
    assert_eq!(settled.len(), 60);
    assert!(settled.iter().all(|settled| settled.outcome == Outcome::Delivered) && lane.is_idle());
}

#[test]
fn a_target_that_goes_takes_what_waits_with_it() {
    let mut lane = Lane::default();
    (0..3).for_each(|number| lane.add(number, told(0)));
    let attempt = lane.begin(0, PACE).unwrap();
    lane.end(&attempt, &Met::Gone { reason: "410".into() }, (10, 0), PACE);
    assert_eq!(lane.begin(10, PACE), None);
    assert_eq!(lane.give_up(10).len(), 2);
}

#[test]
fn whoever_is_not_needed_any_more_is_not_called() {
    let mut lane = Lane::default();
    for (number, of) in [(1, 1), (2, 2)] {
        lane.add(number, call(of, true));
    }
    let [first, other] = [0, 0].map(|now| lane.begin(now, PACE).unwrap());
    for attempt in [&first, &other] {
        lane.end(attempt, &failed(None), (10, 0), PACE);
    }
    lane.add(3, call(1, false));
    let over = lane.call_off(before(3));
    let [Settled { number: 1, attempt: 1, outcome: Outcome::Dead { reason } }] = &over[..] else {
        panic!("{over:?}");
    };
    assert_eq!(reason, OVER);
    let begun: Vec<(u64, u8)> = std::iter::from_fn(|| {
        let attempt = lane.begin(20, PACE)?;
        lane.end(&attempt, &Met::Taken, (20, 0), PACE);
        Some(attempt.notices[0])
    })
    .collect();
    assert_eq!(begun, [(3, 1), (2, 2)], "of another ticket it is called still");
    // Who is needed again is called.
    lane.add(4, call(1, true));
    assert_eq!(lane.call_off(before(3)), []);
    assert_eq!(lane.begin(30, PACE).unwrap().notices, [(4, 1)]);
}

#[test]
fn what_calls_off_does_not_overtake_the_call() {
    for met in [failed(None), Met::Taken] {
        let mut lane = Lane::default();
        lane.add(1, call(1, true));
        let attempt = lane.begin(0, PACE).unwrap();
        lane.add(2, call(1, false));
        lane.add(3, told(0));
        assert_eq!(lane.call_off(before(2)), [], "it is under way");
        let aside = lane.begin(0, PACE).unwrap();
        assert_eq!((&aside.notices[..], lane.begin(0, PACE)), (&[(3, 1)][..], None));
        assert_eq!(lane.due_ms(), None, "nothing is to do before it has ended");
        lane.end(&aside, &Met::Taken, (10, 0), PACE);
        let ended = lane.end(&attempt, &met, (20, 0), PACE);
        let is_dead = matches!(ended[0].outcome, Outcome::Dead { .. });
        assert_eq!(is_dead, met != Met::Taken, "{ended:?}");
        assert_eq!(lane.begin(20, PACE).unwrap().notices, [(2, 1)]);
    }
}
