//! Technicians of the model keep their word, their order and their hours.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use fieldmesh_domain::EntityKind;
use proptest::prelude::*;

use super::*;

/// A Monday at eight.
const MONDAY: Minute = (16_860 * 24 + 8) * 60;
const ALWAYS: Parameters = Parameters { decline_percent: 0, misfit_percent: 0, work_minutes: 60 };

fn ticket(number: usize) -> EntityId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), random)
}

fn job(number: usize, priority: u8) -> Job {
    Job {
        number,
        ticket: ticket(number),
        offer: OfferId { epoch: 1, seq: 0 },
        alert: [0; 16],
        priority,
        place: Location { lat_e6: 48_500_000, lon_e6: 2_000_000 + 1_000 * number as i32 },
        subject: (7, 1),
    }
}

fn field(parameters: Parameters, people: usize) -> Field {
    let home = Location { lat_e6: 48_500_000, lon_e6: 2_500_000 };
    Field::new(parameters, (0..people).map(|_| (home, BTreeSet::new())))
}

/// All that is said, each with its minute.
fn run(field: &mut Field) -> Vec<(Minute, Say)> {
    let mut said = Vec::new();
    while let Some(now) = field.next() {
        said.extend(field.say(now).into_iter().map(|say| (now, say)));
    }
    said
}

#[test]
fn the_urgent_is_first_and_the_rest_waits_for_the_shift() {
    let mut field = field(ALWAYS, 2);
    // Saturday morning; the second technician's shift begins at eight.
    let saturday = MONDAY + 5 * 24 * 60;
    field.alerted(saturday, 1, job(1, 3));
    field.alerted(saturday, 1, job(2, 1));
    let said = run(&mut field);
    let words: Vec<(usize, Word)> =
        said.iter().map(|(_, say)| (say.job.number, say.word)).collect();
    let is_accept = |word: &Word| matches!(word, Word::Accept { .. });
    assert!(words[0].0 == 2 && is_accept(&words[0].1), "{words:?}");
    assert_eq!(words[1..4], [(2, Word::EnRoute), (2, Word::OnSite), (2, Word::Completed)]);
    assert!(words[4].0 == 1 && is_accept(&words[4].1), "{words:?}");
    let monday = saturday + 2 * 24 * 60;
    assert!(said[3].0 < saturday + 24 * 60 && said[4].0 > monday, "{said:?}");
    assert_eq!(words[5..], [(1, Word::EnRoute), (1, Word::OnSite), (1, Word::Completed)]);
}

#[test]
fn a_ticket_that_is_lost_on_the_road_makes_room_for_the_next() {
    let mut field = field(ALWAYS, 1);
    let tuesday = MONDAY + 24 * 60;
    field.alerted(tuesday, 0, job(1, 3));
    field.alerted(tuesday, 0, job(2, 3));
    let mut on_the_road = None;
    while on_the_road.is_none() {
        let now = field.next().unwrap();
        on_the_road = field.say(now).into_iter().find(|say| say.word == Word::EnRoute);
    }
    let lost = on_the_road.unwrap().job.number;
    field.lost(field.next().unwrap(), 0, ticket(lost));
    let rest = run(&mut field);
    assert!(
        rest.iter()
            .all(|(_, say)| say.job.number != lost || matches!(say.word, Word::Accept { .. }))
    );
    assert_eq!(rest.last().map(|(_, say)| say.word), Some(Word::Completed));
}

/// Many are said at a time, and the service may hear the second first.
#[test]
fn nothing_is_said_of_a_ticket_together_with_its_acceptance() {
    let mut field = field(ALWAYS, 1);
    let (tuesday, mut next, mut said) = (MONDAY + 24 * 60, 0, 0);
    for step in 0..4_000 {
        let now = tuesday + step * drive::STEP;
        if step % 4 == 0 && next < 200 {
            field.alerted(now, 0, job(next, 4 - (next % 3) as u8));
            next += 1;
        }
        let words = field.say(now);
        let tickets: BTreeSet<EntityId> = words.iter().map(|say| say.job.ticket).collect();
        assert_eq!(tickets.len(), words.len(), "{words:?}");
        said += words.len();
    }
    assert!(said > 400, "{said}");
}

#[test]
fn declines_and_undone_visits_are_as_frequent_as_was_said() {
    let parameters = Parameters { decline_percent: 20, misfit_percent: 50, work_minutes: 60 };
    let mut field = field(parameters, 1);
    for number in 0..2_000 {
        field.alerted(MONDAY, 0, job(number, 1));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, say) in run(&mut field) {
        let name = match say.word {
            Word::Decline => "declined",
            Word::CannotComplete => "undone",
            Word::Completed => "completed",
            Word::Accept { .. } | Word::EnRoute | Word::OnSite => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), 2_000);
    // Three standard deviations of draws with these chances.
    assert!(counts["declined"].abs_diff(400) < 54, "{counts:?}");
    assert!(counts["undone"].abs_diff(800) < 66, "{counts:?}");
}

proptest! {
    #[test]
    fn people_do_one_thing_at_a_time_and_finish_it(
        offers in prop::collection::vec((0_usize..3, 1_u8..=5, 0_u64..20_000), 1..40),
        decline_percent in 0_u32..100,
    ) {
        let parameters = Parameters { decline_percent, misfit_percent: 30, work_minutes: 40 };
        let (mut field, mut again) = (field(parameters, 3), field(parameters, 3));
        for (number, (who, priority, later)) in offers.iter().enumerate() {
            for field in [&mut field, &mut again] {
                field.alerted(MONDAY + later, *who, job(number, *priority));
            }
        }
        let said = run(&mut field);
        prop_assert_eq!(&said, &run(&mut again), "the same calls lead to the same words");
        let mut hands: BTreeMap<usize, (usize, Word)> = BTreeMap::new();
        let (mut ended, mut last) = (0, 0);
        for (now, Say { who, job, word }) in said {
            prop_assert!(now >= last);
            last = now;
            match word {
                Word::Accept { .. } => {}
                Word::Decline => ended += 1,
                Word::EnRoute => prop_assert_eq!(hands.insert(who, (job.number, word)), None),
                Word::OnSite => {
                    prop_assert_eq!(hands.insert(who, (job.number, word)), Some((job.number, Word::EnRoute)));
                }
                Word::Completed | Word::CannotComplete => {
                    prop_assert_eq!(hands.remove(&who), Some((job.number, Word::OnSite)));
                    ended += 1;
                }
            }
        }
        prop_assert_eq!(ended, offers.len());
        prop_assert!(hands.is_empty());
    }
}
