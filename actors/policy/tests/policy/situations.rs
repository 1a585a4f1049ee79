//! Policies tried on situations: the timeline is what the ticket would do.

use fieldmesh_domain::escalation::Role;
use fieldmesh_policy::{
    Answer, Moment, Person, Responder, Situation, What, read_policies, simulate,
};
use proptest::{collection::vec, prelude::*};

use super::POLICIES;

fn timeline(name: &str, situation: &Situation) -> Vec<Moment> {
    let policies = read_policies(POLICIES, None).unwrap().value;
    simulate(&policies.entry(name).unwrap().policy(1), situation)
}

fn responder(distance_km: u32, answer: Answer) -> Responder {
    Responder { distance_m: distance_km * 1000, answer }
}

fn at(at_s: u64, what: What) -> Moment {
    Moment { at_s, what }
}

#[test]
fn nobody_answers() {
    let never = responder(10, Answer::Never);
    let situation = Situation {
        priority: 1,
        responders: vec![never, responder(40, Answer::Never)],
        people: vec![Person { name: "duty".into(), at_telling: 3, after_s: 30 }],
        until_s: 4000,
    };
    let step = |step, round| What::Step { step, round };
    let told = |role, name: &str| What::Told { role, name: name.into() };
    let dispatcher = || told(Role::Dispatcher, "duty");
    let moments = timeline("urgent", &situation);
    let people: Vec<&Moment> = moments
        .iter()
        .filter(|one| {
            matches!(one.what, What::Step { .. } | What::Told { .. } | What::Answered { .. })
        })
        .collect();
    let expected = [
        at(0, step(1, 0)),
        at(60, step(2, 0)),
        at(120, step(3, 0)),
        at(120, told(Role::Lead, "north-lead")),
        at(420, step(4, 0)),
        at(420, dispatcher()),
        at(1020, step(4, 1)),
        at(1020, dispatcher()),
        at(1620, step(4, 2)),
        at(1620, dispatcher()),
        at(1650, What::Answered { by: "duty".into() }),
        // Half an hour later it is told again.
        at(3450, step(4, 3)),
        at(3450, dispatcher()),
    ];
    let expected: Vec<&Moment> = expected.iter().collect();
    assert_eq!(people[..], expected[..], "{moments:#?}");
    // Those who sleep are asked all the while.
    let offers = moments.iter().filter(|one| matches!(one.what, What::Offered { .. })).count();
    assert!(offers > 10, "{offers}");
}

#[test]
fn the_third_accepts() {
    let answers = [Answer::Never, Answer::Declines { after_s: 5 }, Answer::Accepts { after_s: 7 }];
    let responders = answers.map(|answer| responder(1, answer)).to_vec();
    let situation = Situation { priority: 2, responders, people: vec![], until_s: 3600 };
    assert_eq!(
        timeline("urgent", &situation),
        [
            at(0, What::Step { step: 1, round: 0 }),
            at(0, What::Offered { technician: 1 }),
            at(120, What::Expired { technician: 1 }),
            at(120, What::Offered { technician: 2 }),
            at(125, What::Declined { technician: 2 }),
            at(125, What::Step { step: 2, round: 0 }),
            at(125, What::Offered { technician: 3 }),
            at(132, What::Accepted { technician: 3 }),
        ]
    );
}

#[test]
fn one_answers_after_the_other() {
    let person = |name: &str, at_telling| Person { name: name.into(), at_telling, after_s: 10 };
    let people = vec![person("north-lead", 1), person("duty", 1), person("duty", 2)];
    let situation = Situation { priority: 1, responders: vec![], people, until_s: 9000 };
    let moments = timeline("urgent", &situation);
    let answers = moments.iter().filter(|one| matches!(one.what, What::Answered { .. }));
    assert_eq!(answers.count(), 3, "{moments:#?}");
}

#[test]
fn several_are_asked_at_the_same_time() {
    let text = "[[policy]]\nname = \"a\"\n[[policy.step]]\noffer = { technicians = 4, at_once = 3 }\n\
                within = \"1m\"\n[[policy.step]]\ntell = { lead = \"l\" }\nwithin = \"1m\"\n\
                [[policy.step]]\nrepeat = { from = 1 }\n";
    let policy = read_policies(text, None).unwrap().value.entry("a").unwrap().policy(1);
    let try_with = |answers: [Answer; 4]| {
        let responders = answers.map(|answer| responder(1, answer)).to_vec();
        simulate(&policy, &Situation { priority: 2, responders, people: vec![], until_s: 70 })
    };
    let offered = |technician| at(0, What::Offered { technician });
    let first = [at(0, What::Step { step: 1, round: 0 }), offered(1), offered(2), offered(3)];
    let accepts = Answer::Accepts { after_s: 7 };
    let (never, declines) = (Answer::Never, Answer::Declines { after_s: 5 });
    let accepted =
        [at(5, What::Declined { technician: 1 }), at(7, What::Accepted { technician: 3 })];
    assert_eq!(try_with([declines, never, accepts, never]), [&first[..], &accepted].concat());
    // Whoever says nothing is asked no more, and the fourth is asked alone.
    let expired = |technician| at(60, What::Expired { technician });
    let rest = [expired(1), expired(2), expired(3), at(60, What::Offered { technician: 4 })];
    assert_eq!(try_with([never; 4]), [&first[..], &rest].concat());
}

proptest! {
    /// Whatever the situation: in order, bounded, and where nobody accepts and nobody answers a person is
    /// told at least each quarter of an hour once offers have ended.
    #[test]
    fn timelines_are_in_order_and_never_silent(
        priority in 0_u8..9,
        distances in vec((0_u32..100, 0_u8..3, 0_u64..400), 0..6),
    ) {
        let responders = distances.iter().map(|(km, answer, after_s)| {
            let after_s = *after_s;
            let answer = if *answer == 0 { Answer::Declines { after_s } } else { Answer::Never };
            responder(*km, answer)
        });
        let responders = responders.collect();
        let until_s = 8000;
        let moments = timeline("urgent", &Situation { priority, responders, people: vec![], until_s });
        prop_assert!(moments.windows(2).all(|pair| pair[0].at_s <= pair[1].at_s));
        let told: Vec<u64> = moments
            .iter()
            .filter(|one| matches!(one.what, What::Told { .. }))
            .map(|one| one.at_s)
            .collect();
        prop_assert!(told.windows(2).all(|pair| pair[1] - pair[0] <= 900), "{told:?}");
        prop_assert!(told.first().is_some_and(|first| *first <= 1500));
        let last = moments.len() >= fieldmesh_policy::MOMENTS_MAX;
        prop_assert!(last || told.last().is_some_and(|last| until_s - last <= 900));
    }
}
