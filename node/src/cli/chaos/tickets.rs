//! A ticket's history as a run keeps it.
//!
//! **Invariant:** the digest of a beginning depends on its events alone, and not on the release that tells them, so
//! that two reads can be compared by it. **Not here:** reading it again and again (`load`), comparing (`fieldmesh_chaos`).

use fieldmesh_chaos::history::{Happened, Position};
use fieldmesh_domain::EntityId;

use crate::{
    cli::{CliError, api::Api},
    issuer::sha256,
    story::{PositionStory, TicketStory},
    web::{chaos::positions::PREFERRED, est::hex},
};

/// Bytes of a digest that are kept: two histories of one ticket are not alike in so many by chance.
const DIGEST_BYTES: usize = 8;

/// None where there is no such ticket.
pub(super) async fn story(api: &Api, ticket: EntityId) -> Result<Option<TicketStory>, CliError> {
    let (name, value) = PREFERRED;
    api.find_as(&format!("/v1/tickets/{ticket}"), &format!("{name}: {value}\r\n")).await
}

/// How far the replica was that told it; a node of the release before does not say so.
pub(super) fn position(story: &TicketStory) -> Option<Position> {
    let PositionStory { group, term, index, node } = story.position?;
    Some(Position { group, term, index, node: Some(node) })
}

/// Whether each message says which it is.
pub(super) fn is_told_apart(story: &TicketStory) -> bool {
    let mut messages = story.events.iter().filter(|event| event.event == "message");
    messages.all(|event| event.message.is_some())
}

/// Its events, each with the digest of all up to it.
pub(super) fn happened(story: &TicketStory) -> Vec<Happened> {
    let mut digest = [0; 32];
    let mut all = Vec::with_capacity(story.events.len());
    for event in &story.events {
        // Nodes of two releases may tell one event in other words, and beside other things: what happened is the
        // same. It is plain text and numbers, which can always be serialised.
        let what = (event.at_ms, &event.event, &event.technician, event.epoch);
        let bytes = serde_json::to_vec(&what).unwrap_or_default();
        digest = sha256(&[&digest[..], &bytes].concat());
        all.push(Happened {
            event: event.event.clone(),
            technician: event.technician.clone(),
            epoch: event.epoch,
            message: event.message.clone(),
            digest: hex(&digest[..DIGEST_BYTES]),
        });
    }
    all
}
