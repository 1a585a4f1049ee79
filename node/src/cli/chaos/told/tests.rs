//! What is waited for before the tickets of a run are read.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_domain::EntityKind;

use super::*;

fn id(kind: EntityKind, number: u8) -> EntityId {
    EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
}

/// A ticket, its customer and two technicians.
fn asked() -> (Told, EntityId, EntityId, [EntityId; 2]) {
    let (told, ticket) = (Told::default(), id(EntityKind::Ticket, 1));
    let customer = id(EntityKind::Customer, 1);
    told.asked(ticket, customer);
    (told, ticket, customer, [1, 2].map(|number| id(EntityKind::Technician, number)))
}

#[test]
fn a_ticket_is_open_until_its_customer_heard_of_the_end_that_a_technician_was_answered_for() {
    let (told, ticket, _, [technician, _]) = asked();
    assert_eq!(told.open(), 1, "it heard of nobody");
    told.heard(ticket, 2);
    assert_eq!(told.open(), 0, "nobody was answered for the end of it");
    told.is_done(technician, ticket);
    told.heard(ticket, 3);
    assert_eq!(told.open(), 1, "it did not hear of the end");
    told.heard(ticket, 4);
    assert_eq!(told.open(), 0);
}

#[test]
fn the_end_may_be_heard_before_its_technician_is_answered() {
    let (told, ticket, _, [technician, _]) = asked();
    told.heard(ticket, 2);
    told.heard(ticket, 4);
    told.is_done(technician, ticket);
    assert_eq!(told.open(), 0);
}

#[test]
fn the_word_of_whoever_has_a_ticket_no_more_is_not_waited_for_whenever_it_is_taken_back() {
    let (told, ticket, _, [first, second]) = asked();
    told.heard(ticket, 2);
    told.taken_back(first, ticket);
    told.is_done(first, ticket);
    assert_eq!(told.open(), 0);
    told.is_done(second, ticket);
    assert_eq!(told.open(), 1, "the other's is");
    told.taken_back(second, ticket);
    assert_eq!(told.open(), 0);
}

#[test]
fn who_is_not_believed_any_more_is_not_waited_for() {
    let (told, ticket, customer, [technician, _]) = asked();
    told.is_done(technician, ticket);
    told.leave_out(customer);
    assert_eq!(told.open(), 0);
}
