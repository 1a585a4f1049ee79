//! Who gets whom: tickets that are matched together, the most urgent that takes an offer, questions that
//! change nothing, and the plan of a day.

use fieldmesh_tests::{
    live::{Live, until},
    process::{
        Launch, Server, fieldmesh,
        handheld::{CATEGORY, Handheld},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server with a customer's device.
struct Region {
    server: Server,
    customer: Handheld,
    devices: TempDir,
    _data: TempDir,
}

impl Region {
    async fn new() -> Self {
        let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Launch::dev(data.path()).ready().await;
        let csv = "name,lat,lon,tier\nAda,48.0,2.0,2\n";
        let customer = server.register("customer", csv).await.remove(0);
        let customer = server.device(devices.path().join("ada"), customer, &server.devices).await;
        Self { server, customer, devices, _data: data }
    }

    /// A technician with a device, some hundredths of a degree to the east, once the desk knows of it.
    async fn technician(&self, name: &str, east: u32, capacity: u32) -> Handheld {
        let csv = format!(
            "name,lat,lon,capacity,skills\n{name},48.0,2.{east:02},{capacity},{CATEGORY}:1\n"
        );
        let id = self.server.register("tech", &csv).await.remove(0);
        let dir = self.devices.path().join(name);
        let device = self.server.device(dir, id.clone(), &self.server.devices).await;
        until("the desk knows the technician", async || {
            let found = self.what_if(5, east, &[]).await;
            let is_known = found["choice"]["candidates"]
                .as_array()
                .unwrap()
                .iter()
                .any(|candidate| candidate["technician"] == id.as_str());
            // It gathers once it was told, a second after its start.
            (is_known && found["choice"]["how"].is_object()).then_some(())
        })
        .await;
        device
    }

    async fn request(&self, east: u32, urgency: u8) -> String {
        let (lon, urgency) = ((2_000_000 + east * 10_000).to_string(), urgency.to_string());
        let impact = if urgency == "1" { "1" } else { "2" };
        let place = ["--lat-e6", "48000000", "--lon-e6", &lon, "--wait", "30"];
        let what = ["request", "--category", CATEGORY, "--text", "it is cold"];
        let grade = ["--impact", impact, "--urgency", &urgency];
        let args = [&what[..], &grade, &place].concat();
        let receipt = self.customer.run(&args).await.expect_code(0).json();
        receipt["ticket"].as_str().unwrap().to_owned()
    }

    async fn what_if(&self, priority: u8, east: u32, more: &[&str]) -> Value {
        let (priority, lon) = (priority.to_string(), format!("2.{east:02}"));
        let args = ["dispatch", "whatif", "--category", CATEGORY, "--priority", &priority];
        let place = ["--lat", "48.0", "--lon", &lon];
        self.server.ask(&[&args[..], &place, more].concat()).await
    }

    async fn becomes(&self, ticket: &str, state: &str) {
        until(state, async || {
            let shown = self.server.ask(&["ticket", "show", ticket]).await;
            (shown["state"] == state).then_some(())
        })
        .await;
    }

    /// Until a ticket is with a technician.
    async fn is_with(&self, ticket: &str, technician: &Handheld) {
        until("the technician has the ticket", async || {
            let shown = self.server.ask(&["ticket", "show", ticket]).await;
            (shown["technician"] == technician.id.as_str()).then_some(())
        })
        .await;
    }

    async fn last_choice(&self, ticket: &str) -> Value {
        let explained = self.server.ask(&["ticket", "explain", ticket, "--replay"]).await;
        explained["choices"].as_array().unwrap().last().unwrap().clone()
    }

    async fn order(&self, ticket: &str, args: &[&str]) {
        self.server.ask(&[&["ticket", args[0], ticket], &args[1..]].concat()).await;
    }
}

#[tokio::test]
async fn one_technician_goes_to_one_of_many_tickets_and_priority_1_takes_the_offer() {
    let region = Region::new().await;
    // Nobody is there yet: all wait, grouped under one that is held.
    let parent = region.request(1, 2).await;
    region.order(&parent, &["hold", "--hours", "2"]).await;
    let (mut far, near) = (Vec::new(), region.request(1, 2).await);
    for east in [70, 80, 90] {
        far.push(region.request(east, 2).await);
    }
    for child in far.iter().chain([&near]) {
        region.order(child, &["group", "--parent", &parent]).await;
        region.becomes(child, "grouped").await;
    }
    let only = region.technician("Bo", 0, 1).await;

    // Their parent is cancelled, so all ask within a moment, and there is one technician. Whether the first was
    // alone for that moment is chance; whoever waited for others was matched together with them.
    region.order(&parent, &["cancel"]).await;
    let all: Vec<String> = far.into_iter().chain([near]).collect();
    let offered = until("one of them is offered", async || {
        for ticket in &all {
            let shown = region.server.ask(&["ticket", "show", ticket]).await;
            if shown["technician"] == only.id.as_str() {
                return Some(ticket.clone());
            }
        }
        None
    })
    .await;
    for other in all.iter().filter(|ticket| **ticket != offered) {
        region.becomes(other, "unfilled").await;
    }
    let chosen = region.last_choice(&offered).await;
    let how = &chosen["choice"]["how"];
    let was_alone = how["competing"].as_u64().unwrap() <= 1;
    assert_eq!(how["mode"] == "at_once", was_alone, "{chosen}");
    assert_eq!((&how["room"], &chosen["same"]), (&1.into(), &true.into()), "{chosen}");
    let near = offered;

    // What is asked changes nothing.
    let before = region.server.ask(&["ticket", "show", &near]).await;
    let found = region.what_if(1, 2, &[]).await;
    assert_eq!(
        (&found["displaces"], &found["displaced_from"]),
        (&near.as_str().into(), &only.id.as_str().into())
    );
    let found = region.what_if(1, 2, &["--without", &only.id]).await;
    assert_eq!((&found["displaces"], &found["choice"]["chosen"]), (&Value::Null, &Value::Null));
    assert_eq!(region.server.ask(&["ticket", "show", &near]).await, before);

    // Priority 1 takes the offer.
    let urgent = region.request(2, 1).await;
    region.is_with(&urgent, &only).await;
    let shown = region.server.ask(&["ticket", "show", &near]).await.to_string();
    assert!(shown.contains(&format!("from {}, for {urgent}", only.id)), "{shown}");
    let chosen = region.last_choice(&urgent).await;
    assert_eq!(chosen["choice"]["how"]["displaced"], near.as_str(), "{chosen}");
    assert_eq!(chosen["same"], true, "{chosen}");

    // What was accepted does not give way.
    let alert = only.alert(&urgent).await;
    only.accept(&alert).await;
    region.becomes(&urgent, "accepted").await;
    let next = region.request(1, 1).await;
    region.becomes(&next, "unfilled").await;
    let shown = region.server.ask(&["ticket", "show", &urgent]).await;
    assert_eq!(
        (&shown["state"], &shown["technician"]),
        (&"accepted".into(), &only.id.as_str().into())
    );
}

#[tokio::test]
async fn the_plan_of_a_day_is_advice_until_it_is_ordered() {
    let region = Region::new().await;
    let far = region.technician("Bo", 60, 4).await;
    let accepted = region.request(0, 2).await;
    let alert = far.alert(&accepted).await;
    far.accept(&alert).await;
    region.becomes(&accepted, "accepted").await;
    let offered = region.request(0, 2).await;
    region.is_with(&offered, &far).await;
    // Somebody lives right there, but was not there when they were offered.
    let near = region.technician("Cy", 0, 4).await;

    let args = ["dispatch", "plan", "--deadline", "300ms"];
    let plan = region.server.ask(&args).await;
    let moves = plan["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 1, "{plan}");
    assert_eq!(
        (&moves[0]["ticket"], &moves[0]["to"]),
        (&offered.as_str().into(), &near.id.as_str().into())
    );
    assert_eq!(moves[0]["epoch"], 1, "the offer that it was planned by");
    assert_eq!(plan["orders"], Value::Null);
    let shown = region.server.ask(&["ticket", "show", &offered]).await;
    assert_eq!(shown["technician"], far.id.as_str(), "a plan changes nothing");

    let done = region.server.ask(&[&args[..], &["--apply", "--pin"]].concat()).await;
    assert_eq!(done["orders"][0]["refused"], Value::Null, "{done}");
    region.is_with(&offered, &near).await;
    let explained = region.server.ask(&["ticket", "explain", &offered]).await;
    let last = explained["choices"].as_array().unwrap().last().unwrap();
    assert!(last["by"].is_string() && last["chosen"] == near.id.as_str(), "{explained}");
    let shown = region.server.ask(&["ticket", "show", &accepted]).await;
    assert_eq!(
        (&shown["state"], &shown["technician"]),
        (&"accepted".into(), &far.id.as_str().into())
    );
    // It is pinned now, and so the next plan leaves it where it is.
    let plan = region.server.ask(&args).await;
    assert_eq!(plan["moves"], Value::Array(Vec::new()), "{plan}");
}

/// Distances to a place that is none would overflow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_about_a_place_that_is_not_on_earth_is_refused() {
    let live = Live::start().await;
    for (lat, lon) in [(90_000_001, 0), (i32::MIN, 0), (0, 180_000_001), (i32::MAX, i32::MAX)] {
        let location = json!({ "lat_e6": lat, "lon_e6": lon });
        let asked = json!({ "category": 1, "priority": 2, "location": location });
        let (status, problem) = live.try_post("/v1/whatif", &asked).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("not on earth"), "{problem}");
    }
}

const COLD: &str = r#"version = 1

[[rule]]
name = "cold"
when = 'ticket.text.contains("cold")'
actions = [{ set_priority = 1 }]
"#;

/// Whoever says for which customer is told what would come of its request, and then it comes so.
#[tokio::test]
async fn what_would_come_of_a_customers_request_comes_of_it() {
    let region = Region::new().await;
    let (near, far) = (region.technician("Bo", 0, 5).await, region.technician("Cy", 50, 5).await);
    let rules = region.devices.path().join("rules.toml");
    std::fs::write(&rules, COLD).unwrap();
    region.server.ask(&["rule", "apply", rules.to_str().unwrap()]).await;
    let ada = region.customer.id.as_str();
    region.server.ask(&["customer", "prefer", ada, "--blocked", &near.id]).await;
    assert_eq!(region.what_if(3, 0, &[]).await["choice"]["chosen"], near.id.as_str());
    let args = ["dispatch", "whatif", "--category", CATEGORY, "--customer", ada];
    let would = ["--impact", "2", "--urgency", "2", "--text", "it is cold"];
    let found = until("the rules are in force", async || {
        let found = region.server.ask(&[args, would].concat()).await;
        (found["begins"]["rules"][0] == "cold").then_some(found)
    })
    .await;
    let begins = &found["begins"];
    assert_eq!((&begins["state"], &begins["priority"]), (&"matching".into(), &1.into()), "{found}");
    let choice = &found["choice"];
    assert_eq!(choice["chosen"], far.id.as_str(), "{found}");
    let mut excluded = choice["excluded"].as_array().unwrap().iter();
    assert!(excluded.any(|one| one["technician"] == near.id.as_str()), "{found}");
    // Nothing came of asking.
    let list = region.server.ask(&["ticket", "list"]).await;
    assert_eq!(list["rows"].as_array().unwrap().len(), 0, "{list}");
    let ticket = region.request(0, 2).await;
    region.is_with(&ticket, &far).await;
    let shown = region.server.ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["priority"], 1, "{shown}");
    // A priority of its own is of no request.
    let both = [&args[..], &["--priority", "2"]].concat();
    fieldmesh(&region.server.dir, &both).await.expect_code(2);
}
