//! What rules say of tickets, step by step: priority, skills, holds, and keys that tickets have in common.

use fieldmesh_domain::{
    Command, EntityId,
    desk::{self, Bond, Key},
    message::Answer,
    notifier::{Notice, Recipient, What},
    technician::Skill,
    ticket::{self, Acted, Event, Failed, Hold, Order, ParentWord, Silence, Stage, Triage},
};

use crate::{
    saga::hands,
    world::{World, customer, desk, technician},
};

const MINUTE_S: u64 = 60;
/// The desk has so long to say what has the same key.
const COMPARE_LIFE_S: u64 = 20;

fn key(number: u8, bond: Bond) -> Key {
    Key { hash: [number; 16], bond }
}

fn grouping() -> Triage {
    Triage { keys: vec![key(1, Bond::Group)], ..Triage::default() }
}

fn same_within(minutes: u32) -> Triage {
    let bond = Bond::Duplicate { window_s: minutes * 60 };
    Triage { keys: vec![key(1, bond)], ..Triage::default() }
}

/// A world whose rules say this of every ticket.
fn ruled(technicians: usize, triage: Triage) -> World {
    let mut world = World::new(&hands(technicians));
    world.triages = vec![triage];
    world
}

impl World {
    fn opens(&mut self, customer: u8) -> EntityId {
        let ticket = self.request(customer, 1, 3);
        self.deliver_all();
        ticket
    }

    fn is_silent(&self, ticket: EntityId) -> bool {
        self.state(ticket).ruled.as_ref().unwrap().is_silent
    }

    fn parent(&self, ticket: EntityId) -> Option<EntityId> {
        self.state(ticket).parent.as_ref().map(|parent| parent.id)
    }

    /// The keys that the desk keeps.
    fn keys(&self) -> usize {
        let claims = self.desk.state.claims.clone().unwrap_or_default();
        claims.joined.len() + claims.silenced.len()
    }

    fn completes(&mut self, ticket: EntityId, number: u8) {
        let epoch = self.state(ticket).epoch;
        self.accepts(number, ticket, epoch);
        self.says(number, ticket, epoch, Answer::Completed { note: "new valve".into() });
        self.deliver_all();
    }

    fn closes(&mut self, ticket: EntityId, number: u8) {
        self.completes(ticket, number);
        self.order(ticket, Order::Confirm);
        self.deliver_all();
    }
}

#[test]
fn a_rule_sets_the_priority_in_its_range_and_the_ticket_keeps_what_was_said() {
    for (said, priority) in [(Some(1), 1), (Some(5), 5), (None, 3), (Some(0), 3), (Some(6), 3)] {
        let triage = Triage { version: 7, priority: said, ..Triage::default() };
        let mut world = ruled(1, triage.clone());
        // Without a rule: impact 1 and urgency 3, of a customer whose tier is not the best.
        let ticket = world.opens(1);
        assert_eq!(world.state(ticket).priority, priority);
        let triage = Some(Box::new(triage));
        assert!(world.tickets[&ticket].events.contains(&Event::Triaged { priority, triage }));
        assert_eq!(world.stands(ticket).0, Stage::Offered);
    }
}

#[test]
fn only_a_technician_with_the_required_skill_is_offered_the_ticket() {
    let mut hands = hands(2);
    hands[1].skills.push(Skill::new(9, 3));
    let mut world = World::new(&hands);
    let skills = |level| vec![Skill::new(9, level)];
    world.triages = vec![Triage { skills: skills(3), ..Triage::default() }];
    let ticket = world.opens(0);
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(1)), 1));
    world.triages = vec![Triage { skills: skills(4), ..Triage::default() }];
    let ticket = world.opens(0);
    assert_eq!(world.stands(ticket).0, Stage::Unfilled);
    let Some(Event::Unfilled { choice, .. }) = world.tickets[&ticket].events.last() else {
        panic!("nobody fits")
    };
    let lacking = |number| (technician(number), Skill::new(9, 4));
    let mut told = choice.lacking.clone().unwrap();
    told.sort_by_key(|(id, _)| *id);
    let mut wanted = vec![lacking(0), lacking(1)];
    wanted.sort_by_key(|(id, _)| *id);
    assert_eq!(told, wanted);
}

#[test]
fn a_rule_holds_a_ticket_for_its_time() {
    let hold = Some(Hold { minutes: 90, reason: "by day".into() });
    let mut world = ruled(1, Triage { hold, ..Triage::default() });
    let ticket = world.opens(0);
    assert_eq!(world.stands(ticket).0, Stage::Held);
    assert_eq!(world.timers[&ticket].1, world.now.after_s(90 * MINUTE_S));
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Offered);
}

#[test]
fn tickets_of_one_key_wait_under_the_first_and_end_with_it() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    assert_eq!((world.stands(first).0, world.keys()), (Stage::Offered, 1));
    let others = [world.opens(1), world.opens(0)];
    for other in others {
        assert_eq!(world.stands(other).0, Stage::Grouped);
        assert_eq!(world.parent(other), Some(first));
        assert!(!world.is_silent(other));
    }
    world.closes(first, 0);
    assert_eq!(others.map(|other| world.stands(other).0), [Stage::Completed; 2]);
    assert_eq!(world.keys(), 0);
    // The next one is the first of the next group.
    let next = world.opens(1);
    assert_eq!((world.stands(next).0, world.parent(next)), (Stage::Offered, None));
    world.all_agree();
}

#[test]
fn the_same_again_is_one_only_within_its_window() {
    let mut world = ruled(3, same_within(30));
    let first = world.opens(0);
    world.now = world.now.after_s(29 * MINUTE_S);
    let again = world.opens(0);
    assert_eq!((world.stands(again).0, world.parent(again)), (Stage::Grouped, Some(first)));
    assert!(world.is_silent(again), "it was told of already");
    world.now = world.now.after_s(2 * MINUTE_S);
    let late = world.opens(0);
    assert_eq!((world.stands(late).0, world.parent(late)), (Stage::Offered, None));
    // And what comes then is the same as the later one.
    let again = world.opens(0);
    assert_eq!(world.parent(again), Some(late));
}

/// The customer may object for a day, and the fault may be back after an hour.
#[test]
fn a_fault_that_comes_back_once_the_work_is_done_is_worked_on() {
    for triage in [grouping(), same_within(24 * 60)] {
        let mut world = ruled(3, triage);
        let first = world.opens(0);
        let under = world.opens(1);
        world.completes(first, 0);
        assert_eq!((world.stands(first).0, world.keys()), (Stage::Completed, 0));
        let back = world.opens(1);
        assert_eq!((world.stands(back).0, world.parent(back)), (Stage::Offered, None));
        assert!(!world.is_silent(back), "nobody was told of this one");
        // Who waited for the work is done with it, and nobody else.
        world.order(first, Order::Confirm);
        world.deliver_all();
        assert_eq!(
            (world.stands(under).0, world.stands(back).0),
            (Stage::Completed, Stage::Offered)
        );
        world.all_agree();
    }
}

#[test]
fn a_ticket_that_lives_again_has_its_keys_again_unless_another_one_has_them() {
    let object = || Order::Object { reason: "it leaks".into() };
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    world.completes(first, 0);
    world.order(first, object());
    world.deliver_all();
    assert_eq!((world.stands(first).0, world.keys()), (Stage::Offered, 1));
    let under = world.opens(1);
    assert_eq!((world.stands(under).0, world.parent(under)), (Stage::Grouped, Some(first)));

    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    world.completes(first, 0);
    let back = world.opens(0);
    world.order(first, object());
    world.deliver_all();
    let both = [first, back].map(|ticket| (world.stands(ticket).0, world.parent(ticket)));
    assert_eq!(both, [(Stage::Offered, None); 2]);
    let under = world.opens(1);
    assert_eq!(world.parent(under), Some(back));
}

#[test]
fn a_ticket_that_inhibits_silences_what_waits_under_it_or_has_its_key() {
    let mut world = ruled(3, Triage { inhibits_children: true, ..grouping() });
    let first = world.opens(0);
    let under = world.opens(1);
    assert_eq!((world.is_silent(first), world.is_silent(under)), (false, true));
    // By a key of its own: others are sought for, and tell nobody.
    let inhibitor = Triage { keys: vec![key(2, Bond::Inhibit)], ..Triage::default() };
    let mut world = ruled(3, inhibitor);
    let first = world.opens(0);
    world.triages = vec![Triage { keys: vec![key(2, Bond::Group)], ..Triage::default() }];
    let other = world.opens(1);
    assert_eq!((world.stands(other).0, world.is_silent(other)), (Stage::Offered, true));
    world.closes(first, 0);
    let after = world.opens(1);
    assert_eq!((world.parent(after), world.is_silent(after)), (Some(other), false));
}

#[test]
fn a_ticket_asks_again_and_then_goes_on_alone() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    let ticket = world.request(1, 1, 3);
    let customer = customer(1);
    world.deliver(customer, ticket);
    for _ in 0..2 {
        assert_eq!(world.stands(ticket).0, Stage::Triaged);
        assert_eq!(world.timers[&ticket].1, world.now.after_s(COMPARE_LIFE_S));
        world.fire(ticket);
    }
    assert_eq!(world.stands(ticket).0, Stage::Matching);
    // What the desk says then is too late, and nobody is told twice.
    world.deliver_all();
    assert_eq!((world.stands(ticket).0, world.parent(ticket)), (Stage::Offered, None));
    let compared = |event: &&Event| matches!(event, Event::Compared { .. });
    assert_eq!(world.tickets[&ticket].events.iter().filter(compared).count(), 1);
    assert_eq!(world.stands(first).0, Stage::Offered);
}

#[test]
fn an_order_counts_while_the_desk_is_asked() {
    for (order, stage) in [
        (
            Order::Hold { until: fieldmesh_domain::time::Millis(u64::MAX), reason: String::new() },
            None,
        ),
        (Order::Reassign { to: None, reason: String::new() }, Some(Stage::Offered)),
        (Order::Cancel { reason: String::new() }, Some(Stage::Cancelled)),
    ] {
        let mut world = ruled(3, grouping());
        world.opens(0);
        let ticket = world.request(1, 1, 3);
        world.deliver(customer(1), ticket);
        let order = match order {
            Order::Hold { reason, .. } => Order::Hold { until: world.now.after_s(3600), reason },
            order => order,
        };
        world.order(ticket, order);
        world.deliver_all();
        assert_eq!(world.stands(ticket).0, stage.unwrap_or(Stage::Held));
        assert_eq!(world.parent(ticket), None);
    }
}

#[test]
fn a_full_parent_is_followed_by_another_first_one() {
    let mut world = ruled(1, grouping());
    let first = world.opens(0);
    let claim = |number: u16| {
        let mut random = [0; 10];
        random[..2].copy_from_slice(&number.to_be_bytes());
        let ticket = EntityId::new(first.kind(), first.region(), random);
        let command = desk::Command::Claim {
            ticket,
            keys: grouping().keys,
            inhibits_children: false,
            priority: None,
            held_until: None,
        };
        (ticket, Command::Desk(command))
    };
    let like = |world: &mut World, number| {
        let (ticket, command) = claim(number);
        world.ask(desk(), command);
        let said = world.lanes.remove(&(desk(), ticket)).unwrap().pop_back().unwrap();
        let Command::Ticket(ticket::Command::Compared { like, .. }) = said else {
            panic!("{said:?}")
        };
        like
    };
    for number in 0..256 {
        assert_eq!(like(&mut world, number), Some(first));
    }
    assert_eq!(like(&mut world, 256), None);
    assert_eq!(like(&mut world, 257), Some(claim(256).0));
}

#[test]
fn a_more_urgent_ticket_does_not_wait_under_a_less_urgent_one() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    let urgent = world.request(1, 1, 1);
    world.deliver_all();
    let priorities = [first, urgent].map(|ticket| world.state(ticket).priority);
    assert!(priorities[0] > priorities[1], "{priorities:?}");
    assert_eq!((world.stands(urgent).0, world.parent(urgent)), (Stage::Offered, None));
    // Whoever comes then waits under the urgent one, whose key it is.
    for urgency in [1, 3] {
        let next = world.request(0, 1, urgency);
        world.deliver_all();
        assert_eq!((world.stands(next).0, world.parent(next)), (Stage::Grouped, Some(urgent)));
    }
    world.closes(first, 0);
    assert_eq!((world.stands(first).0, world.keys()), (Stage::Closed, 1));
    world.all_agree();
    world.replay_equals_live();
}

#[test]
fn nobody_waits_under_a_ticket_that_is_held() {
    let held = || {
        let mut world = ruled(3, grouping());
        let first = world.opens(0);
        let until = world.now.after_s(90 * 24 * 3600);
        world.order(first, Order::Hold { until, reason: "the bridge is closed".into() });
        world.deliver_all();
        assert_eq!((world.stands(first).0, world.keys()), (Stage::Held, 1));
        (world, first)
    };
    let (mut world, _) = held();
    let next = world.opens(1);
    assert_eq!((world.stands(next).0, world.parent(next)), (Stage::Offered, None));
    let under = world.opens(1);
    assert_eq!(world.parent(under), Some(next));
    world.replay_equals_live();
    // It has the key still when it goes on, ordered or by itself.
    let (mut world, first) = held();
    world.order(first, Order::Resume);
    world.deliver_all();
    let under = world.opens(1);
    assert_eq!((world.stands(under).0, world.parent(under)), (Stage::Grouped, Some(first)));
}

#[test]
fn the_key_of_a_ticket_whose_hold_is_over_is_its_own() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    let until = world.now.after_s(3600);
    world.order(first, Order::Hold { until, reason: String::new() });
    world.deliver_all();
    world.fire(first);
    world.deliver_all();
    assert_eq!(world.stands(first).0, Stage::Offered);
    let under = world.opens(1);
    assert_eq!((world.stands(under).0, world.parent(under)), (Stage::Grouped, Some(first)));
}

/// A silence that is taken away, or shortened, ends before the time that the desk was told.
#[test]
fn the_key_of_a_ticket_whose_silence_is_lifted_is_its_own() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    let subject = world.state(first).subject();
    let until = world.now.after_s(90 * 24 * 3600);
    let silence = Some(Silence { name: "flood".into(), version: 1, until });
    let reconsidered = |silence| {
        let subject = subject.clone();
        Command::Ticket(ticket::Command::Reconsider { subject, silence })
    };
    world.ask(first, reconsidered(silence));
    world.deliver_all();
    assert_eq!((world.stands(first).0, world.keys()), (Stage::Held, 1));
    world.ask(first, reconsidered(None));
    world.deliver_all();
    assert_eq!(world.stands(first).0, Stage::Offered);
    let under = world.opens(1);
    assert_eq!((world.stands(under).0, world.parent(under)), (Stage::Grouped, Some(first)));
    world.all_agree();
    world.replay_equals_live();
}

#[test]
fn a_ticket_that_is_worked_on_by_itself_is_not_silent_for_one_that_it_is_like() {
    let mut world = ruled(3, same_within(60));
    world.opens(0);
    let next = world.request(1, 1, 3);
    world.deliver(customer(1), next);
    let until = world.now.after_s(3600);
    world.order(next, Order::Hold { until, reason: String::new() });
    world.order(next, Order::Resume);
    world.deliver_all();
    assert_eq!((world.stands(next).0, world.is_silent(next)), (Stage::Offered, false));
}

/// The desk has the other key for another one.
#[test]
fn a_hold_ends_for_each_key_of_a_ticket() {
    let keys = |numbers: &[u8]| {
        let keys = numbers.iter().map(|number| key(*number, Bond::Group)).collect();
        Triage { keys, ..Triage::default() }
    };
    let mut world = ruled(3, keys(&[1]));
    let first = world.opens(0);
    let claim = |keys: Triage, held_until| desk::Command::Claim {
        ticket: first,
        keys: keys.keys,
        inhibits_children: false,
        priority: Some(3),
        held_until,
    };
    let until = world.now.after_s(3600);
    world.ask(desk(), Command::Desk(claim(keys(&[1]), Some(until))));
    world.triages = vec![keys(&[2])];
    let other = world.opens(1);
    world.ask(desk(), Command::Desk(claim(keys(&[1, 2]), None)));
    let joined = world.desk.state.claims.clone().unwrap().joined;
    let own = joined.values().find(|claimed| claimed.ticket == first).unwrap();
    assert_eq!((own.held_until, joined.len()), (None, 2));
    assert!(joined.values().any(|claimed| claimed.ticket == other));
    world.replay_equals_live();
}

#[test]
fn a_child_whose_parent_does_not_answer_asks_for_its_keys() {
    // They are free, and its own from then on.
    let mut world = ruled(3, grouping());
    let child = world.opens(0);
    let parent = EntityId::ticket_of(customer(0), [99; 16]);
    world.order(child, Order::Group { parent });
    world.deliver_all();
    assert_eq!((world.stands(child).0, world.keys()), (Stage::Grouped, 0));
    world.fire(child);
    world.deliver_all();
    assert_eq!((world.stands(child).0, world.keys()), (Stage::Offered, 1));
    let under = world.opens(1);
    assert_eq!((world.stands(under).0, world.parent(under)), (Stage::Grouped, Some(child)));
    // They are those of the very parent: it is not waited for once more.
    let mut world = ruled(3, grouping());
    let parent = world.opens(0);
    let child = world.request(1, 1, 3);
    world.deliver(customer(1), child);
    world.deliver(child, desk());
    world.deliver(desk(), child);
    assert_eq!((world.stands(child).0, world.parent(child)), (Stage::Grouped, Some(parent)));
    world.lanes.remove(&(child, parent));
    world.deliver_all();
    world.fire(child);
    world.deliver_all();
    assert_eq!((world.stands(child).0, world.parent(child)), (Stage::Offered, None));
}

/// Each would take a technician for the one cause.
#[test]
fn of_those_whose_parent_is_gone_one_is_sought_for_and_the_others_wait_under_it() {
    for triage in [grouping(), same_within(60)] {
        let mut world = ruled(3, triage);
        let first = world.opens(0);
        let others = [0; 4].map(|customer| world.opens(customer));
        assert!(others.iter().all(|other| world.parent(*other) == Some(first)));
        world.order(first, Order::Cancel { reason: String::new() });
        world.deliver_all();
        let (waiting, sought): (Vec<EntityId>, Vec<EntityId>) =
            others.iter().partition(|other| world.stands(**other).0 == Stage::Grouped);
        assert_eq!(sought.len(), 1, "{waiting:?} wait");
        assert_eq!(world.stands(sought[0]).0, Stage::Offered);
        assert!(waiting.iter().all(|other| world.parent(*other) == Some(sought[0])));
        assert!(!world.is_silent(sought[0]), "whom rules name hears of it now");
        world.all_agree();
        world.replay_equals_live();
    }
}

#[test]
fn whoever_loses_one_parent_after_the_other_goes_on_alone_in_the_end() {
    let mut world = ruled(1, grouping());
    let first = world.opens(0);
    let child = world.opens(1);
    let mut sought = 1;
    while world.stands(child).0 == Stage::Grouped {
        let gone = ticket::Command::ParentSays { parent: first, word: ParentWord::Gone };
        world.ask(child, Command::Ticket(gone));
        sought += u32::from(world.stands(child).0 == Stage::Triaged);
        world.deliver_all();
    }
    assert_eq!((sought, world.stands(child).0), (8, Stage::Unfilled));
}

/// Nobody is sent away again by who waits itself.
#[test]
fn a_ticket_that_an_operator_groups_gives_its_keys_back() {
    let mut world = ruled(3, grouping());
    let first = world.opens(0);
    world.triages = vec![Triage::default()];
    let parent = world.opens(0);
    world.order(first, Order::Group { parent });
    world.deliver_all();
    assert_eq!((world.stands(first).0, world.keys()), (Stage::Grouped, 0));
    world.triages = vec![grouping()];
    let next = world.opens(1);
    assert_eq!((world.stands(next).0, world.parent(next)), (Stage::Offered, None));
    let under = world.opens(1);
    assert_eq!(world.parent(under), Some(next));
}

#[test]
fn a_customers_requests_of_the_last_week_are_counted_without_the_new_one() {
    let mut world = ruled(1, Triage::default());
    let minutes = [0, 0, 20, 50, 24 * 60, 6 * 24 * 60];
    let start = world.now;
    for after in minutes {
        world.now = start.after_s(after * MINUTE_S);
        world.opens(0);
    }
    let asked = world.asked.iter().rev().find_map(|(_, command)| match command {
        Command::Ticket(ticket::Command::Open { background, .. }) => background.clone(),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.open_tickets, asked.requests), (5, [0, 0, 0, 5]));
    world.now = world.now.after_s(9 * MINUTE_S);
    world.opens(0);
    let recent = world.customers[&customer(0)].state.recent.clone().unwrap();
    assert_eq!(recent.len(), 7);
    // Later than a week after the first ones.
    world.now = start.after_s(8 * 24 * 3600);
    world.opens(0);
    let recent = world.customers[&customer(0)].state.recent.clone().unwrap();
    assert_eq!(recent.len(), 4);
}

fn telling(keys: Vec<Key>) -> Triage {
    let acted = vec![Acted { rule: "outage".into(), did: vec![] }];
    let (notify, webhooks) = (vec!["duty".into()], vec!["control-room".into()]);
    Triage { version: 3, acted, keys, notify, webhooks, ..Triage::default() }
}

#[test]
fn those_whom_rules_name_are_told_once_and_not_of_what_is_silent() {
    let told = |world: &World, ticket| -> Vec<(Recipient, What)> {
        let of = world
            .told
            .iter()
            .filter(|told| told.ticket == ticket && told.what == What::RuleMatched);
        of.map(|notice| (notice.to.clone(), notice.what)).collect()
    };
    let both = [
        (Recipient::Person("duty".into()), What::RuleMatched),
        (Recipient::Webhook("control-room".into()), What::RuleMatched),
    ];
    let mut world = ruled(3, telling(vec![]));
    let ticket = world.opens(0);
    assert_eq!(told(&world, ticket), both);
    let said = |notice: &&Notice| notice.what == What::RuleMatched;
    assert_eq!(world.told.iter().find(said).unwrap().detail, "rules 3: outage");

    let bond = Bond::Duplicate { window_s: 60 };
    let mut world = ruled(3, telling(vec![key(1, bond)]));
    let first = world.opens(0);
    let again = world.opens(0);
    assert_eq!((told(&world, first), told(&world, again)), (both.to_vec(), vec![]));

    // What the desk does not answer for ever is told all the same.
    let mut world = ruled(3, telling(vec![key(1, Bond::Group)]));
    let ticket = world.request(0, 1, 3);
    world.deliver(customer(0), ticket);
    assert_eq!(told(&world, ticket), []);
    world.fire(ticket);
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(told(&world, ticket), both);
}

#[test]
fn a_rule_that_failed_is_an_alarm() {
    let failed = vec![Failed { rule: "surge".into(), why: "it divides by zero".into() }];
    let mut world = ruled(1, Triage { version: 3, failed, ..Triage::default() });
    let ticket = world.opens(0);
    let notice = world.told.iter().find(|notice| notice.what == What::RuleFailed).unwrap();
    assert_eq!((&notice.to, notice.what), (&Recipient::Subscribers, What::RuleFailed));
    assert_eq!((notice.ticket, notice.detail.as_str()), (ticket, "rules 3: surge"));
    assert_eq!(world.stands(ticket).0, Stage::Offered);
}
