//! What is known of a ticket's deliveries beside its history.
//!
//! **Invariant:** nothing is made up: whoever does not answer leaves a state as the history has it, or unsaid.
//! **Not here:** what the history says (`story::offers`).

use std::time::Duration;

use fieldmesh_actors::seams::Journal as _;
use fieldmesh_domain::EntityId;
use fieldmesh_envelope::{MessageType, Signed};
use tokio::time::timeout;

use super::Shared;
use crate::{
    courier::wire::SentAlert,
    journal::HistoryEntry,
    story::{
        self, TicketStory,
        offers::{ConfirmationStory, OfferStory, mark_waiting},
    },
};

/// A person waits for the answer; who leads the technicians' shards answers in milliseconds.
const ASKED_WITHIN: Duration = Duration::from_secs(2);
/// Rows of a customer's mailbox that are looked at: what a device that is away for a week seldom reaches.
const MAIL_MAX: usize = 256;

/// Adds it to the story.
pub(super) async fn complete(shared: &Shared, history: &[HistoryEntry], story: &mut TicketStory) {
    let ticket = story.id.clone();
    // Whoever has no answer by then has none.
    drop(timeout(ASKED_WITHIN, sent(shared, &ticket, &mut story.offers)).await);
    if let Some(customer) = story::opened_by(history) {
        confirmed(shared, customer, &mut story.confirmations);
    }
}

/// Which of the alerts that wait were handed to their devices.
async fn sent(shared: &Shared, ticket: &str, offers: &mut [OfferStory]) {
    for offer in offers.iter_mut().filter(|offer| offer.waits()) {
        let Ok(technician) = offer.technician.parse::<EntityId>() else { continue };
        let sent = shared.node.courier.sent(technician).await.unwrap_or_default();
        let is_it = |one: &&SentAlert| {
            one.ticket.to_string() == ticket
                && (one.offer.epoch, one.offer.seq) == (offer.epoch, offer.position)
        };
        if let Some(at_ms) = sent.iter().find(is_it).map(|one| one.at_ms) {
            offer.was_sent(at_ms);
        }
    }
}

/// Which confirmations wait in the customer's mailbox. It is in the ticket's shard.
fn confirmed(shared: &Shared, customer: EntityId, confirmations: &mut [ConfirmationStory]) {
    let shard = shared.node.known.group_of(customer);
    let Some(journal) = shard.and_then(|shard| shared.node.journal(shard)) else { return };
    let Ok(rows) = journal.mail(customer, MAIL_MAX) else { return };
    let bodies = rows.items.iter().filter_map(|row| {
        let content = Signed::from_bytes(row.signed.to_vec()).ok()?.unverified_content().ok()?;
        (content.kind == MessageType::Confirmation).then_some(content.body)
    });
    let waiting: Vec<Vec<u8>> = bodies.collect();
    mark_waiting(confirmations, &waiting);
    if rows.is_all {
        let now_ms = shared.node.clock.now_ms();
        confirmations.iter_mut().for_each(|one| one.left_mailbox(now_ms));
    }
}
