//! Fairness over many choices: who is new, or was away for long, is no reason to give everything to it.
//!
//! All live in one place, so that nothing but fairness tells them apart, and each ticket is done before the next
//! comes. **Not here:** what fairness costs beside the way (`choosing`).

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Aggregate, Ctx, EntityId, EntityKind,
    desk::{Command, Desk, Event, Known, Summary},
    message::Location,
    selection::Need,
    technician::Skill,
    time::Millis,
};
use proptest::{collection::vec, prelude::*};

use crate::world::{self, technician};

/// Choices for each technician on average.
const AVERAGE: u32 = 20;

fn desk(assigned: &[u32], gathers: bool) -> Desk {
    let skills = vec![Skill::new(1, 1)];
    let summary = Summary { on_shift: true, skills, capacity: 1, ..Summary::default() };
    let known = |assigned| Known { summary: summary.clone(), assigned, ..Known::default() };
    let numbered = (0..).map(technician).zip(assigned.iter().map(|one| known(*one)));
    let mut desk = Desk { technicians: numbered.collect(), ..Desk::default() };
    if gathers {
        ask(&mut desk, &Command::Gather, Millis(0));
    }
    desk
}

fn ask(desk: &mut Desk, command: &Command, now: Millis) -> Vec<Event> {
    let ctx = Ctx { now, id: world::desk(), rule_version: 1 };
    let events = desk.decide(command, &ctx).unwrap();
    events.iter().for_each(|event| desk.evolve(event));
    events
}

/// How often each was chosen.
fn chosen(desk: &mut Desk, choices: u32) -> BTreeMap<EntityId, u32> {
    let mut counts: BTreeMap<EntityId, u32> = desk.technicians.keys().map(|id| (*id, 0)).collect();
    for number in 0..choices {
        let mut random = [0; 10];
        random[..4].copy_from_slice(&number.to_be_bytes());
        let ticket = EntityId::new(EntityKind::Ticket, world::desk().region(), random);
        let need = Need::plain(1, 3, Location::default(), vec![]);
        // So far apart that each has room for itself.
        let now = Millis(u64::from(number) * 5_000);
        let events = ask(desk, &Command::Match { ticket, need, question: 1, pace: None }, now);
        let [Event::Chosen { technician, .. }] = events.as_slice() else { panic!("{events:?}") };
        *counts.get_mut(technician).unwrap() += 1;
        ask(desk, &Command::Done { ticket }, now);
    }
    counts
}

proptest! {
    #![proptest_config(crate::cases(200))]

    #[test]
    fn nobody_gets_more_than_twice_or_less_than_a_quarter_of_the_average(
        (newcomers, veterans) in (1_usize..4, vec(0_u32..5_000, 1..6)),
        gathers in any::<bool>(),
    ) {
        let mut assigned = veterans;
        assigned.extend(vec![0; newcomers]);
        let mut desk = desk(&assigned, gathers);
        let counts = chosen(&mut desk, AVERAGE * assigned.len() as u32);
        for (technician, count) in &counts {
            let is_fair = (AVERAGE / 4..=AVERAGE * 2).contains(count);
            prop_assert!(is_fair, "{technician}: {counts:?} of {assigned:?}");
        }
    }
}

#[test]
fn who_is_new_has_ten_tickets_made_up_for() {
    let mut desk = desk(&[1_000, 1_000, 0], true);
    let counts: Vec<u32> = chosen(&mut desk, 40).into_values().collect();
    // Once for coming, nine times until it has as many; the others have the lower identifiers then.
    assert_eq!(counts, [10, 10, 20]);
}
