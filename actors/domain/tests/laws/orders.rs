//! What operators and customers order of a ticket, step by step, with exactly what must follow.
//!
//! The same three technicians as in `saga`. **Not here:** what they write to each other (`notes`), any
//! orders at any time (`schedule`).

use fieldmesh_domain::{
    Command, Ctx, Effect, EntityId, MessageKind, RejectionCode, customer,
    message::{
        Act, Amendment, Answer, CustomerActBody, Location, Pause, PauseReason, ReceiptBody,
        ReceiptStatus,
    },
    technician::Phase,
    ticket::{self, Event, Order, Party, Stage},
};

use crate::{
    saga::opened,
    world::{self, World, customer, technician},
};

const BEST: u8 = 0;
const SECOND: u8 = 1;
const THIRD: u8 = 2;
const DAY_S: u64 = 24 * 3600;
/// Offers that may be lost without the ticket knowing, which one that is reopened goes past.
const AGAIN: u32 = 1 << 16;

fn so() -> String {
    "so".into()
}

fn reassign(to: Option<u8>) -> Order {
    Order::Reassign { to: to.map(technician), reason: so() }
}

pub(crate) fn amend(text: Option<&str>, priority: Option<u8>) -> Order {
    Order::Amend(Amendment { text: text.map(Into::into), priority, location: None })
}

impl World {
    /// What an order is refused with; it changes nothing.
    pub(crate) fn refusal(&self, ticket: EntityId, order: Order) -> (RejectionCode, String) {
        let ctx = Ctx { now: self.now, id: ticket, rule_version: 1 };
        let command = ticket::Command::Order {
            order,
            by: Party::Operator("op".into()),
            id: [0; 16],
            marks: None,
        };
        let refused = self.tickets[&ticket].clone().ask(&command, &ctx).unwrap_err();
        (refused.code, refused.detail.into_owned())
    }

    /// The order is carried out, everything arrives, and the same order again changes nothing.
    pub(crate) fn carries_out(&mut self, ticket: EntityId, order: Order) {
        self.order(ticket, order.clone());
        let Event::Ordered { order: noted, by, at, .. } = self.last_order(ticket) else { panic!() };
        assert_eq!((&noted, at), (&order, self.now));
        assert_eq!(by, Party::Operator("op".into()));
        assert_eq!(self.order(ticket, order), []);
        self.deliver_all();
        self.all_agree();
    }

    fn last_order(&self, ticket: EntityId) -> Event {
        let mut events = self.tickets[&ticket].events.iter().rev();
        events.find(|event| matches!(event, Event::Ordered { .. })).unwrap().clone()
    }

    fn number_of(&self, ticket: EntityId) -> Vec<u8> {
        self.confirmations(ticket).iter().map(|body| body.number).collect()
    }

    fn held(&self, number: u8, ticket: EntityId) -> Option<Phase> {
        let holdings = &self.technicians[&technician(number)].state.holdings;
        holdings.get(&ticket).map(|held| held.phase)
    }

    fn is_open_at_the_customer(&self, ticket: EntityId) -> bool {
        self.customers[&customer(0)].state.open.contains(&ticket)
    }
}

/// A ticket that the best technician has accepted.
pub(crate) fn accepted(technicians: usize) -> (World, EntityId) {
    let (mut world, ticket) = opened(technicians);
    world.accepts(BEST, ticket, 1);
    world.deliver_all();
    (world, ticket)
}

pub(crate) fn completed(technicians: usize) -> (World, EntityId) {
    let (mut world, ticket) = accepted(technicians);
    world.says(BEST, ticket, 1, Answer::Completed { note: "new valve".into() });
    world.deliver_all();
    (world, ticket)
}

fn closed() -> (World, EntityId) {
    let (mut world, ticket) = completed(2);
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Closed);
    (world, ticket)
}

#[test]
fn a_hold_takes_the_offer_back_and_ends_by_itself() {
    let (mut world, ticket) = opened(2);
    let until = world.now.after_s(3 * DAY_S);
    world.carries_out(ticket, Order::Hold { until, reason: so() });
    assert_eq!(world.stands(ticket), (Stage::Held, None, 1));
    assert_eq!(world.timers[&ticket], (world.state(ticket).generation, until));
    assert_eq!(world.held(BEST, ticket), None);
    assert!(world.desk.state.given.is_empty());
    // Its device shows the offer no more, and a late acceptance is taken back.
    assert_eq!(world.receipts(BEST), [ReceiptStatus::NoLongerYours]);
    world.accepts(BEST, ticket, 1);
    assert_eq!(world.receipts(BEST), [ReceiptStatus::NoLongerYours; 2]);
    world.fire(ticket);
    world.deliver_all();
    // Nobody has refused: the best one is asked again.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(BEST)), 2));
}

#[test]
fn a_hold_crosses_the_answer_of_the_desk_and_of_the_technician() {
    let mut world = World::new(&crate::saga::hands(2));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    let hold = Order::Hold { until: world.now.after_s(60), reason: so() };
    world.carries_out(ticket, hold.clone());
    assert_eq!(world.stands(ticket), (Stage::Held, None, 0));
    let (mut world, ticket) = opened(1);
    world.accepts(BEST, ticket, 1);
    world.carries_out(ticket, hold);
    assert_eq!(world.held(BEST, ticket), None);
    assert_eq!(world.receipts(BEST), [ReceiptStatus::Received, ReceiptStatus::NoLongerYours]);
    assert!(world.confirmations(ticket).is_empty());
}

#[test]
fn a_hold_is_moved_and_ended_early() {
    let (mut world, ticket) = opened(2);
    for days in [3, 1, 90] {
        let until = world.now.after_s(days * DAY_S);
        world.carries_out(ticket, Order::Hold { until, reason: so() });
        assert_eq!(world.timers[&ticket].1, until);
    }
    world.carries_out(ticket, Order::Resume);
    assert_eq!(world.stands(ticket).0, Stage::Offered);
}

#[test]
fn a_hold_has_an_end_and_is_not_for_accepted_work() {
    let (world, ticket) = opened(1);
    for until in [world.now, world.now.after_s(90 * DAY_S + 1)] {
        let refused = world.refusal(ticket, Order::Hold { until, reason: so() });
        assert_eq!(refused.0, RejectionCode::Invalid);
    }
    let (world, ticket) = accepted(1);
    let until = world.now.after_s(60);
    let refused = world.refusal(ticket, Order::Hold { until, reason: so() });
    assert_eq!(refused.0, RejectionCode::NotNow);
    assert!(refused.1.contains("reassign"), "{}", refused.1);
    let (world, ticket) = completed(1);
    let refused = world.refusal(ticket, Order::Hold { until, reason: so() });
    assert_eq!(refused.0, RejectionCode::NotNow);
}

#[test]
fn accepted_work_is_given_to_a_certain_technician() {
    for answer in
        [Answer::EnRoute, Answer::OnSite, Answer::Message { text: "hi".into(), enclosure: None }]
    {
        let (mut world, ticket) = accepted(3);
        world.says(BEST, ticket, 1, answer);
        world.deliver_all();
        world.carries_out(ticket, reassign(Some(THIRD)));
        assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(THIRD)), 2));
        assert_eq!(world.receipts(BEST).last(), Some(&ReceiptStatus::NoLongerYours));
        assert_eq!(world.number_of(ticket), [2, 3]);
        assert_eq!(world.desk.state.given[&ticket], technician(THIRD));
        // It may refuse: then whoever fits best, but not the one that it was taken from.
        world.says(THIRD, ticket, 2, Answer::Decline { reason: so() });
        world.deliver_all();
        assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 3));
        world.accepts(SECOND, ticket, 3);
        world.deliver_all();
        world.all_agree();
        assert_eq!(world.number_of(ticket), [2, 3, 2]);
    }
}

#[test]
fn a_ticket_is_given_away_before_the_desk_has_answered() {
    let mut world = World::new(&crate::saga::hands(2));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    world.carries_out(ticket, reassign(Some(SECOND)));
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 1));
    assert_eq!(world.desk.state.given[&ticket], technician(SECOND));
}

#[test]
fn an_order_for_one_who_cannot_leads_to_whoever_can() {
    let (mut world, ticket) = accepted(2);
    world.ask(
        technician(SECOND),
        Command::Technician(fieldmesh_domain::technician::Command::GoOffShift),
    );
    world.carries_out(ticket, reassign(Some(SECOND)));
    // Nobody is left: the one was taken off, the other is off shift.
    assert_eq!(world.stands(ticket).0, Stage::Unfilled);
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).1, Some(technician(BEST)));
    // One that there is not lets its offer expire.
    world.order(ticket, reassign(Some(77)));
    world.deliver_all();
    assert_eq!(world.stands(ticket).1, Some(technician(77)));
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Unfilled);
}

#[test]
fn a_ticket_is_given_to_whoever_else_fits_best() {
    let (mut world, ticket) = accepted(2);
    world.carries_out(ticket, reassign(None));
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 2));
    let held = world.refusal(ticket, Order::Reassign { to: Some(customer(0)), reason: so() });
    assert_eq!(held.0, RejectionCode::Invalid);
}

#[test]
fn what_is_pinned_is_not_displaced_and_a_pin_ends_with_its_technician() {
    let displace = |world: &mut World, ticket| {
        let (by_ticket, question) = (ticket, world.state(ticket).question);
        let command = ticket::Command::Displace { by_ticket, question };
        let before = world.stands(ticket);
        world.ask(ticket, Command::Ticket(command));
        world.stands(ticket) == before
    };
    let (mut world, ticket) = opened(2);
    assert!(displace(&mut world, ticket), "of priority 1 itself");
    world.carries_out(ticket, amend(None, Some(3)));
    world.carries_out(ticket, Order::Pin);
    assert!(displace(&mut world, ticket));
    world.carries_out(ticket, Order::Unpin);
    assert!(!displace(&mut world, ticket));
    assert!(displace(&mut world, ticket), "once");
    assert_eq!(world.stands(ticket), (Stage::Matching, None, 1));
    world.deliver_all();
    world.all_agree();
    // It was not asked and may be chosen again.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(BEST)), 2));
    world.carries_out(ticket, Order::Pin);
    world.fire(ticket);
    world.deliver_all();
    assert_eq!(world.stands(ticket).1, Some(technician(SECOND)));
    assert!(!world.state(ticket).is_pinned());
    world.accepts(SECOND, ticket, 3);
    world.deliver_all();
    assert!(displace(&mut world, ticket), "accepted work is never displaced");
}

/// A plan takes seconds, and its orders follow one by one.
#[test]
fn a_planned_move_takes_nothing_that_was_accepted_pinned_or_offered_since() {
    let planned = |to, epoch| Order::Move { to: technician(to), epoch, reason: so() };
    let (mut world, ticket) = opened(3);
    world.carries_out(ticket, planned(SECOND, 1));
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 2));
    let refused = |world: &World, why: &str| {
        let (code, text) = world.refusal(ticket, planned(THIRD, 2));
        assert_eq!(code, RejectionCode::NotNow);
        assert!(text.contains(why), "{text}");
    };
    assert!(world.refusal(ticket, planned(THIRD, 1)).1.contains("offered anew"));
    world.order(ticket, Order::Pin);
    refused(&world, "pinned");
    world.order(ticket, Order::Unpin);
    world.accepts(SECOND, ticket, 2);
    world.deliver_all();
    refused(&world, "accepted");
    for answer in [Answer::EnRoute, Answer::OnSite] {
        world.says(SECOND, ticket, 2, answer);
        world.deliver_all();
        refused(&world, "accepted");
    }
    // Nobody has it: whoever planned knows as much as anybody.
    let (mut world, ticket) = opened(1);
    world.says(BEST, ticket, 1, Answer::Decline { reason: so() });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Unfilled);
    world.carries_out(ticket, planned(BEST, 1));
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(BEST)), 2));
}

#[test]
fn a_technician_pauses_and_resumes() {
    let (mut world, ticket) = accepted(1);
    let pause = |minutes| {
        Answer::Pause(Pause { reason: PauseReason::Parts, text: "no pump".into(), minutes })
    };
    world.says(BEST, ticket, 1, pause(30));
    assert_eq!(world.receipts(BEST).last(), Some(&ReceiptStatus::Invalid), "it has not arrived");
    world.says(BEST, ticket, 1, Answer::OnSite);
    world.says(BEST, ticket, 1, pause(30));
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Paused);
    assert_eq!(world.timers[&ticket].1, world.now.after_s(30 * 60));
    assert_eq!(world.state(ticket).pause.as_ref().unwrap().reason, PauseReason::Parts);
    assert_eq!(world.held(BEST, ticket), Some(Phase::OnSite));
    assert_eq!(world.refusal(ticket, Order::Resume).0, RejectionCode::NotNow);
    world.says(BEST, ticket, 1, pause(90));
    world.deliver_all();
    assert_eq!(world.timers[&ticket].1, world.now.after_s(90 * 60));
    world.fire(ticket);
    assert!(matches!(world.tickets[&ticket].events.last(), Some(Event::Overdue { .. })));
    world.says(BEST, ticket, 1, Answer::Resume);
    world.deliver_all();
    assert_eq!((world.stands(ticket).0, &world.state(ticket).pause), (Stage::OnSite, &None));
    world.says(BEST, ticket, 1, pause(5));
    world.says(BEST, ticket, 1, Answer::Completed { note: so() });
    world.deliver_all();
    assert_eq!((world.stands(ticket).0, &world.state(ticket).pause), (Stage::Completed, &None));
}

#[test]
fn a_customer_confirms_and_the_ticket_closes() {
    let (mut world, ticket) = completed(1);
    let id = Some(world.act(customer(0), ticket, Act::Confirm).into());
    world.deliver_all();
    let events = &world.tickets[&ticket].events;
    let by = Party::Customer(customer(0));
    let ordered = Event::Ordered { order: Order::Confirm, by, at: world.now, id, is_above: None };
    assert_eq!(events[events.len() - 2..], [ordered, Event::Closed]);
    assert!(!world.timers.contains_key(&ticket) && !world.is_open_at_the_customer(ticket));
}

#[test]
fn a_ticket_that_closes_by_itself_has_the_events_that_it_always_had() {
    let (world, ticket) = closed();
    let is_new = |event: &&Event| minicbor::to_vec(event).unwrap()[1] >= 16;
    assert_eq!(world.tickets[&ticket].events.iter().find(is_new), None);
}

#[test]
fn a_customer_objects_and_somebody_comes_again() {
    let (mut world, ticket) = completed(2);
    world.act(customer(0), ticket, Act::Object { reason: "it leaks".into() });
    world.deliver_all();
    world.all_agree();
    let again = 1 + AGAIN + 1;
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(BEST)), again));
    assert_eq!(world.number_of(ticket), [2, 4, 3]);
    assert_eq!(world.confirmations(ticket)[2].technician, None);
}

#[test]
fn what_has_ended_is_reopened_for_a_week() {
    for late_ms in [0, 1] {
        let (mut world, ticket) = closed();
        world.now.0 += 7 * DAY_S * 1000 + late_ms;
        let reopen = Order::Reopen { reason: so() };
        if late_ms == 1 {
            assert_eq!(world.refusal(ticket, reopen).0, RejectionCode::NotNow);
            continue;
        }
        world.carries_out(ticket, reopen);
        assert!(world.is_open_at_the_customer(ticket));
        let again = 1 + AGAIN + 1;
        assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(BEST)), again));
    }
    let (mut world, ticket) = accepted(1);
    world.carries_out(ticket, Order::Cancel { reason: so() });
    assert_eq!(world.stands(ticket).0, Stage::Cancelled);
    assert!(!world.is_open_at_the_customer(ticket));
    world.carries_out(ticket, Order::Reopen { reason: so() });
    world.accepts(BEST, ticket, 1 + AGAIN + 1);
    world.deliver_all();
    assert_eq!(world.number_of(ticket), [2, 3, 2]);
    // A week from the last end, not from the first.
    world.now.0 += 8 * DAY_S * 1000;
    world.carries_out(ticket, Order::Cancel { reason: so() });
    world.now.0 += 6 * DAY_S * 1000;
    world.carries_out(ticket, Order::Reopen { reason: so() });
}

#[test]
fn a_refusal_reaches_the_customers_device() {
    let (mut world, ticket) = accepted(1);
    let message_id = world.act(customer(0), ticket, Act::Confirm);
    let effects = world.deliver(customer(0), ticket).unwrap();
    let [Effect::Message { to, kind: MessageKind::Receipt, correlation, body }] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*to, *correlation), (customer(0), Some(message_id)));
    let body: ReceiptBody = minicbor::decode(body).unwrap();
    assert_eq!((body.status, body.ticket), (ReceiptStatus::Invalid, Some(ticket)));
    assert_eq!(body.reason, "the work is not completed yet");
}

#[test]
fn an_act_has_its_receipt_and_counts_once() {
    let (mut world, ticket) = opened(1);
    let body = CustomerActBody { ticket, act: Act::Cancel { reason: so() } };
    let (message_id, content_hash) = ([7; 16], [8; 32]);
    let act = customer::Command::Act { message_id, content_hash, body: body.clone() };
    let effects = world.ask(customer(0), Command::Customer(act.clone()));
    let (status, reason) = (ReceiptStatus::Received, String::new());
    let receipt = ReceiptBody { status, ticket: Some(ticket), reason };
    let order = ticket::Command::Order {
        order: Order::Cancel { reason: so() },
        by: Party::Customer(customer(0)),
        id: message_id,
        marks: None,
    };
    let wanted = [
        Effect::Message {
            to: customer(0),
            kind: MessageKind::Receipt,
            correlation: Some(message_id),
            body: minicbor::to_vec(receipt).unwrap(),
        },
        Effect::Tell { to: ticket, command: Command::Ticket(order) },
    ];
    assert_eq!(effects, wanted);
    let acted = customer::Event::Acted { message_id, content_hash, body };
    assert_eq!(world.customers[&customer(0)].events.last(), Some(&acted));
    assert_eq!(world.ask(customer(0), Command::Customer(act)), []);
    world.ask(customer(0), Command::Customer(customer::Command::Suspend { by: None }));
    let events = world.customers[&customer(0)].events.len();
    world.act(customer(0), ticket, Act::Confirm);
    assert_eq!(world.customers[&customer(0)].events.len(), events, "it is suspended");
}

#[test]
fn a_customer_acts_on_its_own_tickets_alone() {
    let (mut world, ticket) = accepted(1);
    let events = world.tickets[&ticket].events.len();
    // Of another slot, and, as if by chance of the same one, of another customer.
    world.act(customer(1), ticket, Act::Cancel { reason: so() });
    let (order, by) = (Order::Cancel { reason: so() }, Party::Customer(customer(1)));
    let command = ticket::Command::Order { order, by, id: [1; 16], marks: None };
    world.ask(ticket, Command::Ticket(command));
    world.deliver_all();
    assert_eq!(world.tickets[&ticket].events.len(), events);
    // What is for operators only.
    let by = Party::Customer(customer(0));
    let orders = [Order::Pin, reassign(None), amend(None, Some(1)), Order::Resume];
    for order in orders {
        let command = ticket::Command::Order { order, by: by.clone(), id: [1; 16], marks: None };
        world.ask(ticket, Command::Ticket(command));
        let last = world.tickets[&ticket].events.last();
        assert!(matches!(last, Some(Event::OrderRefused { .. })), "{last:?}");
    }
}

#[test]
fn a_desk_that_was_asked_is_asked_anew_about_what_was_amended() {
    let mut world = World::new(&crate::saga::hands(2));
    let ticket = world.request(0, 1, 1);
    world.deliver(customer(0), ticket);
    let before = world.state(ticket).question;
    let location = Some(Location { lat_e6: 0, lon_e6: 20_000 });
    let order = Order::Amend(Amendment { location, ..Amendment::default() });
    world.carries_out(ticket, order);
    // Beside the second one by now.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 1));
    assert_eq!(world.state(ticket).question, before + 1);
    assert_eq!(world.desk.state.answered[&ticket], before + 1);
    assert_eq!(world.desk.state.technicians[&technician(BEST)].load, 0);
}

#[test]
fn somebody_is_sought_for_where_a_ticket_is_when_its_hold_ends() {
    for ends_early in [true, false] {
        let (mut world, ticket) = opened(2);
        let until = world.now.after_s(DAY_S);
        world.carries_out(ticket, Order::Hold { until, reason: so() });
        let location = Some(Location { lat_e6: 0, lon_e6: 20_000 });
        world.carries_out(ticket, Order::Amend(Amendment { location, ..Amendment::default() }));
        assert_eq!(world.stands(ticket), (Stage::Held, None, 1));
        if ends_early {
            world.carries_out(ticket, Order::Resume);
        } else {
            world.fire(ticket);
            world.deliver_all();
        }
        // Beside the second one by now.
        assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(SECOND)), 2));
    }
}

#[test]
fn an_amendment_is_within_bounds_and_before_the_end() {
    let (world, ticket) = opened(1);
    for order in [amend(None, Some(0)), amend(None, Some(6)), amend(Some(&"x".repeat(4097)), None)]
    {
        assert_eq!(world.refusal(ticket, order).0, RejectionCode::Invalid);
    }
    let location = Some(Location { lat_e6: 90_000_001, lon_e6: 0 });
    let order = Order::Amend(Amendment { location, ..Amendment::default() });
    assert_eq!(world.refusal(ticket, order).0, RejectionCode::Invalid);
    let (world, ticket) = completed(1);
    assert_eq!(world.refusal(ticket, amend(Some("x"), None)).0, RejectionCode::NotNow);
}

#[test]
fn a_ticket_goes_on_after_a_promotion_where_it_was() {
    // Held and paused, each with its deadline.
    let (mut world, ticket) = opened(1);
    let until = world.now.after_s(3 * DAY_S);
    world.carries_out(ticket, Order::Hold { until, reason: so() });
    world.reconcile(world::desk());
    world.reconcile(technician(BEST));
    world.reconcile(ticket);
    world.deliver_all();
    world.agrees_again();
    assert_eq!((world.stands(ticket).0, world.timers[&ticket].1), (Stage::Held, until));
    let (mut world, ticket) = accepted(1);
    let pause = Pause { reason: PauseReason::Other, text: so(), minutes: 600 };
    world.says(BEST, ticket, 1, Answer::OnSite);
    world.says(BEST, ticket, 1, Answer::Pause(pause));
    world.deliver_all();
    let due = world.state(ticket).due;
    for id in [world::desk(), technician(BEST), ticket] {
        world.reconcile(id);
    }
    world.deliver_all();
    world.agrees_again();
    assert_eq!((world.stands(ticket).0, world.timers[&ticket].1), (Stage::Paused, due));
}

#[test]
fn an_order_that_comes_again_under_its_key_is_the_same_order() {
    let (mut world, ticket) = accepted(2);
    let mut order = |order: Order, number: u8| {
        let command = ticket::Command::Order {
            order,
            by: Party::Operator("op".into()),
            id: [number; 16],
            marks: None,
        };
        let ctx = Ctx { now: world.now, id: ticket, rule_version: 1 };
        world.tickets.get_mut(&ticket).unwrap().ask(&command, &ctx).map(|effects| effects.len())
    };
    assert!(order(reassign(None), 1).unwrap() > 0);
    assert_eq!(order(reassign(None), 1), Ok(0));
    let refused = order(Order::Cancel { reason: so() }, 1).unwrap_err();
    assert_eq!(refused.code, RejectionCode::Invalid);
    // It is forgotten after sixteen others.
    for number in 2..=17 {
        let text = Some(format!("text {number}"));
        let amended = Order::Amend(Amendment { text, priority: None, location: None });
        assert!(order(amended, number).unwrap() > 0);
    }
    assert!(order(Order::Cancel { reason: so() }, 1).unwrap() > 0);
}
