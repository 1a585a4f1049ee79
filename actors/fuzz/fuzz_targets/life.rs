//! Arbitrary logs: whatever events an entity has, in whatever order, its state moves without a panic, and
//! state, rows and what it tells others go through bytes unchanged.
//!
//! The first byte chooses the kind of entity, the others are its events, one CBOR value behind the other.
//! Not here: what an entity decides, which has laws of its own.

#![no_main]

use fieldmesh_actors_fuzz::through_bytes;
use fieldmesh_domain::{
    Aggregate, Effect, EntityId, Region, attachment::Attachment, authority::Authority,
    customer::Customer, desk::Desk, integration::Integration, notifier::Notifier,
    placement::Placement, registration::Registration, technician::Technician, ticket::Ticket,
};
use libfuzzer_sys::fuzz_target;
use minicbor::Decoder;

/// Events of one run: its state is looked at behind each of them.
const EVENTS_MAX: usize = 64;
/// Its place is its number in committed inputs: more come at the end.
const LOGS: &[fn(&[u8])] = &[
    replayed::<Customer>,
    replayed::<Technician>,
    replayed::<Ticket>,
    replayed::<Desk>,
    replayed::<Registration>,
    replayed::<Authority>,
    replayed::<Placement>,
    replayed::<Notifier>,
    replayed::<Integration>,
    replayed::<Attachment>,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, events)) = data.split_first() else { return };
    LOGS[usize::from(*choice) % LOGS.len()](events);
});

fn replayed<A: Aggregate>(events: &[u8]) {
    let region: Region = "eu1".parse().expect("a region");
    let id = EntityId::new(A::KIND, region, [10; 10]);
    let (mut events, mut state) = (Decoder::new(events), A::default());
    for _ in 0..EVENTS_MAX {
        let Ok(event) = events.decode::<A::Event>() else { return };
        state.evolve(&event);
        through_bytes(&state);
        for effect in state.react(&event, id) {
            match effect {
                Effect::Tell { command, .. } => through_bytes(&command),
                Effect::Index(row) => through_bytes(&row),
                Effect::Message { .. } | Effect::SetTimer { .. } | Effect::CancelTimer { .. } => {}
            }
        }
    }
}
