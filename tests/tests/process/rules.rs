//! Trigger rules as operators write them: examined, tried, applied, refused, taken back, and what they do.

use std::path::PathBuf;

use fieldmesh_tests::process::{
    Finished, Launch, Server, fieldmesh, handheld::Handheld, run, text,
};
use serde_json::Value;
use tempfile::TempDir;

/// Smoke is urgent, and only for those with a skill that the stand's technician has at level 3.
const SMOKE: &str = r#"version = 1

[[rule]]
name = "smoke"
when = 'ticket.text.lowerAscii().contains("smoke")'
stop = true
actions = [{ set_priority = 1 }, { require_skill = { category = 7, level = 3 } }]

[[rule]]
name = "dust"
when = 'ticket.text.contains("dust")'
actions = [{ require_skill = { category = 7, level = 4 } }]

[[rule]]
name = "by-day"
when = 'ticket.text.contains("paint")'
actions = [{ hold = { minutes = 60, reason = "paint dries by day" } }]

[[rule]]
name = "one-cause"
when = 'ticket.text.contains("power")'
actions = [{ group_by = '"power/" + region' }]

[[test]]
name = "smoke-is-urgent"
facts.ticket.text = "SMOKE in the hall"
expect.priority = 1
expect.rules = ["smoke"]
"#;

struct Stand {
    server: Server,
    customer: Handheld,
    dirs: [TempDir; 3],
}

impl Stand {
    async fn new() -> Self {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
        let server = Launch::dev(dirs[0].path()).ready().await;
        let (customer, _) = server.pair(dirs[1].path(), ["Ada", "Grace"], &server.devices).await;
        Self { server, customer, dirs }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dirs[2].path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn rule(&self, args: &[&str]) -> Finished {
        fieldmesh(&self.server.dir, &[&["rule"], args].concat()).await
    }

    async fn shows(&self, ticket: &str, verb: &str) -> Value {
        self.server.ask(&["ticket", verb, ticket]).await
    }

    async fn becomes(&self, ticket: &str, state: &str) {
        fieldmesh_tests::live::until(state, async || {
            let shown = self.shows(ticket, "show").await;
            (shown["state"] == state).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn rules_act_on_tickets_and_tickets_tell_of_it() {
    let stand = Stand::new().await;
    let before = stand.customer.request("smoke in the cellar").await;
    let explained = stand.shows(&before, "explain").await;
    assert_eq!(explained["triage"], Value::Null, "{explained}");
    assert_eq!(explained["policy"], Value::Null, "{explained}");

    let rules = stand.file("rules.toml", SMOKE);
    let applied = stand.rule(&["apply", text(&rules)]).await.expect_code(0).json();
    assert_eq!(applied["version"], 1, "{applied}");
    let smoke = stand.customer.request("there is Smoke in the hall").await;
    stand.becomes(&smoke, "offered").await;
    let shown = stand.shows(&smoke, "show").await;
    assert_eq!(shown["priority"], 1, "{shown}");
    let triage = stand.shows(&smoke, "explain").await["triage"].clone();
    assert_eq!((&triage["version"], &triage["rules"][0]["rule"]), (&1.into(), &"smoke".into()));
    let did = triage["rules"][0]["did"].to_string();
    assert!(did.contains("set_priority 1"), "{triage}");
    assert!(did.contains("require_skill 7 at level 3"), "{triage}");

    // Nobody has the skill at that level, and it is said which one is missing.
    let dust = stand.customer.request("dust in the server room").await;
    stand.becomes(&dust, "unfilled").await;
    let explained = stand.shows(&dust, "explain").await;
    let reason = explained["choices"][0]["excluded"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "lacks a required skill: 7 at level 4", "{explained}");
    let choice = &explained["choices"][0];
    assert_eq!((&choice["rule_version"], &choice["excluded_count"]), (&1.into(), &1.into()));
    let dir = text(&stand.server.dir);
    let told = run("fieldmesh", &["ticket", "explain", &dust, "--data-dir", dir]).await;
    let told = told.expect_code(0).stdout;
    assert!(told.contains("rules 1, no policy: chose nobody"), "{told}");
    assert!(told.contains("1 left out"), "{told}");

    let paint = stand.customer.request("paint comes off").await;
    stand.becomes(&paint, "held").await;
    let story = stand.shows(&paint, "show").await.to_string();
    assert!(story.contains("paint dries by day"), "{story}");

    let first = stand.customer.request("no power in the hall").await;
    stand.becomes(&first, "offered").await;
    let second = stand.customer.request("no power upstairs").await;
    stand.becomes(&second, "grouped").await;
    let story = stand.shows(&second, "show").await.to_string();
    assert!(story.contains(&format!("under {first}")), "{story}");

    let tried = stand.rule(&["backtest", text(&rules)]).await.expect_code(0).json();
    assert_eq!((&tried["tickets"], &tried["rules"][0]["matched"]), (&6.into(), &2.into()));
}

/// What a zone's clocks show is tried where facts are gathered; here that the zone comes with the customer.
const LOCAL: &str = r#"version = 1

[[rule]]
name = "in-india"
when = 'site.zone == "Asia/Kolkata"'
actions = [{ set_priority = 1 }]
"#;

#[tokio::test]
async fn rules_know_the_zone_of_the_customers_site() {
    let stand = Stand::new().await;
    let rules = stand.file("rules.toml", LOCAL);
    stand.rule(&["apply", text(&rules)]).await.expect_code(0);
    let before = stand.customer.request("the fan is loud").await;
    stand.becomes(&before, "offered").await;
    assert_ne!(stand.shows(&before, "show").await["priority"], 1);

    let customer = stand.customer.id.as_str();
    let set = async |zone: &str| {
        fieldmesh(&stand.server.dir, &["customer", "set", customer, "--zone", zone]).await
    };
    set("Asia/Kolkatta").await.expect_code(3).expect_one_line(&["Asia/Kolkata meant?"]);
    // In whatever case it is written; what is there already is no change.
    assert_eq!(set("asia/kolkata").await.expect_code(0).json()["outcome"], "changed");
    assert_eq!(set("Asia/Kolkata").await.expect_code(0).json()["outcome"], "unchanged");
    let after = stand.customer.request("the fan stands still").await;
    stand.becomes(&after, "offered").await;
    let shown = stand.shows(&after, "show").await;
    assert_eq!(shown["priority"], 1, "{shown}");

    assert_eq!(set("none").await.expect_code(0).json()["outcome"], "changed");
    let last = stand.customer.request("the fan is loud again").await;
    stand.becomes(&last, "offered").await;
    assert_ne!(stand.shows(&last, "show").await["priority"], 1);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place_and_changes_nothing() {
    let stand = Stand::new().await;
    let rules = stand.file("rules.toml", SMOKE);
    stand.rule(&["apply", text(&rules)]).await.expect_code(0);
    // An unknown fact: in line 5, where the expression names it.
    let unknown = SMOKE.replacen("ticket.text.lowerAscii()", "ticket.tone.lowerAscii()", 1);
    let wrong = stand.file("wrong.toml", &unknown);
    let refused = stand.rule(&["apply", text(&wrong)]).await.expect_code(3).to_string();
    assert!(refused.contains("5:9: error: rule `smoke`"), "{refused}");
    let linted = run("fieldmesh", &["rule", "lint", text(&wrong), "--json"]).await;
    let linted = linted.expect_code(1).json();
    assert_eq!((&linted["findings"][0]["line"], &linted["is_usable"]), (&5.into(), &false.into()));
    // Its own test does not pass.
    let failing =
        stand.file("failing.toml", &SMOKE.replace("expect.priority = 1", "expect.priority = 2"));
    let refused = stand.rule(&["apply", text(&failing)]).await.expect_code(3).to_string();
    assert!(refused.contains("smoke-is-urgent"), "{refused}");
    run("fieldmesh", &["rule", "test", text(&failing)]).await.expect_code(1);
    run("fieldmesh", &["rule", "test", text(&rules)]).await.expect_code(0);
    // Somebody else wrote meanwhile.
    let other = stand.file("other.toml", &SMOKE.replacen("version = 1", "version = 2", 1));
    let refused = stand.rule(&["apply", text(&other), "--base", "0"]).await.expect_code(3);
    refused.expect_one_line(&["version 1", "not at 0"]);
    let history = stand.rule(&["history"]).await.expect_code(0).json();
    assert_eq!(history["in_force"], 1, "{history}");
    assert_eq!(history["versions"].as_array().unwrap().len(), 1, "{history}");
}

/// The stand's technician has the category's skill at level 3.
#[tokio::test]
async fn a_skill_that_nobody_has_is_warned_of_with_its_line() {
    let stand = Stand::new().await;
    let rules = stand.file("rules.toml", SMOKE);
    let of_skills = |findings: &Value| -> Vec<Value> {
        let all = findings.as_array().unwrap().iter();
        all.filter(|one| one["text"].as_str().unwrap().contains("nobody of region"))
            .cloned()
            .collect()
    };
    // The desk hears of a technician after the operator.
    let linted = fieldmesh_tests::live::until("the desk knows it", async || {
        let linted = stand.rule(&["lint", text(&rules), "--ask"]).await.expect_code(0).json();
        let found = of_skills(&linted["findings"]);
        (found.len() == 1).then_some(found)
    })
    .await;
    assert_eq!((&linted[0]["line"], &linted[0]["severity"]), (&12.into(), &"warning".into()));
    let said = linted[0]["text"].as_str().unwrap();
    assert!(said.contains("skill 7 at level 4, at most at 3"), "{said}");
    // Without a server nobody knows.
    let alone = run("fieldmesh", &["rule", "lint", text(&rules), "--json"]).await;
    assert_eq!(of_skills(&alone.expect_code(0).json()["findings"]), Vec::<Value>::new());
    let applied = stand.rule(&["apply", text(&rules)]).await.expect_code(0).json();
    let warned = of_skills(&applied["warnings"]);
    assert_eq!((&applied["version"], &warned[0]["line"]), (&1.into(), &12.into()), "{applied}");
    // A skill that somebody has is none to be warned of, and one that nobody has at all is.
    let other = SMOKE
        .replace("level = 4", "level = 2")
        .replace("category = 7, level = 3", "category = 8, level = 1");
    let other = stand.file("other.toml", &other);
    let applied = stand.rule(&["apply", text(&other)]).await.expect_code(0).json();
    let warned = of_skills(&applied["warnings"]);
    assert_eq!(warned.len(), 1, "{applied}");
    assert_eq!(warned[0]["line"], 7, "{applied}");
}

#[tokio::test]
async fn an_old_version_is_in_force_again_as_a_new_one() {
    let stand = Stand::new().await;
    let rules = stand.file("rules.toml", SMOKE);
    stand.rule(&["apply", text(&rules)]).await.expect_code(0);
    // The same again is no new version.
    let again = stand.rule(&["apply", text(&rules)]).await.expect_code(0).json();
    assert_eq!(again["version"], 1, "{again}");
    let calm = stand.file("calm.toml", "version = 2\n");
    stand.rule(&["apply", text(&calm), "--base", "1"]).await.expect_code(0);
    let ticket = stand.customer.request("smoke in the cellar").await;
    let shown = stand.shows(&ticket, "show").await;
    assert_ne!(shown["priority"], 1, "{shown}");
    let back = stand.rule(&["rollback"]).await.expect_code(0).json();
    assert_eq!(back["version"], 3, "{back}");
    let shown = stand.rule(&["show"]).await.expect_code(0).json();
    assert_eq!((&shown["version"], &shown["text"]), (&3.into(), &SMOKE.into()));
    let ticket = stand.customer.request("smoke in the attic").await;
    let explained = stand.shows(&ticket, "explain").await;
    assert_eq!(explained["triage"]["version"], 3, "{explained}");
    // The one that acted, not the number that its author wrote.
    let shown = stand.shows(&ticket, "show").await;
    assert_eq!(shown["events"][0]["rule_version"], 3, "{shown}");
    stand.rule(&["rollback", "9"]).await.expect_code(3);
}
