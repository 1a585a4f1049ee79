//! What must hold of a ticket under terms that nobody is sought for: one that a silence holds, and one that
//! somebody accepted and nothing is heard of.

use fieldmesh_domain::{
    IndexRow,
    escalation::Role,
    message::{Amendment, Location},
    notifier::{Recipient, What},
    ticket::{Command, Event, Order, Party, Progress, Stage, Terms},
};

use crate::{
    terms::{Alone, START, offer, open, policy, repeat, silence, tell},
    world::{customer, technician},
};

#[test]
fn a_silence_ends_and_the_ticket_goes_on() {
    let terms = || Terms { silence: Some(silence(600)), ..Terms::default() };
    let mut alone = Alone::opened(terms());
    assert_eq!((alone.ticket.stage, alone.ticket.due), (Stage::Held, START.after_s(600)));
    // At its end it asks, and again where nobody says anything.
    for _ in 0..2 {
        alone.fire_next();
        let Some(Command::Reconsider { subject, silence: None }) = alone.told_itself.pop() else {
            panic!()
        };
        assert_eq!((subject.category, subject.priority), (1, 3));
    }
    let subject = alone.told_itself.pop();
    assert_eq!(subject, None);
    alone.ask(&Command::SilencesChanged);
    let Some(Command::Reconsider { subject, .. }) = alone.told_itself.pop() else { panic!() };
    // Another one lasts longer, and ends too.
    alone.ask(&Command::Reconsider { subject: subject.clone(), silence: Some(silence(9000)) });
    assert_eq!((alone.ticket.stage, alone.ticket.due), (Stage::Held, START.after_s(9000)));
    alone.ask(&Command::Reconsider { subject, silence: None });
    assert_eq!((alone.ticket.stage, alone.ticket.silence.clone()), (Stage::Matching, None));
    // An operator is above a silence.
    let mut other = Alone::opened(terms());
    other.order(Order::Resume);
    assert_eq!(other.ticket.stage, Stage::Matching);
    // One that is over already holds nothing.
    let mut late = Alone::new();
    late.now = START.after_s(600);
    late.ask(&open(terms()));
    assert_eq!(late.ticket.stage, Stage::Matching);
}

/// Both whoever looks for silences and the desk hear of the place that it has by then.
#[test]
fn what_is_amended_under_a_silence_counts_when_it_ends() {
    let terms = Terms { silence: Some(silence(600)), ..Terms::default() };
    let mut alone = Alone::opened(terms);
    let location = Location { lat_e6: 1_000, lon_e6: 2_000 };
    let amended = Amendment { location: Some(location), ..Amendment::default() };
    alone.order(Order::Amend(amended));
    assert_eq!((alone.ticket.stage, alone.need.as_ref()), (Stage::Held, None));
    alone.fire_next();
    let Some(Command::Reconsider { subject, silence: None }) = alone.told_itself.pop() else {
        panic!()
    };
    assert_eq!(subject.location, location);
    alone.ask(&Command::Reconsider { subject, silence: None });
    assert_eq!(alone.need.as_ref().map(|(need, _)| need.location), Some(location));
}

/// The storm is there before the window is opened.
#[test]
fn a_silence_that_begins_holds_what_somebody_is_sought_for() {
    let steps = vec![offer(1, None, 60), tell(Role::Lead, "lead", 300), repeat(1)];
    let terms = || Terms { policy: Some(policy(steps.clone())), ..Terms::default() };
    let begins = |alone: &mut Alone| {
        let (subject, silence) = (alone.ticket.subject(), Some(silence(9000)));
        alone.ask(&Command::Reconsider { subject, silence })
    };
    let ways: [fn(&mut Alone); 3] =
        [|_| (), |alone| drop(alone.offer_to(0)), |alone| drop(alone.nobody_fits())];
    for way in ways {
        let mut alone = Alone::opened(terms());
        way(&mut alone);
        let had = alone.ticket.technician;
        let events = begins(&mut alone);
        assert_eq!((alone.ticket.stage, alone.ticket.due), (Stage::Held, START.after_s(9000)));
        assert_eq!((alone.ticket.technician, alone.at()), (None, None));
        assert_eq!(alone.timers.len(), 1, "nothing but its end is waited for");
        let taken_back = events.iter().find_map(|event| match event {
            Event::TakenBack { technician, was_promised: false, .. } => Some(*technician),
            _ => None,
        });
        assert_eq!(taken_back, had);
    }
    // Whoever was told of the search hears why it is over.
    let mut alone = Alone::opened(terms());
    alone.nobody_fits();
    begins(&mut alone);
    let lead = Recipient::Person("lead".into());
    let told: Vec<_> = alone.told.iter().filter(|notice| notice.to == lead).collect();
    assert_eq!(
        told.iter().map(|notice| notice.what).collect::<Vec<_>>(),
        [What::Escalated, What::Held]
    );
    // A promise counts, and so does an operator's word.
    let mut accepted = Alone::opened(terms());
    accepted.offer_to(0);
    let (technician, offer) = (technician(0), accepted.current());
    accepted.ask(&Command::Accept { technician, offer, name: "n".into(), eta_min: 5 });
    assert_eq!(begins(&mut accepted), []);
    let mut pinned = Alone::opened(terms());
    pinned.offer_to(0);
    pinned.order(Order::Pin);
    assert_eq!(begins(&mut pinned), []);
    let mut resumed = Alone::opened(Terms { silence: Some(silence(600)), ..terms() });
    resumed.order(Order::Resume);
    assert_eq!((begins(&mut resumed), resumed.ticket.stage), (vec![], Stage::Matching));
}

/// Whoever orders that in a window knows of it, however much is ordered later.
#[test]
fn what_an_operator_wants_somebody_for_is_not_held_by_a_silence() {
    let steps = vec![offer(1, None, 60), tell(Role::Lead, "lead", 300), repeat(1)];
    let terms = || Terms { policy: Some(policy(steps.clone())), ..Terms::default() };
    let begins = |alone: &mut Alone| {
        let (subject, silence) = (alone.ticket.subject(), Some(silence(9000)));
        alone.ask(&Command::Reconsider { subject, silence })
    };
    let reason = String::new;
    let orders = [
        Order::Reassign { to: Some(technician(1)), reason: reason() },
        Order::Move { to: technician(1), epoch: 1, reason: reason() },
        Order::Reassign { to: None, reason: reason() },
        Order::Escalate,
    ];
    for order in orders {
        let mut alone = Alone::opened(terms());
        alone.offer_to(0);
        assert_ne!(alone.order(order.clone()), [], "{order:?}");
        for number in 0..20 {
            let priority = Some(2 + number % 2);
            alone.order(Order::Amend(Amendment { priority, ..Amendment::default() }));
        }
        assert_eq!(begins(&mut alone), [], "{order:?}");
        // As long as some node does not know of that it is as it was.
        let mut alone = Alone::opened(terms());
        alone.marks = None;
        alone.offer_to(0);
        alone.order(order);
        begins(&mut alone);
        assert_eq!(alone.ticket.stage, Stage::Held);
    }
    // What a customer wants is no word on silences.
    let mut alone = Alone::opened(terms());
    alone.ask(&Command::Cancel);
    let (by, id, marks) = (Party::Customer(customer(0)), [9; 16], Some(true));
    alone.ask(&Command::Order { order: Order::Reopen { reason: reason() }, by, id, marks });
    assert_eq!(alone.ticket.stage, Stage::Matching);
    begins(&mut alone);
    assert_eq!(alone.ticket.stage, Stage::Held);
}

/// Whoever accepted and is not heard of again is no answer for ever: the policy's first person is told, each hour.
#[test]
fn the_first_person_of_the_policy_hears_of_work_that_nothing_is_heard_of() {
    let steps = vec![
        offer(1, None, 60),
        tell(Role::Webhook, "hook", 60),
        tell(Role::Lead, "lead", 300),
        repeat(2),
    ];
    let mut alone = Alone::opened(Terms { policy: Some(policy(steps)), ..Terms::default() });
    alone.offer_to(0);
    let (technician, offer) = (technician(0), alone.current());
    alone.ask(&Command::Accept { technician, offer, name: "n".into(), eta_min: 5 });
    let told = |alone: &Alone| -> Vec<(Recipient, [u8; 16])> {
        let late = alone.told.iter().filter(|notice| notice.what == What::Overdue);
        late.map(|notice| (notice.to.clone(), notice.id)).collect()
    };
    assert_eq!(told(&alone), []);
    for count in 1..=2 {
        alone.fire_next();
        let lead: Vec<_> =
            told(&alone).into_iter().filter(|(to, _)| *to != Recipient::Subscribers).collect();
        assert!(lead.iter().all(|(to, _)| *to == Recipient::Person("lead".into())), "{lead:?}");
        assert_eq!(lead.len(), count);
        let ids: std::collections::BTreeSet<_> = lead.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), count, "each hour is another notice");
    }
    let detail = &alone.told.last_chunk::<2>().unwrap()[0].detail;
    assert!(detail.contains(&technician.to_string()), "{detail}");
    alone.ask(&Command::Progress { technician, offer, progress: Progress::OnSite });
    let Some(IndexRow::Ticket { standing, .. }) = &alone.row else { panic!() };
    assert_eq!(standing.and_then(|standing| standing.overdue_since), None);
}
