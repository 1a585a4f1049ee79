//! What operators do for people: tickets for customers who call, revisions, suspensions, one of them shown.

use fieldmesh_tests::{
    live::until,
    process::{
        Finished, Launch, Server, fieldmesh,
        handheld::{CATEGORY, Handheld},
    },
};
use serde_json::{Value, json};
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

    async fn run(&self, args: &[&str]) -> Finished {
        fieldmesh(&self.server.dir, args).await
    }

    async fn submit(&self, customer: &str, more: &[&str]) -> Finished {
        let args = ["ticket", "submit", customer, "--category", CATEGORY, "--text", "no heating"];
        self.run(&[&args, more].concat()).await
    }

    /// Until the ticket is in a state.
    async fn becomes(&self, ticket: &str, state: &str) -> Value {
        until(state, async || {
            // What was submitted is a ticket a moment later.
            let shown = self.run(&["ticket", "show", ticket]).await;
            let shown = (shown.code == Some(0)).then(|| shown.json())?;
            (shown["state"] == state).then_some(shown)
        })
        .await
    }

    /// The tickets of a list.
    async fn listed(&self, args: &[&str]) -> Vec<String> {
        let list = self.server.ask(&[&["ticket", "list"], args].concat()).await;
        let rows = list["rows"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn id(outcome: &Value) -> &str {
    outcome["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_ticket_is_opened_for_a_customer_who_calls() {
    let stand = Stand::new().await;
    let customer = stand.customer.id.clone();
    let urgent = ["--impact", "1", "--urgency", "1", "--key", "call-4711"];
    let made = stand.submit(&customer, &urgent).await.expect_code(0).json();
    assert_eq!(made["outcome"], "created", "{made}");
    // Whoever had no answer asks again.
    let again = stand.submit(&customer, &urgent).await.expect_code(0).json();
    assert_eq!((&again["outcome"], id(&again)), (&json!("unchanged"), id(&made)), "{again}");
    let other = stand.submit(&customer, &["--impact", "2", "--key", "call-4711"]).await;
    other.expect_code(3).expect_one_line(&["under this idempotency key: use another"]);
    let ticket = id(&made);
    assert_eq!(stand.becomes(ticket, "offered").await["priority"], 1);
    stand.technician.accept(&stand.technician.alert(ticket).await).await;
    stand.becomes(ticket, "accepted").await;
    let shown = stand.server.ask(&["customer", "show", &customer]).await;
    assert_eq!((&shown["open_tickets"], &shown["tickets"]), (&json!(1), &json!([ticket])));
    // Who has no device has no other way to ask.
    let bo = stand.server.register("customer", "name,lat,lon\nBo,48.85,2.35\n").await.remove(0);
    let more = stand.submit(&bo, &[]).await.expect_code(0).json();
    stand.becomes(id(&more), "offered").await;

    let nobody = bo.replace("cus_", "tec_");
    stand.submit(&nobody, &[]).await.expect_code(3).expect_one_line(&["no customer's identifier"]);
    for (wrong, code) in [
        (&["--impact", "4"] as &[&str], 2),
        (&["--lat", "48.85"], 2),
        (&["--lat", "91", "--lon", "0"], 2),
        (&["--key", "two words"], 2),
    ] {
        stand.submit(&bo, wrong).await.expect_code(code);
    }
    let area = ["cluster", "area", "eu1", "--box", "41,-5,51,10"];
    stand.run(&area).await.expect_code(0);
    let nowhere = stand.submit(&bo, &["--lat", "0", "--lon", "0"]).await.expect_code(3);
    nowhere.expect_one_line(&["0, 0 is in no region's area"]);
    stand.submit(&bo, &["--lat", "48.9", "--lon", "2.4"]).await.expect_code(0);
}

#[tokio::test]
async fn a_list_of_tickets_is_of_what_is_asked_for() {
    let stand = Stand::new().await;
    stand.run(&["tech", "suspend", &stand.technician.id]).await.expect_code(0);
    let (first, last) = (["--impact", "1", "--urgency", "1"], ["--impact", "3", "--urgency", "3"]);
    let customer = &stand.customer.id;
    let first = stand.submit(customer, &first).await.expect_code(0).json();
    let last = stand.submit(customer, &last).await.expect_code(0).json();
    let (first, last) = (id(&first).to_owned(), id(&last).to_owned());
    for ticket in [&first, &last] {
        stand.becomes(ticket, "unfilled").await;
    }
    stand.run(&["ticket", "hold", &first, "--hours", "2"]).await.expect_code(0);
    let mut both = vec![first.clone(), last.clone()];
    both.sort_unstable();
    for (args, wanted) in [
        (&[] as &[&str], both.clone()),
        (&["--priority", "1"], vec![first.clone()]),
        (&["--priority", "5"], vec![last.clone()]),
        (&["--priority", "3"], vec![]),
        (&["--priority", "1", "--state", "held"], vec![first.clone()]),
        (&["--priority", "5", "--state", "held"], vec![]),
        (&["--breached"], vec![]),
        (&["--breached", "false"], both.clone()),
        (&["--region", "eu1"], both.clone()),
    ] {
        let mut listed = stand.listed(args).await;
        listed.sort_unstable();
        assert_eq!(listed, wanted, "{args:?}");
    }
    for kind in ["ticket", "customer", "tech"] {
        let refused = stand.run(&[kind, "list", "--region", "us1"]).await.expect_code(3);
        refused.expect_one_line(&["no region \"us1\""]);
    }
    stand.run(&["ticket", "list", "--priority", "6"]).await.expect_code(2);
}

#[tokio::test]
async fn a_customer_is_revised_and_suspended() {
    let stand = Stand::new().await;
    let customer = stand.customer.id.as_str();
    let show = async || stand.server.ask(&["customer", "show", customer]).await;
    let was = until("its device is known", async || {
        let shown = show().await;
        (shown["has_device"] == true).then_some(shown)
    })
    .await;
    let told = ["state", "name", "tier", "zone", "has_device"].map(|key| was[key].clone());
    assert_eq!(
        told,
        [json!("enrolled"), json!("Ada"), json!(2), Value::Null, json!(true)],
        "{was}"
    );
    let set = async |args: &[&str]| {
        let args = [&["customer", "set", customer], args].concat();
        stand.server.ask(&args).await["outcome"].as_str().unwrap().to_owned()
    };
    let place = ["--lat", "48.9", "--lon", "-2.5", "--tier", "1"];
    assert_eq!(set(&[&place[..], &["--dry-run"]].concat()).await, "changed");
    assert_eq!(show().await, was, "a dry run");
    assert_eq!(set(&place).await, "changed");
    assert_eq!(set(&place).await, "unchanged");
    assert_eq!(set(&["--name", "Ada L.", "--zone", "Europe/Paris"]).await, "changed");
    let is = show().await;
    let told = ["name", "tier", "zone", "location"].map(|key| is[key].clone());
    let at = json!({ "lat_e6": 48_900_000, "lon_e6": -2_500_000 });
    assert_eq!(told, [json!("Ada L."), json!(1), json!("Europe/Paris"), at], "{is}");
    for wrong in [&["--tier", "6"] as &[&str], &["--lat", "48"], &[]] {
        let args = [&["customer", "set", customer], wrong].concat();
        stand.run(&args).await.expect_code(2);
    }

    assert_eq!(stand.server.ask(&["customer", "suspend", customer]).await["outcome"], "changed");
    assert_eq!(stand.server.ask(&["customer", "suspend", customer]).await["outcome"], "unchanged");
    assert_eq!(show().await["state"], "suspended");
    stand.customer.try_request("no heating", "30").await.expect_code(3);
    let refused = stand.submit(customer, &[]).await.expect_code(3);
    refused.expect_one_line(&["the customer is suspended"]);
    assert_eq!(stand.server.ask(&["customer", "resume", customer]).await["outcome"], "changed");
    // A better tier has its effect on what is asked from then on: impact and urgency say 3.
    let made = stand.submit(customer, &[]).await.expect_code(0).json();
    assert_eq!(stand.becomes(id(&made), "offered").await["priority"], 2);
}

#[tokio::test]
async fn a_suspended_technician_is_offered_nothing() {
    let stand = Stand::new().await;
    let technician = stand.technician.id.as_str();
    let suspended = stand.server.ask(&["tech", "suspend", technician]).await;
    assert_eq!((&suspended["outcome"], &suspended["warning"]), (&json!("changed"), &Value::Null));
    let shown = stand.server.ask(&["tech", "show", technician]).await;
    let told = ["state", "suspended", "on_shift", "capacity"].map(|key| shown[key].clone());
    assert_eq!(told, [json!("suspended"), json!(true), json!(true), json!(50)], "{shown}");
    assert_eq!(shown["skills"], json!([{ "category": 7, "level": 3 }]), "{shown}");
    let ticket = stand.customer.request("no heating").await;
    stand.becomes(&ticket, "unfilled").await;
    assert_eq!(stand.server.ask(&["tech", "resume", technician]).await["outcome"], "changed");
    stand.becomes(&ticket, "offered").await;
    stand.technician.accept(&stand.technician.alert(&ticket).await).await;
    stand.becomes(&ticket, "accepted").await;
    // What it accepted is its own until somebody says otherwise.
    let warned = stand.server.ask(&["tech", "suspend", technician]).await;
    let warning = warned["warning"].as_str().unwrap();
    assert!(warning.contains(&ticket) && warning.contains("reassign"), "{warned}");
    let shown = stand.server.ask(&["tech", "show", technician]).await;
    assert_eq!(shown["holds"][0]["ticket"], ticket.as_str(), "{shown}");
    assert_eq!(stand.becomes(&ticket, "accepted").await["id"], ticket.as_str());
    for nobody in [ticket.as_str(), "tec_eu1_0"] {
        stand.run(&["tech", "show", nobody]).await.expect_code(3);
    }
}
