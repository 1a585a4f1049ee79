//! What a target reads: JSON as Standard Webhooks has it (`type`, `timestamp`, `data`).
//!
//! **Invariant:** nothing of a person's, nor of what a request says. **Not here:** the signature (`signing`).

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_domain::notifier::Notice;
use serde::Serialize;

use crate::dates;

#[derive(Debug, Serialize)]
struct Payload<T> {
    r#type: &'static str,
    timestamp: String,
    data: T,
}

/// One notice.
#[derive(Debug, Serialize)]
struct Data<'a> {
    id: String,
    ticket: String,
    region: String,
    /// 1 is the highest; 0 where it has none yet.
    priority: u8,
    stage: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

/// Several that are told together.
#[derive(Debug, Serialize)]
struct Digest<'a> {
    count: usize,
    notices: Vec<Payload<Data<'a>>>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn payload(notice: &Notice) -> Payload<Data<'_>> {
    Payload {
        r#type: notice.what.name(),
        timestamp: dates::date(notice.at.0 / 1000),
        data: Data {
            id: notice_id(notice),
            ticket: notice.ticket.to_string(),
            region: notice.ticket.region().to_string(),
            priority: notice.priority,
            stage: notice.stage.name(),
            detail: &notice.detail,
        },
    }
}

fn notice_id(notice: &Notice) -> String {
    format!("ntc_{}", hex(&notice.id))
}

/// A message for a target: its id, the same however often it is sent, and its body.
pub(super) fn message(notices: &[Notice], now_ms: u64) -> (String, Vec<u8>) {
    let (id, body) = match notices {
        [one] => (notice_id(one), serde_json::to_vec(&payload(one))),
        all => {
            let ids: Vec<u8> = all.iter().flat_map(|notice| notice.id).collect();
            let id = format!("dig_{}", hex(&digest(&SHA256, &ids).as_ref()[..16]));
            let data = Digest { count: all.len(), notices: all.iter().map(payload).collect() };
            let timestamp = dates::date(now_ms / 1000);
            (id, serde_json::to_vec(&Payload { r#type: "digest", timestamp, data }))
        }
    };
    // Maps with keys that are no texts do not occur.
    (id, body.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{
        EntityId, EntityKind,
        notifier::{Recipient, What},
        ticket::Stage,
        time::Millis,
    };
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn targets_read_what_is_documented() {
        let ticket = EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [1; 10]);
        let (to, what, stage) = (Recipient::Subscribers, What::Accepted, Stage::Accepted);
        let (at, detail) = (Millis(1_795_676_647_123), String::new());
        let notice = Notice { id: [10; 16], to, ticket, what, priority: 2, stage, at, detail };
        let (id, body) = message(std::slice::from_ref(&notice), 0);
        let read: Value = serde_json::from_slice(&body).unwrap();
        let data = json!({
            "id": id, "ticket": ticket.to_string(), "region": "eu1", "priority": 2,
            "stage": "accepted",
        });
        let timestamp = "2026-11-26T07:04:07Z";
        let one = json!({"type": "ticket.accepted", "timestamp": timestamp, "data": data});
        assert_eq!((id.as_str(), &read), ("ntc_0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", &one));
        let (id, body) = message(&[notice.clone(), notice], 1_795_676_647_999);
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert!(id.starts_with("dig_") && id.len() == 36);
        let data = json!({"count": 2, "notices": [one, one]});
        assert_eq!(read, json!({"type": "digest", "timestamp": timestamp, "data": data}));
    }
}
