//! What customers, technicians and operators write to each other about a ticket, and what they are told
//! of its changes.

use fieldmesh_domain::{
    EntityId, MessageKind,
    message::{Act, Amendment, Answer, Change, Enclosure, NoteBody, NoteFrom, ReceiptStatus},
    ticket::{Order, Reader, Stage},
};

use crate::{
    orders::{accepted, amend, completed},
    saga::opened,
    world::{World, customer, technician},
};

impl World {
    fn notes_to(&self, reader: EntityId) -> Vec<NoteBody> {
        let mail = self.mail.iter().filter(|mail| mail.to == reader);
        mail.filter(|mail| mail.kind == MessageKind::Note)
            .map(|mail| minicbor::decode(&mail.body).unwrap())
            .collect()
    }

    /// Numbers and texts.
    fn read_by(&self, reader: EntityId) -> Vec<(u32, String)> {
        self.notes_to(reader).into_iter().map(|note| (note.number, note.text)).collect()
    }

    fn writes(&mut self, ticket: EntityId, text: &str) {
        self.act(customer(0), ticket, Act::Message { text: text.into(), enclosure: None });
        self.deliver_all();
    }
}

fn note(number: u32, text: &str) -> (u32, String) {
    (number, text.to_owned())
}

#[test]
fn customer_and_technician_write_to_each_other() {
    let (mut world, ticket) = accepted(1);
    world.writes(ticket, "the blue door");
    world.says(0, ticket, 1, Answer::Message { text: "which key?".into(), enclosure: None });
    world.deliver_all();
    world.order(
        ticket,
        Order::Message { to: Reader::Both, text: "ask the guard".into(), enclosure: None },
    );
    world.deliver_all();
    let by_technician = world.notes_to(technician(0));
    assert_eq!(by_technician[0].from, NoteFrom::Customer);
    assert_eq!(by_technician[1].from, NoteFrom::Operator("op".into()));
    assert_eq!(world.read_by(technician(0)), [note(1, "the blue door"), note(3, "ask the guard")]);
    assert_eq!(world.notes_to(customer(0))[0].from, NoteFrom::Technician);
    assert_eq!(world.read_by(customer(0)), [note(2, "which key?"), note(3, "ask the guard")]);
    assert_eq!(world.receipts(0).last(), Some(&ReceiptStatus::Received));
}

#[test]
fn what_is_written_before_is_read_by_whoever_accepts() {
    let (mut world, ticket) = opened(2);
    world.writes(ticket, "the blue door");
    assert_eq!(world.read_by(technician(0)), []);
    // A change of what is offered is told at once, under a later number.
    world.carries_out(ticket, amend(Some("it leaks badly"), None));
    let change = world.notes_to(technician(0)).remove(0).change.unwrap();
    let text = Some("it leaks badly".to_owned());
    assert_eq!(change, Change::Amended(Amendment { text, ..Amendment::default() }));
    world.accepts(0, ticket, 1);
    world.deliver_all();
    assert_eq!(world.read_by(technician(0)), [note(2, ""), note(1, "the blue door")]);
    // Whoever comes next reads it too.
    world.carries_out(ticket, Order::Reassign { to: Some(technician(1)), reason: String::new() });
    assert_eq!(world.alerts(technician(1))[0].text, "it leaks badly");
    assert_eq!(world.read_by(technician(1)), []);
    world.accepts(1, ticket, 2);
    world.deliver_all();
    assert_eq!(world.read_by(technician(1)), [note(1, "the blue door")]);
}

#[test]
fn the_last_sixteen_are_kept() {
    let (mut world, ticket) = opened(1);
    for number in 0..20 {
        world.writes(ticket, &format!("{number}"));
    }
    world.accepts(0, ticket, 1);
    world.deliver_all();
    let read = world.read_by(technician(0));
    assert_eq!((read.len(), &read[0], &read[15]), (16, &note(5, "4"), &note(20, "19")));
}

#[test]
fn a_technician_writes_once_it_has_accepted_and_nobody_after_the_end() {
    let (mut world, ticket) = opened(1);
    world.says(0, ticket, 1, Answer::Message { text: "who is it?".into(), enclosure: None });
    world.deliver_all();
    assert_eq!(world.receipts(0), [ReceiptStatus::Invalid]);
    let (mut world, ticket) = completed(1);
    world.writes(ticket, "thank you");
    assert_eq!(world.state(ticket).notes.as_ref().unwrap().count, 1, "kept: it may be reopened");
    world.fire(ticket);
    world.deliver_all();
    let events = world.tickets[&ticket].events.len();
    world.order(ticket, Order::Message { to: Reader::Both, text: "hello".into(), enclosure: None });
    assert_eq!(world.tickets[&ticket].events.len(), events);
    world.says(0, ticket, 1, Answer::Message { text: "bye".into(), enclosure: None });
    assert_eq!(world.receipts(0).last(), Some(&ReceiptStatus::NoLongerYours));
    assert_eq!(world.read_by(customer(0)), []);
}

#[test]
fn a_customer_hears_what_an_operator_changes() {
    let (mut world, ticket) = opened(1);
    world.carries_out(ticket, amend(None, Some(4)));
    let until = world.now.after_s(60);
    world.carries_out(ticket, Order::Hold { until, reason: "nobody's business".into() });
    world.carries_out(ticket, Order::Cancel { reason: "nobody's business".into() });
    let amendment = Amendment { priority: Some(4), ..Amendment::default() };
    let wanted = [Change::Amended(amendment), Change::Held { until }, Change::Cancelled];
    let told = world.notes_to(customer(0));
    assert_eq!(told.iter().map(|note| note.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(told.iter().all(|note| note.text.is_empty()));
    assert_eq!(told.into_iter().filter_map(|note| note.change).collect::<Vec<_>>(), wanted);
    // What it does itself it knows.
    let (mut world, ticket) = opened(1);
    world.act(customer(0), ticket, Act::Cancel { reason: String::new() });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Cancelled);
    assert_eq!(world.read_by(customer(0)), []);
}

#[test]
fn what_came_with_a_message_goes_to_whoever_accepts() {
    let (mut world, ticket) = opened(1);
    let enclosure =
        Enclosure { number: 0, name: "photo.jpg".into(), bytes: 1, digest: [1; 32], key: [2; 32] };
    let (text, enclosure) = (String::new(), Some(enclosure));
    world.act(customer(0), ticket, Act::Message { text, enclosure: enclosure.clone() });
    world.deliver_all();
    assert_eq!(world.notes_to(technician(0)), []);
    world.accepts(0, ticket, 1);
    world.deliver_all();
    let read = world.notes_to(technician(0));
    assert_eq!(read.last().map(|note| &note.enclosure), Some(&enclosure));
}
