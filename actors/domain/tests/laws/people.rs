//! Any order of a person, and any message between people, within the bounds that whoever sends it keeps.

use fieldmesh_domain::{
    message::{Act, Amendment, Change, CustomerActBody, NoteBody, NoteFrom, Pause, PauseReason},
    ticket::{Note, Order, ParentWord, Party, Reader},
    time::Millis,
};
use proptest::{option, prelude::*};

use crate::arbitrary::{
    customer_id, enclosure, location, message_id, millis, technician_id, text, ticket_id,
};

pub(crate) fn pause() -> impl Strategy<Value = Pause> {
    let reason = prop_oneof![
        Just(PauseReason::Parts),
        Just(PauseReason::Customer),
        Just(PauseReason::Safety),
        Just(PauseReason::Other),
    ];
    (reason, text(), 0_u16..60).prop_map(|(reason, text, minutes)| Pause { reason, text, minutes })
}

pub(crate) fn amendment() -> impl Strategy<Value = Amendment> {
    (option::of(text()), option::of(0_u8..7), option::of(location()))
        .prop_map(|(text, priority, location)| Amendment { text, priority, location })
}

pub(crate) fn act() -> impl Strategy<Value = CustomerActBody> {
    let act = prop_oneof![
        text().prop_map(|reason| Act::Cancel { reason }),
        Just(Act::Confirm),
        text().prop_map(|reason| Act::Object { reason }),
        (option::of(text()), option::of(location()))
            .prop_map(|(text, location)| Act::Amend { text, location }),
        (text(), enclosure()).prop_map(|(text, enclosure)| Act::Message { text, enclosure }),
        text().prop_map(|reason| Act::Reopen { reason }),
    ];
    (ticket_id(), act).prop_map(|(ticket, act)| CustomerActBody { ticket, act })
}

pub(crate) fn reader() -> impl Strategy<Value = Reader> {
    prop_oneof![Just(Reader::Customer), Just(Reader::Technician), Just(Reader::Both)]
}

pub(crate) fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        3 => "[ab]".prop_map(Party::Operator),
        1 => customer_id().prop_map(Party::Customer),
    ]
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    let until = || prop_oneof![9 => (0_u64..900_000).prop_map(Millis), 1 => millis()];
    prop_oneof![
        3 => (until(), text()).prop_map(|(until, reason)| Order::Hold { until, reason }),
        2 => Just(Order::Resume),
        1 => text().prop_map(|reason| Order::Cancel { reason }),
        4 => (option::of(technician_id()), text())
            .prop_map(|(to, reason)| Order::Reassign { to, reason }),
        2 => (technician_id(), 0_u32..4, text())
            .prop_map(|(to, epoch, reason)| Order::Move { to, epoch, reason }),
        1 => Just(Order::Pin),
        1 => Just(Order::Unpin),
        2 => amendment().prop_map(Order::Amend),
        2 => text().prop_map(|reason| Order::Reopen { reason }),
        2 => Just(Order::Confirm),
        2 => text().prop_map(|reason| Order::Object { reason }),
        2 => (reader(), text(), enclosure())
            .prop_map(|(to, text, enclosure)| Order::Message { to, text, enclosure }),
        2 => ticket_id().prop_map(|parent| Order::Group { parent }),
        1 => Just(Order::Ungroup),
    ]
}

fn writer() -> impl Strategy<Value = NoteFrom> {
    prop_oneof![
        Just(NoteFrom::Customer),
        Just(NoteFrom::Technician),
        text().prop_map(NoteFrom::Operator),
    ]
}

pub(crate) fn note() -> impl Strategy<Value = Note> {
    (any::<u32>(), writer(), reader(), message_id(), (text(), enclosure())).prop_map(
        |(number, from, to, id, (text, enclosure))| Note { number, from, to, id, text, enclosure },
    )
}

pub(crate) fn note_body() -> impl Strategy<Value = NoteBody> {
    let change = prop_oneof![
        amendment().prop_map(Change::Amended),
        millis().prop_map(|until| Change::Held { until }),
        Just(Change::Cancelled),
    ];
    (ticket_id(), writer(), 0_u32..50, text(), option::of(change)).prop_map(
        |(ticket, from, number, text, change)| NoteBody {
            ticket,
            from,
            number,
            text,
            change,
            enclosure: None,
        },
    )
}

pub(crate) fn word() -> impl Strategy<Value = ParentWord> {
    prop_oneof![Just(ParentWord::Lives), Just(ParentWord::Done), Just(ParentWord::Gone)]
}
