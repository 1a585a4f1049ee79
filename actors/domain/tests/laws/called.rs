//! What operators say of people: requests that they make for a customer who calls, revisions, suspensions.

use fieldmesh_domain::{
    Command, Ctx, EntityId, IndexRow, MessageKind, Rejection, RejectionCode,
    customer::{self, Customer, Event, Revision, Standing},
    integration::Reported,
    message::{Answer, Location},
    technician::{self, Duty, life::Word},
    ticket::{Order, Stage},
    time::Millis,
};

use crate::{
    saga::{hands, opened},
    world::{Lived, World, customer, technician},
};

const HERE: Location = Location { lat_e6: 1_000_000, lon_e6: 2_000_000 };
const THERE: Location = Location { lat_e6: 3_000_000, lon_e6: 4_000_000 };

fn asked(text: &str, location: Option<Location>) -> Reported {
    let text = text.to_owned();
    Reported { category: 1, subcategory: 0, impact: 1, urgency: 1, location, text }
}

fn submit(key: u8, asked: Reported) -> customer::Command {
    customer::Command::Submit { id: [key; 16], asked, by: "op".into() }
}

/// A customer that has no device yet.
fn registered() -> Lived<Customer> {
    let mut lived = Lived::default();
    let register =
        customer::Command::Register { name: "Ada".into(), location: HERE, tier: 2, zone: None };
    does(&mut lived, register).unwrap();
    lived
}

fn does(lived: &mut Lived<Customer>, command: customer::Command) -> Result<usize, RejectionCode> {
    let ctx = Ctx { now: Millis(9), id: customer(0), rule_version: 1 };
    let before = lived.events.len();
    let done = lived.ask(&command, &ctx);
    done.map(|_| lived.events.len() - before).map_err(|Rejection { code, .. }| code)
}

#[test]
fn what_is_asked_for_a_caller_is_one_ticket_under_its_key() {
    let mut lived = registered();
    assert_eq!(does(&mut lived, submit(1, asked("leak", None))), Ok(1));
    let Some(Event::Submitted { ticket, body, by, .. }) = lived.events.last().cloned() else {
        panic!("{:?}", lived.events)
    };
    assert_eq!((body.location, by.as_str()), (HERE, "op"), "where the customer is");
    assert!(lived.state.open.iter().eq([&ticket]));
    assert_eq!(does(&mut lived, submit(1, asked("leak", None))), Ok(0), "it is there");
    let revision = Revision { location: Some(THERE), ..Revision::default() };
    does(&mut lived, customer::Command::Revise { revision, by: "op".into() }).unwrap();
    assert_eq!(does(&mut lived, submit(1, asked("leak", None))), Ok(0), "whoever moved meanwhile");
    let other = submit(1, asked("smoke", None));
    assert_eq!(does(&mut lived, other), Err(RejectionCode::Invalid), "another request");
    // Its end does not make another of what is asked again.
    does(&mut lived, customer::Command::TicketClosed { ticket }).unwrap();
    assert_eq!(does(&mut lived, submit(1, asked("leak", None))), Ok(0));
    assert_eq!(does(&mut lived, submit(2, asked("leak", Some(THERE)))), Ok(1), "another key");
    let Some(Event::Submitted { body, .. }) = lived.events.last() else { panic!() };
    assert_eq!(body.location, THERE);
    assert_eq!(lived.state.recent.as_deref(), Some(&[Millis(9), Millis(9)][..]), "both count");
    let wrong = Reported { impact: 4, ..asked("leak", None) };
    assert_eq!(does(&mut lived, submit(3, wrong)), Err(RejectionCode::Invalid));
    does(&mut lived, customer::Command::Suspend { by: Some("op".into()) }).unwrap();
    assert_eq!(does(&mut lived, submit(3, asked("leak", None))), Err(RejectionCode::NotNow));
    lived.replay_equals_live();
}

#[test]
fn the_ticket_of_a_caller_is_sought_somebody_for() {
    let mut world = World::new(&hands(1));
    world.ask(customer(0), Command::Customer(submit(1, asked("leak", None))));
    world.deliver_all();
    let ticket = world.ticket(0).unwrap();
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(0)), 1));
    let is_receipt = |kind, to| kind == MessageKind::Receipt && to == customer(0);
    assert!(!world.mail.iter().any(|mail| is_receipt(mail.kind, mail.to)), "it sent nothing");
    world.accepts(0, ticket, 1);
    world.deliver_all();
    assert_eq!(world.confirmations(ticket).len(), 1, "its device hears who comes");
    world.replay_equals_live();
}

#[test]
fn what_is_asked_again_after_its_end_and_its_key_is_not_open() {
    // As many as a customer remembers.
    const OTHERS: u8 = 16;
    let mut world = World::new(&hands(1));
    let submitted = |world: &mut World, key: u8| {
        let command = submit(key, asked("leak", None));
        let effects = world.ask(customer(0), Command::Customer(command));
        world.deliver_all();
        !effects.is_empty()
    };
    assert!(submitted(&mut world, 0));
    let ticket = EntityId::ticket_of(customer(0), [0; 16]);
    let open = |world: &World| world.customers[&customer(0)].state.open.clone();
    assert!(open(&world).contains(&ticket));
    world.order(ticket, Order::Cancel { reason: "it stopped".into() });
    world.deliver_all();
    assert!(!submitted(&mut world, 0), "its key is known");
    for key in 1..=OTHERS {
        assert!(submitted(&mut world, key));
    }
    let (others, mail) = (open(&world), world.mail.len());
    assert_eq!(others.len(), usize::from(OTHERS));
    for _ in 0..2 {
        submitted(&mut world, 0);
        assert_eq!(open(&world), others, "it has ended");
        assert_eq!(world.stands(ticket).0, Stage::Cancelled);
        assert_eq!(world.mail.len(), mail, "nobody sent anything");
    }
    world.replay_equals_live();
}

#[test]
fn a_customer_is_revised_within_the_bounds_of_a_registration() {
    let mut lived = registered();
    let mut revise = |name: Option<&str>, location, tier| {
        let revision = Revision { name: name.map(str::to_owned), location, tier };
        let done = does(&mut lived, customer::Command::Revise { revision, by: "op".into() });
        let Customer { name, location, tier, standing, .. } = lived.state.clone();
        assert_eq!(standing, Standing::Invited);
        (done, (name, location, tier))
    };
    let was = || ("Ada".to_owned(), HERE, 2);
    assert_eq!(revise(None, None, None), (Ok(0), was()));
    assert_eq!(revise(Some("Ada"), Some(HERE), Some(2)), (Ok(0), was()));
    let nowhere = Location { lat_e6: 91_000_000, lon_e6: 0 };
    for wrong in [
        (Some(""), None, None),
        (None, Some(nowhere), None),
        (None, None, Some(0)),
        (Some("Bo"), None, Some(6)),
    ] {
        let refused = revise(wrong.0, wrong.1, wrong.2);
        assert_eq!(refused, (Err(RejectionCode::Invalid), was()), "{wrong:?}");
    }
    assert_eq!(revise(Some("Bo"), None, Some(1)), (Ok(1), ("Bo".to_owned(), HERE, 1)));
    assert_eq!(revise(None, Some(THERE), None), (Ok(1), ("Bo".to_owned(), THERE, 1)));
    lived.replay_equals_live();
}

fn say(world: &mut World, number: u8, word: Word) {
    world.ask(technician(number), Command::Technician(technician::Command::Life(word)));
    world.deliver_all();
}

#[test]
fn who_is_suspended_is_offered_nothing_and_keeps_what_it_accepted() {
    let by = || "op".to_owned();
    let (mut world, ticket) = opened(2);
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(0)), 1));
    say(&mut world, 0, Word::Suspend { by: by() });
    // What it has not answered goes on at once, and its device hears so.
    assert_eq!(world.stands(ticket), (Stage::Offered, Some(technician(1)), 2));
    let mut told = world.mail.iter().filter(|mail| mail.to == technician(0));
    assert_eq!(told.next_back().unwrap().kind, MessageKind::Receipt);
    let row = &world.index[&technician(0)];
    assert!(matches!(row, IndexRow::Technician { state: Duty::Suspended, load: 0, .. }), "{row:?}");
    world.accepts(1, ticket, 2);
    world.deliver_all();
    say(&mut world, 1, Word::Suspend { by: by() });
    assert_eq!(world.stands(ticket), (Stage::Accepted, Some(technician(1)), 2));
    let second = world.request(0, 1, 1);
    world.deliver_all();
    assert_eq!(world.stands(second).0, Stage::Unfilled, "nobody works");
    let note = "a fuse".to_owned();
    world.says(1, ticket, 2, Answer::Completed { note });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Completed);
    say(&mut world, 0, Word::Resume { by: by() });
    if world.stands(second).0 == Stage::Unfilled {
        world.fire(second);
        world.deliver_all();
    }
    assert_eq!(world.stands(second).1, Some(technician(0)));
    world.replay_equals_live();
}
