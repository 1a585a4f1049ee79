//! What the node has recorded of customers' requests, whatever their devices saw of it.
//!
//! A device cannot see that its request was taken twice: it passes on once what it is told twice, and both are one
//! ticket. **Invariant:** journals that cannot be read show nothing here; that they can be is another law's
//! (`people`). **Not here:** what devices saw (`people`).

use std::collections::BTreeMap;

use fieldmesh_domain::{EntityId, EntityKind, customer::Event};
use fieldmesh_node::journal::ShardJournal;

use super::people::{Person, Seen};

/// Requests of a customer in the order in which they were recorded: by which message, and their tickets.
fn requests(customer: EntityId, journals: &[ShardJournal]) -> Vec<([u8; 16], EntityId)> {
    let steps = journals.iter().filter_map(|journal| journal.history(customer).ok()).flatten();
    let events = steps.flat_map(|step| step.record.events);
    let requested = |bytes: &[u8]| match minicbor::decode(bytes) {
        Ok(Event::Requested { message_id, ticket, .. }) => Some((message_id, ticket)),
        _ => None,
    };
    events.filter_map(|event| requested(&event)).collect()
}

fn customers(people: &[Person]) -> impl Iterator<Item = EntityId> {
    people.iter().map(|person| person.id).filter(|id| id.kind() == EntityKind::Customer)
}

/// Whether a request is recorded of which no device has the receipt yet.
pub(super) fn is_unheard(seen: &Seen, people: &[Person], journals: &[ShardJournal]) -> bool {
    let waits = |ticket: &EntityId| !seen.received.contains(ticket);
    // Most of the time nobody waits, and nothing is to be read.
    seen.requested.iter().any(waits)
        && customers(people)
            .flat_map(|customer| requests(customer, journals))
            .any(|(_, ticket)| waits(&ticket))
}

/// Requests that are recorded more than once.
pub(super) fn repeated(people: &[Person], journals: &[ShardJournal]) -> Vec<String> {
    let mut repeated = Vec::new();
    for customer in customers(people) {
        let mut times: BTreeMap<([u8; 16], EntityId), u32> = BTreeMap::new();
        for request in requests(customer, journals) {
            *times.entry(request).or_default() += 1;
        }
        let more = times.into_iter().filter(|(_, times)| *times > 1);
        repeated.extend(more.map(|((_, ticket), times)| {
            format!("the request of {ticket} is recorded {times} times")
        }));
    }
    repeated
}
