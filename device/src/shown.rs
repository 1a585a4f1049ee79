//! What the command prints of what a device learns: an object for each line.
//!
//! **Not here:** what the commands do (`verbs`).

use fieldmesh_device::Event;
use fieldmesh_domain::message::{Change, NoteBody, NoteFrom, ReceiptStatus};
use serde_json::{Value, json};

use crate::offer_text;

pub(crate) fn described(event: &Event) -> Option<Value> {
    match event {
        Event::Alert { body, .. } => Some(json!({
            "alert": body.ticket.to_string(),
            "offer": offer_text(body.offer),
            "category": body.category,
            "subcategory": body.subcategory,
            "priority": body.priority,
            "lat_e6": body.location.lat_e6,
            "lon_e6": body.location.lon_e6,
            "distance_m": body.distance_m,
            "text": body.text,
            "expires_ms": body.expires.0,
        })),
        Event::Confirmation { body, .. } => Some(json!({
            "confirmation": body.ticket.to_string(),
            "number": body.number,
            "technician": body.technician.map(|id| id.to_string()),
            "name": body.technician_name,
            "eta_min": body.eta_min,
            "text": body.text,
        })),
        Event::Note { body, .. } => Some(note(body)),
        Event::Receipt { body, .. } => {
            let status = match body.status {
                ReceiptStatus::Received => "received",
                ReceiptStatus::Invalid => "invalid",
                ReceiptStatus::Expired => "expired",
                ReceiptStatus::Replay => "replay",
                ReceiptStatus::NoLongerYours => "no_longer_yours",
            };
            Some(json!({ "receipt": status, "ticket": body.ticket.map(|id| id.to_string()) }))
        }
        Event::Expired { .. } => Some(json!({ "receipt": "expired", "ticket": null })),
        Event::Connected
        | Event::Disconnected { .. }
        | Event::Refused { .. }
        | Event::Step { .. } => None,
    }
}

fn note(body: &NoteBody) -> Value {
    let from = match &body.from {
        NoteFrom::Customer => "customer",
        NoteFrom::Technician => "technician",
        NoteFrom::Operator(_) => "operator",
    };
    let change = body.change.as_ref().map(|change| match change {
        Change::Amended(_) => "amended",
        Change::Held { .. } => "held",
        Change::Cancelled => "cancelled",
    });
    json!({
        "note": body.ticket.to_string(),
        "number": body.number,
        "from": from,
        "text": body.text,
        "change": change,
        // What opens it is kept (`enclosures`), not printed.
        "attachment": body.enclosure.as_ref().map(|one| json!({
            "number": one.number,
            "name": one.name,
            "bytes": one.bytes,
        })),
    })
}
