//! Senders of other systems report as they are: Alertmanager, and PagerDuty's Events API v2.

use fieldmesh_tests::{
    live::until,
    process::{Launch, Server, fieldmesh, run_with_input},
};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Stand {
    server: Server,
    customer: String,
    _dir: TempDir,
}

impl Stand {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let server = Launch::dev(dir.path()).ready().await;
        let line = "name,lat,lon,tier\nAda,48.85,2.35,1\n";
        let customer = server.register("customer", line).await.remove(0);
        Self { server, customer, _dir: dir }
    }

    /// An integration: its identifier, its key, and where its sender posts.
    async fn create(&self, kind: &str) -> (String, String, String) {
        let args = ["intake", "create", "--customer", &self.customer, "--kind", kind];
        let map = ["--name", "mon", "--category", "7", "--map", "critical=1/1", "--label"];
        let args = [&args[..], &map, &["team=doors:9"]].concat();
        let made = self.server.ask(&args).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("key"), text("url"))
    }

    /// Status and body of the answer to a POST of somebody without a certificate.
    async fn post(&self, url: &str, body: &str) -> (u16, Value) {
        let args = ["-sSk", "-X", "POST", "--data-binary", "@-", "-w", "\n%{http_code}", url];
        let header = ["-H", "Content-Type: application/json"];
        let args = [&header[..], &args].concat();
        let said = run_with_input("/usr/bin/curl", &args, body.as_bytes()).await;
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn tickets(&self) -> Vec<Value> {
        self.server.ask(&["ticket", "list"]).await["rows"].as_array().unwrap().clone()
    }

    /// Until there are so many tickets, and so many of them in a state.
    async fn are(&self, count: usize, state: &str, of_them: usize) -> Vec<Value> {
        until(state, async || {
            let tickets = self.tickets().await;
            let fit = tickets.iter().filter(|ticket| ticket["state"] == state).count();
            (tickets.len() == count && fit == of_them).then_some(tickets)
        })
        .await
    }
}

/// A group as Alertmanager sends it.
fn group(status: &str) -> String {
    let labels = json!({
        "alertname": "DoorOpen", "instance": "door-4", "severity": "critical", "team": "doors",
    });
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"DoorOpen\"}", "truncatedAlerts": 0,
        "status": status, "receiver": "fieldmesh", "groupLabels": {"alertname": "DoorOpen"},
        "commonLabels": labels, "commonAnnotations": {"summary": "a door is open"},
        "externalURL": "http://alertmanager.example.org:9093",
        "alerts": [{
            "status": status, "labels": labels, "annotations": {"summary": "a door is open"},
            "startsAt": "2026-02-06T13:08:45.828Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.org/graph", "fingerprint": "1a30ba71cca2921f",
        }],
    })
    .to_string()
}

#[tokio::test]
async fn alertmanager_opens_one_ticket_for_a_group_until_it_is_resolved() {
    let stand = Stand::new().await;
    let (id, key, url) = stand.create("alertmanager").await;
    assert_eq!(key.len(), 32);
    for _ in 0..2 {
        assert_eq!(stand.post(&url, &group("firing")).await.0, 200);
    }
    let tickets = stand.are(1, "unfilled", 1).await;
    assert_eq!(tickets[0]["priority"], 1, "{tickets:?}");
    assert_eq!(stand.post(&url, &group("resolved")).await.0, 200);
    stand.are(1, "cancelled", 1).await;
    assert_eq!(stand.post(&url, &group("firing")).await.0, 200);
    stand.are(2, "cancelled", 1).await;
    // What is wrong is named; a key that is not known, and one that was revoked, open nothing.
    let (status, problem) = stand.post(&url, &group("firing").replace("groupKey", "group")).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().contains("'groupKey'"), "{problem}");
    let wrong = url.replace(&key, &"0".repeat(32));
    assert_eq!(stand.post(&wrong, &group("firing")).await.0, 404);
    let other = group("firing").replace("DoorOpen", "DoorStuck");
    stand.server.ask(&["intake", "revoke", &id]).await;
    assert_eq!(stand.post(&url, &other).await.0, 404);
    let shown = stand.server.ask(&["intake", "list"]).await;
    assert_eq!(shown["integrations"][0]["revoked"], true, "{shown}");
    assert!(!shown.to_string().contains(&key));
    assert_eq!(stand.tickets().await.len(), 2);
}

#[tokio::test]
async fn senders_to_pagerduty_are_answered_as_by_pagerduty() {
    let stand = Stand::new().await;
    let (_, key, url) = stand.create("pagerduty").await;
    let event = |action: &str, severity: &str| {
        json!({
            "routing_key": key, "event_action": action, "dedup_key": "srv01/HTTP",
            "payload": {"summary": "HTTP is down", "source": "srv01", "severity": severity},
        })
        .to_string()
    };
    for action in ["trigger", "trigger", "acknowledge"] {
        let (status, body) = stand.post(&url, &event(action, "critical")).await;
        let wanted = json!({
            "status": "success", "message": "Event processed", "dedup_key": "srv01/HTTP",
        });
        assert_eq!((status, body), (202, wanted), "{action}");
    }
    stand.are(1, "unfilled", 1).await;
    let (status, body) = stand.post(&url, &event("trigger", "awful")).await;
    assert_eq!((status, body["status"].as_str()), (400, Some("invalid event")));
    assert!(body["errors"][0].as_str().unwrap().contains("payload.severity"), "{body}");
    let (status, body) = stand.post(&url, &event("trigger", "info").replace(&key, "nokey")).await;
    assert_eq!(status, 400);
    assert!(body["errors"][0].as_str().unwrap().contains("routing_key"), "{body}");
    // One that repeats itself without end is slowed.
    let (mut slowed, resolve) = (0, event("acknowledge", "info"));
    for _ in 0..260 {
        if stand.post(&url, &resolve).await.0 == 429 {
            slowed += 1;
        }
    }
    println!("reports: {slowed} of 260 were slowed");
    until("it may report again", async || {
        (stand.post(&url, &event("resolve", "info")).await.0 == 202).then_some(())
    })
    .await;
    stand.are(1, "cancelled", 1).await;
    let refused = ["intake", "create", "--customer", "cus_eu1_00000000000000000000"];
    let rest = ["--kind", "pagerduty", "--name", "x", "--category", "1"];
    fieldmesh(&stand.server.dir, &[&refused[..], &rest].concat()).await.expect_code(3);
}
