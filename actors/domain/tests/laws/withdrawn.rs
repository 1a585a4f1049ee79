//! Whoever was told that nobody has accepted a ticket is told, once, that it is over.

use fieldmesh_domain::{
    Command, Ctx, EntityId,
    escalation::{Act, PRIORITIES, Policy, Position, Role, Step},
    message::Answer,
    notifier::{self, Notice, Notifier, Recipient, Subscription, What},
    ticket::{self, Order, Stage},
};
use proptest::prelude::*;

use crate::{
    saga::hands,
    terms::any_policy,
    world::{Lived, World, technician},
};

fn tell(role: Role, name: &str) -> Act {
    Act::Tell { role, name: name.into() }
}

/// Technicians, the lead, the dispatcher and a wallboard, and then the dispatcher again.
fn policy() -> Policy {
    let offer = Act::Offer { technicians: 9, radius_m: None, at_once: None };
    let told = [
        tell(Role::Lead, "lead"),
        tell(Role::Dispatcher, "duty"),
        tell(Role::Webhook, "board"),
        Act::Repeat { from: 2 },
    ];
    let steps = [offer].into_iter().chain(told);
    let steps = steps.map(|act| Step { act, within_s: vec![60; PRIORITIES] });
    Policy { name: "p".into(), version: 1, steps: steps.collect() }
}

/// A ticket whose policy is so many steps on.
fn searched(steps: usize) -> (World, EntityId) {
    let mut world = World::new(&hands(2));
    world.policy = Some(policy());
    let ticket = world.request(0, 1, 1);
    world.deliver_all();
    for _ in 0..steps {
        world.order(ticket, Order::Escalate);
        world.deliver_all();
    }
    (world, ticket)
}

impl World {
    /// What those whom the policy tells were told that is not a call to act.
    fn ended(&self) -> Vec<&Notice> {
        let named = self.told.iter().filter(|notice| notice.to != Recipient::Subscribers);
        named.filter(|notice| notice.what != What::Escalated).collect()
    }
}

fn names(told: &[&Notice], what: What) -> Vec<String> {
    assert!(told.iter().all(|notice| notice.what == what), "{told:?}");
    told.iter().map(|notice| notice.to.name().to_owned()).collect()
}

#[test]
fn whoever_was_told_hears_who_has_accepted_and_the_others_nothing() {
    for (steps, wanted) in [
        (0, &[][..]),
        (1, &["lead"][..]),
        (2, &["lead", "duty"][..]),
        // Told twice, and told once that it is over.
        (6, &["lead", "duty", "board"][..]),
    ] {
        let (mut world, ticket) = searched(steps);
        assert!(world.ended().is_empty());
        world.accepts(0, ticket, 1);
        world.deliver_all();
        let told = world.ended();
        assert_eq!(names(&told, What::Accepted), wanted, "{steps}");
        for notice in told {
            assert_eq!((notice.ticket, notice.stage), (ticket, Stage::Accepted));
            // Rows of notices are stored in plain: a number, and nobody's name.
            let id = technician(0).to_string();
            assert!(notice.detail.contains(&id), "{notice:?}");
            assert!(!notice.detail.contains("technician 0"), "{notice:?}");
        }
        // Progress is no news for them.
        let count = world.ended().len();
        world.says(0, ticket, 1, Answer::EnRoute);
        world.deliver_all();
        assert_eq!(world.ended().len(), count);
    }
}

#[test]
fn whatever_ends_the_search_is_said_with_its_reason() {
    let until = searched(0).0.now.after_s(3600);
    let so = || "so".to_owned();
    for (order, what) in [
        (Order::Cancel { reason: so() }, What::Cancelled),
        (Order::Hold { until, reason: so() }, What::Held),
    ] {
        let (mut world, ticket) = searched(1);
        world.order(ticket, order.clone());
        world.deliver_all();
        assert_eq!(names(&world.ended(), what), ["lead"], "{order:?}");
        let detail = world.ended()[0].detail.clone();
        assert!(detail.contains("nobody is sought any more"), "{detail}");
        // It is said once, however often something is told to the ticket.
        world.ask(ticket, Command::Ticket(ticket::Command::Rearm));
        assert_eq!(world.ended().len(), 1);
    }
}

/// A target that the policy names and that subscribes besides is told once, with what the policy says.
#[test]
fn whoever_subscribes_besides_is_told_of_the_end_once() {
    let until = searched(0).0.now.after_s(3600);
    let hold = Order::Hold { until, reason: "so".into() };
    let cancel = Order::Cancel { reason: "so".into() };
    for (order, what) in
        [(None, What::Accepted), (Some(hold), What::Held), (Some(cancel), What::Cancelled)]
    {
        let (mut world, ticket) = searched(3);
        match order {
            None => world.accepts(0, ticket, 1),
            Some(order) => drop(world.order(ticket, order)),
        }
        world.deliver_all();
        let ids = world.told.iter().filter(|notice| notice.what == what).map(|notice| notice.id);
        let ids: Vec<_> = ids.collect();
        assert_eq!(ids.len(), 4, "three that were told, and the subscribers");
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let mut notifier = Lived::<Notifier>::default();
        let to = EntityId::notifier(ticket.region());
        let ctx = Ctx { now: world.now, id: to, rule_version: 1 };
        let lead = Recipient::Person("lead".into());
        let targets = vec![Subscription { to: lead.clone(), kinds: u64::MAX }];
        notifier.ask(&notifier::Command::Targets { version: 1, targets }, &ctx).unwrap();
        for notice in &world.told {
            notifier.ask(&notifier::Command::Tell(notice.clone()), &ctx).unwrap();
        }
        let told = notifier.events.iter().filter_map(|event| match event {
            notifier::Event::Told { to, notice, .. } if *to == lead && notice.what == what => {
                Some(notice.detail.as_str())
            }
            _ => None,
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].is_empty());
    }
}

#[test]
fn a_search_that_begins_anew_is_another_one() {
    let (mut world, ticket) = searched(1);
    world.accepts(0, ticket, 1);
    world.says(0, ticket, 1, Answer::CannotComplete { reason: "no part".into() });
    world.deliver_all();
    assert_eq!(names(&world.ended(), What::Accepted), ["lead"]);
    let epoch = world.stands(ticket).2;
    world.accepts(1, ticket, epoch);
    world.deliver_all();
    assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(1)), epoch));
    assert_eq!(world.ended().len(), 1, "nobody was told of the second one");
    // Of a third one the lead is, and hears the end of it: another notice than the first.
    world.says(1, ticket, epoch, Answer::CannotComplete { reason: "no part".into() });
    world.deliver_all();
    world.order(ticket, Order::Escalate);
    world.order(ticket, Order::Cancel { reason: "so".into() });
    world.deliver_all();
    let ended = world.ended();
    let lead: Vec<_> = ended.iter().filter(|notice| notice.to.name() == "lead").collect();
    let what: Vec<_> = lead.iter().map(|notice| notice.what).collect();
    assert_eq!(what, [What::Accepted, What::Cancelled], "{ended:?}");
    assert_ne!(lead[0].id, lead[1].id);
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// However a policy is stored and how far it is: those whom it told are known, each once.
    #[test]
    fn whoever_was_told_on_the_way_is_known(policy in any_policy(), moves in 0_usize..200) {
        let (mut at, mut told) = (Position::default(), vec![]);
        for moved in 0..=moves {
            if let Some(Act::Tell { role, name }) = policy.act(at) {
                told.push((*role, name.clone()));
            }
            if moved < moves {
                at = policy.after(at);
            }
        }
        told.sort_by_key(|(role, name)| (*role as u8, name.clone()));
        told.dedup();
        let mut known: Vec<_> =
            policy.told(at).into_iter().map(|(role, name)| (role, name.to_owned())).collect();
        known.sort_by_key(|(role, name)| (*role as u8, name.clone()));
        prop_assert_eq!(known, told);
    }
}
