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

/// Events of which every release tells the epoch.
const TOLD_BY_ALL: [&str; 2] = ["offered", "assigned"];

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
        let epoch = event.epoch.filter(|_| TOLD_BY_ALL.contains(&event.event.as_str()));
        let what = (event.at_ms, &event.event, &event.technician, epoch);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;

    /// A ticket that was offered and accepted, with the epochs that a release tells.
    fn told(offered: Option<u32>, accepted: Option<u32>) -> Vec<Happened> {
        let event = |event: &str, epoch: Option<u32>| {
            json!({
                "at_ms": 1, "event": event, "detail": "", "technician": "t", "epoch": epoch, "rule_version": 0,
            })
        };
        let story = json!({
            "id": "a", "state": "accepted", "priority": 1, "technician": "t", "chain": "",
            "events": [event("offered", offered), event("accepted", accepted)],
        });
        happened(&serde_json::from_value(story).unwrap())
    }

    #[test]
    fn two_releases_tell_one_history_also_where_only_one_tells_of_what_offer_an_acceptance_is() {
        let (before, now) = (told(Some(3), None), told(Some(3), Some(3)));
        assert_eq!(before.last().unwrap().digest, now.last().unwrap().digest);
        assert_eq!((before[1].epoch, now[1].epoch), (None, Some(3)));
        assert_ne!(told(Some(4), None)[1].digest, before[1].digest, "of another offer");
    }
}
