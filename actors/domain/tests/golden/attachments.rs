//! What is attached to a ticket, by its pieces.

use fieldmesh_domain::{
    Command as AnyCommand, EntityId,
    attachment::{Attachment, Command, Event},
};

use crate::{MESSAGE, NOON, are_frozen, customer, ticket};

#[test]
fn pieces() {
    let (by, piece) = (|| "op".to_owned(), || vec![1, 2, 3].into());
    let store = Command::Store {
        by: by(),
        upload: MESSAGE,
        index: 1,
        of: 2,
        piece: piece(),
        customer: customer(),
    };
    are_frozen(&[("820086626f70<msg>010243010203<cus>", store.clone())]);
    are_frozen(&[(
        "82098182 0086626f70<msg>010243010203<cus>".replace(' ', "").as_str(),
        AnyCommand::Attachment(store),
    )]);
    let (upload, at) = (MESSAGE.into(), NOON);
    let stored = Event::Stored { by: by(), upload, of: 2, piece: piece(), at };
    are_frozen(&[("820085626f70<msg>0243010203<noon>", stored)]);
    let state =
        Attachment { by: by(), upload: Some(upload), of: 2, count: 1, bytes: 3, before: 4, at };
    are_frozen(&[("87626f70<msg>02010304<noon>", state)]);
}

#[test]
fn have_a_number_in_their_tickets_slot() {
    let ids: Vec<EntityId> =
        (0..16).map(|number| EntityId::attachment_of(ticket(), number)).collect();
    for (at, id) in ids.iter().enumerate() {
        assert_eq!((id.slot(), id.region()), (ticket().slot(), ticket().region()));
        assert!(!ids[..at].contains(id));
    }
    assert!(ids[0].to_string().starts_with("att_"));
}
