//! Integrations and the customers that they report for: one ticket for each case, while it is open.

use fieldmesh_domain::{
    Command, Ctx, Effect, EntityId, RejectionCode, TimerName,
    customer::{self, Event as Happened, Spokesman},
    escalation::{Act, PRIORITIES, Policy, Role, Step},
    integration::{
        Command as Asked, Event, Facts, Integration, Kind, Label, Mapping, Profile, Reported,
        Severity,
    },
    message::Location,
    ticket::{self, Order, Party, Stage},
    time::Millis,
};
use proptest::prelude::*;

use crate::{
    alone::Laws,
    arbitrary::{customer_id, hash, location, millis, text},
    world::{self, Lived, World},
};

pub(crate) fn integration() -> EntityId {
    Integration::id_of("eu1".parse().unwrap(), &[3; 32])
}

fn profile() -> Profile {
    Profile {
        name: "mon".into(),
        kind: Kind::Alertmanager,
        customer: world::customer(0),
        mapping: Mapping {
            category: 1,
            subcategory: 2,
            location: None,
            severities: vec![
                Severity { name: "critical".into(), impact: 1, urgency: 1 },
                Severity { name: "warning".into(), impact: 2, urgency: 2 },
            ],
            labels: vec![Label {
                name: "team".into(),
                value: "doors".into(),
                category: 2,
                subcategory: 0,
            }],
        },
    }
}

fn facts(severities: &[&str], labels: &[(&str, &str)]) -> Facts {
    Facts {
        severities: severities.iter().map(|one| (*one).into()).collect(),
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        text: "it is down".into(),
    }
}

pub(crate) fn spokesman() -> impl Strategy<Value = Spokesman> {
    proptest::option::of(any::<bool>()).prop_map(|acknowledges| Spokesman {
        id: integration(),
        name: "mon".into(),
        acknowledges,
    })
}

pub(crate) fn reported() -> impl Strategy<Value = Reported> {
    (1_u16..4, 1_u8..=3, 1_u8..=3, proptest::option::of(location()), text()).prop_map(
        |(category, impact, urgency, location, text)| Reported {
            category,
            subcategory: 0,
            impact,
            urgency,
            location,
            text,
        },
    )
}

pub(crate) fn integration_command() -> BoxedStrategy<Asked> {
    let kind = || prop_oneof![Just(Kind::Alertmanager), Just(Kind::PagerDuty)];
    let key = || prop_oneof![Just([3; 32]), Just([4; 32])];
    let facts = || Just(facts(&["warning"], &[]));
    prop_oneof![
        3 => (customer_id(), kind(), key()).prop_map(|(customer, kind, key)| Asked::Register {
            profile: Profile { customer, kind, ..profile() },
            key,
            by: "op".into(),
        }),
        1 => Just(Asked::Revoke { by: "op".into() }),
        4 => (key(), kind(), hash(), facts())
            .prop_map(|(key, kind, case, facts)| Asked::Trigger { key, kind, case, facts }),
        2 => (key(), kind(), hash())
            .prop_map(|(key, kind, case)| Asked::Resolve { key, kind, case }),
        1 => (key(), kind(), hash())
            .prop_map(|(key, kind, case)| Asked::Acknowledge { key, kind, case }),
    ]
    .boxed()
}

pub(crate) fn integration_event() -> BoxedStrategy<Event> {
    prop_oneof![
        (customer_id(), hash(), millis()).prop_map(|(customer, key, at)| Event::Registered {
            profile: Profile { customer, ..profile() },
            key,
            by: "op".into(),
            at,
        }),
        millis().prop_map(|at| Event::Revoked { by: "op".into(), at }),
        (hash(), reported(), millis()).prop_map(|(case, reported, at)| Event::Triggered {
            case,
            reported,
            at
        }),
        (hash(), millis()).prop_map(|(case, at)| Event::Resolved { case, at }),
        (hash(), millis()).prop_map(|(case, at)| Event::Acknowledged { case, at }),
    ]
    .boxed()
}

impl Laws for Integration {
    fn moved_lawfully(&self, before: &Self) {
        assert!(self.is_revoked >= before.is_revoked);
        assert!(before.profile.is_none() || self.profile == before.profile);
        assert!(before.profile.is_none() || self.key == before.key);
    }

    /// A report that comes again is passed on again: its customer knows whether it is news.
    fn is_note(event: &Event) -> bool {
        matches!(
            event,
            Event::Triggered { .. } | Event::Resolved { .. } | Event::Acknowledged { .. }
        )
    }
}

fn asked(lived: &mut Lived<Integration>, command: Asked) -> Result<Vec<Effect>, RejectionCode> {
    let ctx = Ctx { now: Millis(9), id: integration(), rule_version: 1 };
    lived.ask(&command, &ctx).map_err(|rejection| rejection.code)
}

fn registered() -> Lived<Integration> {
    let mut lived = Lived::default();
    let register = Asked::Register { profile: profile(), key: [3; 32], by: "op".into() };
    asked(&mut lived, register).unwrap();
    lived
}

fn trigger(key: u8, facts: Facts) -> Asked {
    Asked::Trigger { key: [key; 32], kind: Kind::Alertmanager, case: [1; 32], facts }
}

#[test]
fn a_report_is_read_by_the_mapping() {
    let mut lived = registered();
    for (severities, labels, wanted) in [
        (&["warning", "critical"][..], &[("team", "doors")][..], (2, 0, 1, 1)),
        (&["warning"], &[("team", "lifts")], (1, 2, 2, 2)),
        (&["unheard"], &[], (1, 2, 3, 3)),
        (&[], &[], (1, 2, 3, 3)),
    ] {
        asked(&mut lived, trigger(3, facts(severities, labels))).unwrap();
        let Some(Event::Triggered { reported, .. }) = lived.events.last() else { panic!() };
        let Reported { category, subcategory, impact, urgency, .. } = *reported;
        assert_eq!((category, subcategory, impact, urgency), wanted, "{severities:?}");
    }
}

#[test]
fn nobody_reports_with_another_key_or_form_or_after_it_was_revoked() {
    let mut lived = registered();
    let report = || trigger(3, facts(&[], &[]));
    assert!(asked(&mut lived, report()).is_ok());
    assert_eq!(asked(&mut lived, trigger(4, facts(&[], &[]))), Err(RejectionCode::Denied));
    let other = Asked::Resolve { key: [3; 32], kind: Kind::PagerDuty, case: [1; 32] };
    assert_eq!(asked(&mut lived, other), Err(RejectionCode::Denied));
    asked(&mut lived, Asked::Revoke { by: "op".into() }).unwrap();
    assert_eq!(asked(&mut lived, report()), Err(RejectionCode::Denied));
    let unknown = &mut Lived::<Integration>::default();
    assert_eq!(asked(unknown, trigger(0, facts(&[], &[]))), Err(RejectionCode::Denied));
}

/// What an integration says to its customer arrives there.
fn passes(world: &mut World, lived: &mut Lived<Integration>, command: Asked) {
    for effect in asked(lived, command).unwrap() {
        if let Effect::Tell { to, command } = effect {
            world.ask(to, command);
        }
    }
    world.deliver_all();
}

fn resolve() -> Asked {
    Asked::Resolve { key: [3; 32], kind: Kind::Alertmanager, case: [1; 32] }
}

#[test]
fn a_case_is_one_ticket_until_it_is_over() {
    let (mut world, mut lived) = (World::new(&[]), registered());
    let report = || trigger(3, facts(&["critical"], &[]));
    passes(&mut world, &mut lived, report());
    passes(&mut world, &mut lived, report());
    assert_eq!(world.tickets.len(), 1);
    let first = world.ticket(0).unwrap();
    assert_eq!((world.stands(first).0, world.tickets[&first].state.priority), (Stage::Unfilled, 1));
    let customer = &world.customers[&world::customer(0)];
    let Some(Happened::Reported { by, ticket, body, .. }) =
        customer.events.iter().find(|event| matches!(event, Happened::Reported { .. }))
    else {
        panic!()
    };
    assert_eq!((by.id, by.name.as_str(), *ticket), (integration(), "mon", first));
    assert_eq!(body.location, Location::default(), "where the customer is");
    passes(&mut world, &mut lived, resolve());
    assert_eq!(world.stands(first).0, Stage::Cancelled);
    let by = world.tickets[&first].events.iter().rev().find_map(|event| match event {
        ticket::Event::Ordered { by, order: Order::Cancel { .. }, .. } => Some(by.clone()),
        _ => None,
    });
    assert_eq!(by, Some(Party::Integration("mon".into())));
    passes(&mut world, &mut lived, resolve());
    passes(&mut world, &mut lived, report());
    assert_eq!(world.tickets.len(), 2, "another ticket");
    // A ticket that ends otherwise ends its case.
    let second = world.tickets.keys().copied().find(|ticket| *ticket != first).unwrap();
    world.order(second, Order::Cancel { reason: String::new() });
    world.deliver_all();
    passes(&mut world, &mut lived, report());
    assert_eq!(world.tickets.len(), 3);
    world.replay_equals_live();
}

/// Whoever acknowledges an alarm in the sender's system knows of the ticket.
#[test]
fn an_alarm_that_somebody_acknowledges_is_answered_and_its_ticket_goes_on() {
    let tell = Act::Tell { role: Role::Dispatcher, name: "duty".into() };
    let steps = [tell, Act::Repeat { from: 0 }];
    let steps = steps.map(|act| Step { act, within_s: vec![60; PRIORITIES] }).into();
    let mut world = World::new(&[]);
    world.policy = Some(Policy { name: "p".into(), version: 1, steps });
    let mut lived = registered();
    let acknowledge =
        || Asked::Acknowledge { key: [3; 32], kind: Kind::Alertmanager, case: [1; 32] };
    // What nobody reported nobody acknowledges.
    passes(&mut world, &mut lived, acknowledge());
    assert_eq!(world.tickets.len(), 0);
    passes(&mut world, &mut lived, trigger(3, facts(&["critical"], &[])));
    let ticket = world.ticket(0).unwrap();
    let answered = |world: &World| {
        let escalation = world.state(ticket).escalation.clone().unwrap();
        (escalation.answered_by, escalation.due.unwrap())
    };
    assert_eq!(answered(&world).0, None);
    let half_an_hour = (Some("mon".to_owned()), world.now.after_s(1800));
    passes(&mut world, &mut lived, acknowledge());
    assert_eq!(answered(&world), half_an_hour);
    world.now = world.now.after_s(60);
    passes(&mut world, &mut lived, acknowledge());
    assert_eq!(answered(&world), half_an_hour, "it is known already");
    // Who forgets is told again, and may answer again.
    world.now = half_an_hour.1;
    let generation = world.state(ticket).escalation.as_ref().unwrap().generation;
    let name = TimerName::Escalation;
    let timer = ticket::Command::Timer { name, generation, marks: None };
    world.ask(ticket, Command::Ticket(timer));
    assert_eq!(answered(&world).0, None);
    passes(&mut world, &mut lived, acknowledge());
    assert_eq!(answered(&world).0, half_an_hour.0);
    // The case is the same one until it is over.
    passes(&mut world, &mut lived, trigger(3, facts(&["critical"], &[])));
    assert_eq!(world.tickets.len(), 1);
    passes(&mut world, &mut lived, resolve());
    assert_eq!(world.stands(ticket).0, Stage::Cancelled);
    world.replay_equals_live();
}

#[test]
fn work_that_is_done_when_the_alarm_is_over_is_confirmed() {
    let (mut world, mut lived) = (World::new(&crate::saga::hands(1)), registered());
    passes(&mut world, &mut lived, trigger(3, facts(&["critical"], &[])));
    let ticket = world.ticket(0).unwrap();
    world.accepts(0, ticket, 1);
    world.deliver_all();
    let note = "a fuse".to_owned();
    world.says(0, ticket, 1, fieldmesh_domain::message::Answer::Completed { note });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Completed);
    passes(&mut world, &mut lived, resolve());
    assert_eq!(world.stands(ticket).0, Stage::Closed);
}

#[test]
fn a_suspended_customer_gets_no_tickets() {
    let (mut world, mut lived) = (World::new(&[]), registered());
    world.ask(world::customer(0), Command::Customer(customer::Command::Suspend { by: None }));
    passes(&mut world, &mut lived, trigger(3, facts(&[], &[])));
    assert!(world.tickets.is_empty());
}
