//! Escalation policies, promises and silences, by the commands of operators.

use std::time::Duration;

use fieldmesh_tests::{
    live::{until, until_within},
    process::{
        Finished, Launch, Server, fieldmesh,
        handheld::{CATEGORY, Handheld},
        run, text,
    },
};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// Nobody sleeps for long here: each step waits five seconds.
const SHORT: &str = r#"
[[policy]]
name = "short"

[[policy.step]]
offer = { technicians = 1 }
within = "5s"

[[policy.step]]
tell = { dispatcher = "duty" }
within = "5s"

[[policy.step]]
repeat = { from = 2 }
"#;

const TARGETS: &str = r#"
[[target]]
name = "all"
calendar = "always"
respond = "10s"
finish = "4h"
"#;

fn file(content: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// A server with a customer and a technician whose device is never looked at.
struct Stand {
    server: Server,
    customer: Handheld,
    technician: Handheld,
    dirs: [TempDir; 2],
}

impl Stand {
    async fn new() -> Self {
        let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Launch::dev(data.path()).ready().await;
        let names = ["Ada", "Grace"];
        let (customer, technician) = server.pair(devices.path(), names, &server.devices).await;
        Self { server, customer, technician, dirs: [data, devices] }
    }

    async fn run(&self, args: &[&str]) -> Finished {
        fieldmesh(&self.server.dir, args).await
    }

    async fn show(&self, ticket: &str) -> Value {
        self.server.ask(&["ticket", "show", ticket]).await
    }

    /// Until the ticket is as wanted.
    async fn becomes(&self, ticket: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || {
            let shown = self.show(ticket).await;
            wanted(&shown).then_some(shown)
        })
        .await
    }

    async fn row(&self, ticket: &str) -> Value {
        let listed = self.server.ask(&["ticket", "list"]).await;
        let rows = listed["rows"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == ticket).unwrap().clone()
    }
}

fn tellings(shown: &Value) -> usize {
    let events = shown["events"].as_array().unwrap();
    let is_told = |event: &&Value| {
        event["event"] == "escalated" && event["detail"].as_str().unwrap().starts_with("to step 2")
    };
    events.iter().filter(is_told).count()
}

#[tokio::test]
async fn a_dispatcher_is_told_again_and_again_until_somebody_answers() {
    let stand = Stand::new().await;
    let policies = file(SHORT);
    let applied = stand.server.ask(&["policy", "apply", text(policies.path())]).await;
    assert_eq!((&applied["version"], &applied["kind"]), (&1.into(), &"policies".into()));
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let told = stand.becomes(&ticket, "told three times", |shown| tellings(shown) >= 3).await;
    let policy = &told["policy"];
    assert_eq!(
        (&policy["name"], &policy["version"], &policy["step"]),
        (&"short".into(), &1.into(), &2.into())
    );
    assert!(policy["round"].as_u64().unwrap() >= 2, "{policy}");
    let explained = stand.server.ask(&["ticket", "explain", &ticket]).await;
    let policy = &explained["choices"][0]["policy"];
    assert_eq!((&policy["name"], &policy["version"]), (&"short".into(), &1.into()));
    assert_eq!(explained["choices"][0]["rule_version"], 0, "{explained}");
    assert_eq!(explained["policy"]["version"], 1, "{explained}");
    // A technician is sought all the while.
    let tried = |shown: &Value| shown.to_string().matches("\"offered\"").count();
    stand.becomes(&ticket, "offered again", |shown| tried(shown) >= 2).await;
    assert_eq!(stand.row(&ticket).await["standing"]["step"], 2);

    stand.run(&["ticket", "acknowledge", &ticket]).await.expect_code(0);
    let answered = stand.show(&ticket).await;
    assert!(answered["policy"]["acknowledged_by"].is_string(), "{answered}");
    assert_eq!(stand.row(&ticket).await["standing"]["is_acknowledged"], true);
    // Whoever has the last word may go on at once; a later document changes nothing for this ticket.
    let other = SHORT.replace("\"short\"", "\"other\"").replacen("5s", "1m", 1);
    let other = file(&other);
    stand.run(&["policy", "apply", text(other.path())]).await.expect_code(0);
    let before = tellings(&answered);
    stand.run(&["ticket", "escalate", &ticket]).await.expect_code(0);
    let escalated = stand.show(&ticket).await;
    assert!(tellings(&escalated) > before, "{escalated}");
    assert_eq!(escalated["policy"]["name"], "short");
    assert_eq!(escalated["policy"]["acknowledged_by"], Value::Null);
    let second = stand.customer.request("the light is out").await;
    assert_eq!(stand.show(&second).await["policy"]["name"], "other");

    // A technician comes forward: nobody is told any more.
    let alert = stand.technician.alert(&second).await;
    let explained = stand.server.ask(&["ticket", "explain", &second]).await;
    assert_eq!(explained["choices"][0]["policy"]["version"], 2, "{explained}");
    stand.technician.accept(&alert).await;
    let accepted = stand.becomes(&second, "accepted", |shown| shown["state"] == "accepted").await;
    assert_eq!(accepted["policy"]["step"], Value::Null);
    stand.run(&["ticket", "escalate", &second]).await.expect_code(3);
}

#[tokio::test]
async fn a_policy_with_a_mistake_changes_nothing() {
    let stand = Stand::new().await;
    let silent =
        file(&SHORT.replace("repeat = { from = 2 }", "tell = { led = \"x\" }\nwithin = \"5s\""));
    let path = text(silent.path());
    for verb in [["policy", "lint"], ["policy", "apply"]] {
        let refused = stand.run(&[&verb[..], &[path]].concat()).await.expect_code(3).to_string();
        assert!(refused.contains("14:10: error: policy `short`: "), "{refused}");
        assert!(refused.contains("no field `led`; did you mean `lead`?"), "{refused}");
    }
    let shown = stand.server.ask(&["policy", "show"]).await;
    assert_eq!((&shown["version"], &shown["text"]), (&0.into(), &"".into()));
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let shown = stand.show(&ticket).await;
    assert_eq!(shown["policy"], Value::Null, "without a document the built-in rules hold");
    stand.run(&["ticket", "escalate", &ticket]).await.expect_code(3);

    // Versions: over which one it is written, and back again.
    let (good, other) = (file(SHORT), file(&SHORT.replace("\"short\"", "\"other\"")));
    let apply = ["policy", "apply", "--base", "0", text(good.path())];
    stand.run(&apply).await.expect_code(0);
    let stale = ["policy", "apply", "--base", "0", text(other.path())];
    let refused = stand.run(&stale).await.expect_code(3).to_string();
    assert!(refused.contains("are at version 1, not at 0"), "{refused}");
    stand.run(&["policy", "apply", text(other.path())]).await.expect_code(0);
    assert_eq!(stand.server.ask(&["policy", "rollback"]).await["version"], 3);
    let shown = stand.server.ask(&["policy", "show"]).await;
    assert_eq!((&shown["version"], &shown["text"]), (&3.into(), &SHORT.into()));

    // Whom a policy tells must be there, and stay there.
    let target =
        |name| format!("[[person]]\nname = \"{name}\"\nurl = \"https://pager.example/\"\n");
    let (duty, nobody) = (file(&target("duty")), file(&target("chief")));
    let without = ["webhook", "apply", text(nobody.path())];
    let refused = stand.run(&without).await.expect_code(3).to_string();
    assert!(refused.contains("policy short tells the dispatcher duty"), "{refused}");
    stand.run(&["webhook", "apply", text(duty.path())]).await.expect_code(0);
    let unknown = file(&SHORT.replace("\"duty\"", "\"dutty\""));
    let refused = stand.run(&["policy", "apply", text(unknown.path())]).await.expect_code(3);
    let refused = refused.to_string();
    assert!(refused.contains("there is no person `dutty`; did you mean `duty`?"), "{refused}");
    let rules = "version = 1\n[[rule]]\nname = \"loud\"\nwhen = 'true'\nactions = [{ notify = \"dutty\" }]\n";
    let rules = file(rules);
    let refused = stand.run(&["rule", "apply", text(rules.path())]).await.expect_code(3);
    assert!(refused.to_string().contains("rule loud tells dutty"), "{refused}");
}

#[tokio::test]
async fn a_policy_is_tried_without_a_server() {
    let policies = file(SHORT);
    let path = text(policies.path());
    run("fieldmesh", &["policy", "lint", path]).await.expect_code(0);
    let args = ["policy", "simulate", path, "--json", "--technician", "3:never"];
    let answered = [&args[..], &["--answers", "duty:2", "--hours", "1"]].concat();
    let timeline = run("fieldmesh", &answered).await.expect_code(0).json();
    let moments = timeline["moments"].as_array().unwrap();
    let at = |what: &str| -> Vec<u64> {
        let fits = moments.iter().filter(|moment| moment["what"] == what);
        fits.map(|moment| moment["at_s"].as_u64().unwrap()).collect()
    };
    assert_eq!(at("told")[..2], [5, 10], "{timeline}");
    assert_eq!(at("answered"), [10], "{timeline}");
    assert_eq!(at("told").get(2), Some(&1810), "{timeline}");
    let bad = [&args[..], &["--technician", "near"]].concat();
    run("fieldmesh", &bad).await.expect_code(2);
}

#[tokio::test]
async fn silences_hold_tickets_and_promises_stand_meanwhile() {
    let stand = Stand::new().await;
    let targets = file(TARGETS);
    stand.run(&["sla", "apply", text(targets.path())]).await.expect_code(0);
    let add = ["silence", "add", "rebuilt", "--minutes", "60"];
    let nothing = stand.run(&add).await.expect_code(3).to_string();
    assert!(nothing.contains("would silence every ticket"), "{nothing}");
    stand.run(&[&add[..], &["--category", CATEGORY]].concat()).await.expect_code(0);
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let held = stand.becomes(&ticket, "held", |shown| shown["state"] == "held").await;
    let promises = &held["promises"];
    assert_eq!(
        (&promises["target"], &promises["respond"]["due_ms"]),
        (&"all".into(), &Value::Null)
    );
    assert_eq!(stand.row(&ticket).await["standing"]["is_silenced"], true);
    let listed = stand.server.ask(&["silence", "list"]).await;
    assert_eq!(listed["silences"][0]["is_active"], true, "{listed}");

    stand.run(&["silence", "expire", "rebuilt"]).await.expect_code(0);
    let offered = stand.becomes(&ticket, "offered", |shown| shown["state"] == "offered").await;
    assert!(offered["promises"]["respond"]["due_ms"].is_u64(), "{offered}");
    stand.run(&["silence", "expire", "rebuilt"]).await.expect_code(3);
    // A window in another region holds nothing here.
    let open = ["maint", "open", "far", "--minutes", "60", "--region", "zz1"];
    stand.run(&open).await.expect_code(0);
    let other = stand.customer.request("the light is out").await;
    stand.becomes(&other, "offered", |shown| shown["state"] == "offered").await;
    stand.run(&["maint", "close", "far"]).await.expect_code(0);

    // What was promised is broken where nobody accepts, and lists say so.
    stand
        .becomes(&ticket, "breached", |shown| {
            shown["promises"]["respond"]["breached_at_ms"].is_u64()
        })
        .await;
    assert_eq!(stand.row(&ticket).await["standing"]["is_breached"], true);
    for (wanted, is_listed) in [("true", true), ("false", false)] {
        let list = stand.server.ask(&["ticket", "list", "--breached", wanted]).await;
        let mut rows = list["rows"].as_array().unwrap().iter();
        assert_eq!(rows.any(|row| row["id"] == ticket.as_str()), is_listed, "{list}");
    }
}

/// The storm is there before the window is opened.
#[tokio::test]
async fn a_silence_holds_what_somebody_is_sought_for_already() {
    let stand = Stand::new().await;
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    stand.becomes(&ticket, "offered", |shown| shown["state"] == "offered").await;
    let add = ["silence", "add", "rebuilt", "--minutes", "60", "--category", CATEGORY];
    stand.run(&add).await.expect_code(0);
    stand.becomes(&ticket, "held", |shown| shown["state"] == "held").await;
    assert_eq!(stand.row(&ticket).await["standing"]["is_silenced"], true);
    // What an operator resumes is not held by it again.
    stand.run(&["ticket", "resume", &ticket]).await.expect_code(0);
    stand.becomes(&ticket, "offered", |shown| shown["state"] == "offered").await;
    let other = ["maint", "open", "hall", "--minutes", "60", "--category", CATEGORY];
    stand.run(&other).await.expect_code(0);
    let next = stand.customer.request("the light is out").await;
    stand.becomes(&next, "held", |shown| shown["state"] == "held").await;
    let shown = stand.server.ask(&["ticket", "show", &ticket]).await;
    assert_eq!(shown["state"], "offered", "{shown}");
}

/// Nobody can be told by a webhook that there is not, whether or not there is a document of them.
#[tokio::test]
async fn a_webhook_that_is_unknown_is_refused_with_its_place() {
    let stand = Stand::new().await;
    let also = "[[policy.step]]\ntell = { webhook = \"siren\" }\nwithin = \"5s\"\n\n";
    let repeats = "[[policy.step]]\nrepeat";
    let wrong = file(&SHORT.replace(repeats, &format!("{also}{repeats}")));
    let path = text(wrong.path());
    for args in [&["policy", "lint", path, "--ask"] as &[&str], &["policy", "apply", path]] {
        let refused = stand.run(args).await.expect_code(3);
        refused.expect_one_line(&["14:20", "there is no webhook `siren`"]);
    }
    // People are told by whoever asks for it, and offline nobody knows.
    let people = file(SHORT);
    let people = text(people.path());
    let warned = stand.run(&["policy", "lint", people, "--ask"]).await.expect_code(0).json();
    let found = &warned["findings"][0];
    assert_eq!((&found["line"], &found["severity"]), (&10.into(), &"warning".into()), "{warned}");
    assert!(found["text"].as_str().unwrap().contains("`duty` cannot be told"), "{warned}");
    run("fieldmesh", &["policy", "lint", path]).await.expect_code(0);

    // Whoever watches the node sees that nobody would be told, until somebody can be.
    let url = format!("https://{}/readyz", stand.server.https);
    let told = async || {
        let answer = run("/usr/bin/curl", &["-sSfk", &url]).await.expect_code(0).json();
        answer["warnings"][0].as_str().unwrap_or_default().to_owned()
    };
    assert!(told().await.starts_with("no escalation policy is in force"));
    let applied = stand.run(&["policy", "apply", people]).await.expect_code(0).json();
    assert_eq!(applied["warnings"][0]["line"], 10, "{applied}");
    until("the policy is in force", async || {
        told().await.contains("not in the document of webhooks").then_some(())
    })
    .await;
    assert!(stand.server.metrics().await.contains("\nfieldmesh_nobody_told 1\n"));
    let targets = file("[[person]]\nname = \"duty\"\nurl = \"https://pager.example.com/in\"\n");
    stand.run(&["webhook", "apply", text(targets.path())]).await.expect_code(0);
    until("somebody can be told", async || told().await.is_empty().then_some(())).await;
    assert!(stand.server.metrics().await.contains("\nfieldmesh_nobody_told 0\n"));
}

#[tokio::test]
async fn every_open_ticket_is_audited() {
    let stand = Stand::new().await;
    stand.run(&["shift", "off", &stand.technician.id]).await.expect_code(0);
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    stand.becomes(&ticket, "unfilled", |shown| shown["state"] == "unfilled").await;
    let url = format!("https://{}/readyz", stand.server.https);
    // A pass begins half a minute after the one before.
    let patience = Duration::from_secs(60);
    let audited = until_within(patience, "a pass that saw the ticket", async || {
        let answer = run("/usr/bin/curl", &["-sSk", &url]).await.expect_code(0).json();
        let audits = answer["audits"].as_array().unwrap();
        let is_seen = audits.iter().any(|audit| audit["open"] == 1);
        is_seen.then_some(answer)
    })
    .await;
    let audits = audited["audits"].as_array().unwrap();
    assert!(audits.iter().all(|audit| audit["missing"] == 0 && audit["ended_ms"].is_u64()));
    assert!(stand.server.metrics().await.contains("fieldmesh_audit_passes_total"));
    // Nobody can be found for it, and whoever watches the node sees that there is one.
    until_within(patience, "the ticket is counted", async || {
        let metrics = stand.server.metrics().await;
        let mut counts =
            metrics.lines().filter(|line| line.starts_with("fieldmesh_tickets_unfilled{"));
        counts.any(|line| line.ends_with(" 1")).then_some(())
    })
    .await;
}

/// Two are asked at the same time.
const TOGETHER: &str = r#"
[[policy]]
name = "together"

[[policy.step]]
offer = { technicians = 2, at_once = 2 }
within = "10m"

[[policy.step]]
tell = { dispatcher = "duty" }
within = "10m"

[[policy.step]]
repeat = { from = 2 }
"#;

#[tokio::test]
async fn two_are_asked_and_the_first_who_accepts_has_it() {
    let stand = Stand::new().await;
    let csv = "name,lat,lon,capacity,skills\nCy,48.87,2.37,1,7:3\n";
    let id = stand.server.register("tech", csv).await.remove(0);
    let other = stand.dirs[1].path().join("other");
    let other = stand.server.device(other, id.clone(), &stand.server.devices).await;
    until("the other is at the desk", async || {
        let args = ["dispatch", "whatif", "--category", CATEGORY, "--priority", "3"];
        let found =
            stand.server.ask(&[&args[..], &["--lat", "48.85", "--lon", "2.35"]].concat()).await;
        found["choice"]["candidates"].to_string().contains(&id).then_some(())
    })
    .await;
    let policies = file(TOGETHER);
    stand.run(&["policy", "apply", text(policies.path())]).await.expect_code(0);
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let first = stand.technician.alert(&ticket).await;
    let second = other.alert(&ticket).await;
    assert_ne!(first["offer"], second["offer"]);
    other.accept(&second).await;
    let shown = stand.becomes(&ticket, "accepted", |shown| shown["state"] == "accepted").await;
    assert_eq!(shown["technician"], id.as_str());
    let offer = first["offer"].as_str().unwrap();
    let late = ["respond", "--ticket", &ticket, "--offer", offer, "accept", "--eta-min", "5"];
    stand.technician.run(&late).await.expect_code(3).expect_one_line(&["no longer yours"]);
    // It goes on under its own offer, and may be written to.
    let offer = second["offer"].as_str().unwrap();
    let en_route = ["respond", "--ticket", &ticket, "--offer", offer, "en-route"];
    other.run(&en_route).await.expect_code(0);
    stand.becomes(&ticket, "on its way", |shown| shown["state"] == "en_route").await;
}
