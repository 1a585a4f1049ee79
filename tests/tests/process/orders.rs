//! What operators order of tickets and what customers do with theirs, by the commands of both.

use fieldmesh_tests::process::{Launch, Server, handheld::Handheld};
use serde_json::Value;
use tempfile::TempDir;

/// A server with a customer's and a technician's device.
struct Stand {
    server: Server,
    customer: Handheld,
    technician: Handheld,
    _dirs: [TempDir; 2],
}

impl Stand {
    async fn new() -> Self {
        let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Launch::dev(data.path()).ready().await;
        let names = ["Ada", "Grace"];
        let (customer, technician) = server.pair(devices.path(), names, &server.devices).await;
        Self { server, customer, technician, _dirs: [data, devices] }
    }

    /// An order of an operator; how the command ends.
    async fn order(&self, ticket: &str, args: &[&str], code: i32) -> String {
        let args = [&["ticket", args[0], ticket], &args[1..]].concat();
        let ended = fieldmesh_tests::process::fieldmesh(&self.server.dir, &args).await;
        ended.expect_code(code).to_string()
    }

    async fn act(&self, ticket: &str, args: &[&str], code: i32) -> String {
        let args = [&["act", "--ticket", ticket], args].concat();
        self.customer.run(&args).await.expect_code(code).to_string()
    }

    async fn respond(&self, alert: &Value, args: &[&str]) {
        let (ticket, offer) = (alert["alert"].as_str().unwrap(), alert["offer"].as_str().unwrap());
        let args = [&["respond", "--ticket", ticket, "--offer", offer], args].concat();
        self.technician.run(&args).await.expect_code(0);
    }

    /// Until the ticket is in a state.
    async fn becomes(&self, ticket: &str, state: &str) {
        fieldmesh_tests::live::until(state, async || {
            let shown = self.server.ask(&["ticket", "show", ticket]).await;
            (shown["state"] == state).then_some(())
        })
        .await;
    }

    /// What a device is told that fits.
    async fn hears(device: &Handheld, fits: impl Fn(&Value) -> bool) -> Value {
        let mut listening = device.start(&["listen", "--seconds", "60"]);
        let line = listening.until(fits).await;
        listening.end_with("TERM").await;
        line
    }
}

#[tokio::test]
async fn a_ticket_is_held_written_about_paused_confirmed_and_reopened() {
    let stand = Stand::new().await;
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let alert = stand.technician.alert(&ticket).await;
    stand.order(&ticket, &["hold", "--hours", "2", "--reason", "the key is on its way"], 0).await;
    stand.becomes(&ticket, "held").await;
    let note = Stand::hears(&stand.customer, |line| line["change"] == "held").await;
    assert_eq!((&note["note"], &note["from"]), (&ticket.as_str().into(), &"operator".into()));
    // The offer is no longer the technician's.
    let offer = alert["offer"].as_str().unwrap();
    let late = ["respond", "--ticket", &ticket, "--offer", offer, "accept", "--eta-min", "9"];
    stand.technician.run(&late).await.expect_code(3);

    stand.order(&ticket, &["resume"], 0).await;
    stand.becomes(&ticket, "offered").await;
    let alert = stand.technician.alert(&ticket).await;
    stand.technician.accept(&alert).await;
    stand.becomes(&ticket, "accepted").await;
    let refused = stand.order(&ticket, &["hold", "--hours", "2"], 3).await;
    assert!(refused.contains("a technician has accepted the ticket"), "{refused}");

    stand.act(&ticket, &["message", "--text", "ring twice"], 0).await;
    let note = Stand::hears(&stand.technician, |line| line["text"] == "ring twice").await;
    assert_eq!(note["from"], "customer");
    stand.respond(&alert, &["message", "--text", "half an hour"]).await;
    let note = Stand::hears(&stand.customer, |line| line["text"] == "half an hour").await;
    assert_eq!(note["from"], "technician");

    stand.respond(&alert, &["on-site"]).await;
    stand.respond(&alert, &["pause", "--reason", "parts", "--minutes", "30"]).await;
    stand.becomes(&ticket, "paused").await;
    stand.respond(&alert, &["resume"]).await;
    stand.respond(&alert, &["complete"]).await;
    stand.becomes(&ticket, "completed").await;
    stand.act(&ticket, &["object", "--reason", "it still does not close"], 0).await;
    stand.becomes(&ticket, "offered").await;
    let alert = stand.technician.alert(&ticket).await;
    stand.technician.accept(&alert).await;
    stand.respond(&alert, &["complete"]).await;
    stand.becomes(&ticket, "completed").await;
    stand.act(&ticket, &["confirm"], 0).await;
    stand.becomes(&ticket, "closed").await;
    stand.order(&ticket, &["reopen"], 0).await;
    stand.becomes(&ticket, "offered").await;
    stand.act(&ticket, &["cancel"], 0).await;
    stand.becomes(&ticket, "cancelled").await;

    let story = stand.server.ask(&["ticket", "show", &ticket]).await.to_string();
    for event in ["held", "taken_back", "message", "reopened", "ordered"] {
        assert!(story.contains(&format!("\"{event}\"")), "{event}: {story}");
    }
    assert!(!story.contains("ring twice"), "what people write is not for lists");
}

#[tokio::test]
async fn a_ticket_is_given_to_a_technician_and_nobody_elses_business() {
    let stand = Stand::new().await;
    let ticket = stand.customer.request("the light in the hall is out").await;
    let alert = stand.technician.alert(&ticket).await;
    stand.respond(&alert, &["decline"]).await;
    stand.becomes(&ticket, "unfilled").await;
    // Nobody else is there: an operator's word counts for more than the decline.
    let me = stand.technician.id.clone();
    stand.order(&ticket, &["reassign", "--to", &me, "--reason", "asked for"], 0).await;
    let story = stand.server.ask(&["ticket", "show", &ticket]).await.to_string();
    assert!(story.contains("\"assigned\""), "{story}");
    stand.becomes(&ticket, "offered").await;
    let refused = stand.order(&ticket, &["reassign", "--to", &ticket], 3).await;
    assert!(refused.contains("no technician's identifier"), "{refused}");
    stand.order(&ticket, &["amend", "--priority", "1", "--text", "all lights are out"], 0).await;
    let shown = stand.server.ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["priority"], 1, "{shown}");
    stand.order(&ticket, &["pin"], 0).await;
    stand.order(&ticket, &["amend", "--priority", "9"], 3).await;
    stand.order("tkt_none", &["pin"], 3).await;
    // A customer has no say in others' tickets, nor in what only operators order.
    let line = ["name,lat,lon,tier\nEve,48.85,2.35,2\n"];
    let other = stand.server.register("customer", line[0]).await.remove(0);
    let dir = TempDir::new().unwrap();
    let device = stand.server.device(dir.path().join("eve"), other, &stand.server.devices).await;
    device.run(&["act", "--ticket", &ticket, "cancel"]).await.expect_code(3);
    stand.order(&ticket, &["unpin"], 0).await;
    let shown = stand.server.ask(&["ticket", "show", &ticket]).await;
    assert_ne!(shown["state"], "cancelled", "{shown}");
}
