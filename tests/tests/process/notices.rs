//! Notices to targets outside: one that is well among those that hang, lie, fail and go.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_tests::{
    live::until,
    process::{
        Launch, Server, fieldmesh,
        handheld::Handheld,
        run_with_input,
        sink::{Manner, Received, Sink},
        text,
    },
};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// What a target that is well waits at most, whatever the others do: commits and a request on a busy machine.
const SOON: Duration = Duration::from_secs(10);

struct Stand {
    server: Server,
    customer: Handheld,
    technician: Handheld,
    _dirs: [TempDir; 2],
}

impl Stand {
    async fn new() -> Self {
        let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let launch = Launch::dev(data.path())
            .env("FIELDMESH__NOTICES__FIRST_PAUSE_MS", "200")
            .env("FIELDMESH__NOTICES__ANSWER_S", "2");
        let server = launch.ready().await;
        let names = ["Ada", "Grace"];
        let (customer, technician) = server.pair(devices.path(), names, &server.devices).await;
        Self { server, customer, technician, _dirs: [data, devices] }
    }

    async fn webhook(&self, args: &[&str], code: i32) -> String {
        let args = [&["webhook"], args].concat();
        fieldmesh(&self.server.dir, &args).await.expect_code(code).to_string()
    }

    async fn ask(&self, args: &[&str]) -> Value {
        self.server.ask(&[&["webhook"], args].concat()).await
    }

    async fn apply(&self, document: &str, code: i32) -> String {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), document).unwrap();
        self.webhook(&["apply", text(file.path())], code).await
    }

    /// Why the last attempt for a target failed.
    async fn why(&self, target: &str) -> Option<String> {
        let shown = self.ask(&["log", "--state", "failed", "--target", target]).await;
        shown["notices"][0]["reason"].as_str().map(str::to_owned)
    }
}

fn hook(name: &str, url: &str, more: &str) -> String {
    format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nevents = [\"ticket.*\"]\n{more}\n")
}

/// Checked by OpenSSL, with the secret as the target's owner was told it.
async fn is_signed(received: &Received, secret: &str) {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let header = |name: &str| received.header(name).unwrap().to_owned();
    let signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp"));
    let signed = [signed.as_bytes(), &received.body].concat();
    let mac = format!("hexkey:{key}");
    let args = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &mac, "-hex"];
    let said = run_with_input("/usr/bin/openssl", &args, &signed).await;
    let digits = said.trim().rsplit(' ').next().unwrap();
    let digits: Vec<u8> = digits.as_bytes().chunks(2).map(hex_byte).collect();
    let wanted = format!("v1,{}", STANDARD.encode(digits));
    assert!(header("webhook-signature").split(' ').any(|one| one == wanted), "{received:?}");
}

fn hex_byte(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_well_gets_everything_whatever_the_others_do() {
    let stand = Stand::new().await;
    let ok = Manner::status(204);
    let only = std::slice::from_ref(&ok);
    let (well, secret) = (Sink::start(only).await, Sink::start(only).await);
    let hanging = Sink::start(&[Manner::Hang]).await;
    let location = format!("Location: {}\r\n", secret.url());
    let redirecting = Sink::start(&[Manner::Status(302, location)]).await;
    let lying = Sink::start(&[Manner::Garbage]).await;
    let failing = Sink::start(&[Manner::status(500), Manner::status(500), ok.clone()]).await;
    let leaving = Sink::start(&[Manner::status(410)]).await;
    let inside = Sink::start(only).await;
    let private = "allow_private = true";
    let document = [
        hook("hanging", &hanging.url(), private),
        hook("inside", &inside.url().replace("http:", "https:"), ""),
        hook("leaving", &leaving.url(), private),
        hook("lying", &lying.url(), private),
        hook("redirecting", &redirecting.url(), private),
        hook("failing", &failing.url(), private),
        hook("well", &well.url(), private),
    ];
    stand.apply(&document.concat(), 0).await;
    let began = Instant::now();
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let wanted = ["ticket.opened", "ticket.triaged", "ticket.offered"];
    until("all is told", async || {
        let types = well.types();
        wanted.iter().all(|wanted| types.iter().any(|is| is == wanted)).then_some(())
    })
    .await;
    assert!(began.elapsed() < SOON, "a target was delayed: {:?}", began.elapsed());
    println!("notices: all told {} ms after the request began", began.elapsed().as_millis());
    let shown = stand.ask(&["secret", "well"]).await;
    let shown = shown["secret"].as_str().unwrap();
    for received in well.received() {
        assert_eq!(received.json()["data"]["ticket"], ticket);
        assert!(!String::from_utf8_lossy(&received.body).contains("freezer"));
        is_signed(&received, shown).await;
    }
    until("what failed is told", async || {
        let types = failing.types();
        let is_told = |wanted: &&str| types.iter().any(|is| is == wanted);
        (failing.received().len() >= 5 && wanted.iter().all(is_told)).then_some(())
    })
    .await;
    for (target, word) in [
        ("hanging", "no answer within"),
        ("lying", "no HTTP"),
        ("redirecting", "redirects are not followed"),
        ("inside", "private address"),
    ] {
        let why = until(target, async || stand.why(target).await).await;
        assert!(why.contains(word), "{target}: {why}");
    }
    assert!(secret.received().is_empty() && inside.received().is_empty());
    stand.comes_back(&leaving, wanted.len()).await;
}

impl Stand {
    /// The target that went is told again, all that it missed, when it is there again.
    async fn comes_back(&self, leaving: &Sink, missed: usize) {
        until("a target is closed", async || {
            let dead = self.ask(&["dead", "--target", "leaving"]).await;
            let count = dead["notices"].as_array().unwrap().len();
            (count >= missed).then_some(())
        })
        .await;
        let asked = leaving.received().len();
        self.webhook(&["test", "leaving"], 0).await;
        leaving.behave(Manner::status(204));
        self.webhook(&["open", "leaving"], 0).await;
        self.webhook(&["replay", "--target", "leaving"], 0).await;
        until("the dead are told", async || {
            let types = leaving.types();
            types[asked..].iter().any(|is| is == "test").then_some(())
        })
        .await;
        assert_eq!(self.ask(&["dead"]).await["notices"].as_array().unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named_with_their_place_and_change_nothing() {
    let stand = Stand::new().await;
    let good = hook("crm", "https://crm.example.com/in", "");
    stand.apply(&good, 0).await;
    let bad = good.replace("ticket.*", "ticket.opend");
    let refused = stand.apply(&bad, 3).await;
    assert!(refused.contains(":4:11: ") && refused.contains("ticket.opend"), "{refused}");
    let inside = hook("crm", "http://10.0.0.1/", "");
    assert!(stand.apply(&inside, 3).await.contains("allow_private"));
    let shown = stand.ask(&["list"]).await;
    assert_eq!(shown["version"], 1, "{shown}");
    assert_eq!(shown["targets"][0]["url"], "https://crm.example.com/in");
    assert!(!shown.to_string().contains("whsec_"), "{shown}");
    stand.webhook(&["test", "nobody"], 3).await;
    // What was sent before a restart stays known, and what waits goes on waiting.
    let sink = Sink::start(&[Manner::status(503)]).await;
    stand.apply(&hook("crm", &sink.url(), "allow_private = true"), 0).await;
    stand.webhook(&["test", "crm"], 0).await;
    until("it is tried", async || (!sink.received().is_empty()).then_some(())).await;
    let again = stand.server.again().env("FIELDMESH__NOTICES__FIRST_PAUSE_MS", "200");
    stand.server.kill().await;
    let server = again.ready().await;
    sink.behave(Manner::status(200));
    until("it is delivered after a crash", async || {
        let shown = server.ask(&["webhook", "log", "--state", "delivered"]).await;
        (shown["notices"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let ids: Vec<String> = sink
        .received()
        .iter()
        .map(|received| received.header("webhook-id").unwrap().to_owned())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// A technician has ten minutes; the dispatcher is told when somebody says so.
const PATIENT: &str = r#"
[[policy]]
name = "patient"

[[policy.step]]
offer = { technicians = 1 }
within = "10m"

[[policy.step]]
tell = { dispatcher = "duty" }
within = "10m"

[[policy.step]]
repeat = { from = 2 }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_told_that_nobody_comes_is_told_who_does() {
    let stand = Stand::new().await;
    let (duty, lead) = (Sink::start(&[Manner::status(204)]).await, Sink::start(&[]).await);
    let person = |name: &str, sink: &Sink| {
        format!("[[person]]\nname = \"{name}\"\nurl = \"{}\"\nallow_private = true\n", sink.url())
    };
    stand.apply(&[person("duty", &duty), person("lead", &lead)].concat(), 0).await;
    let policies = NamedTempFile::new().unwrap();
    std::fs::write(policies.path(), PATIENT).unwrap();
    let server = &stand.server.dir;
    fieldmesh(server, &["policy", "apply", text(policies.path())]).await.expect_code(0);
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let alert = stand.technician.alert(&ticket).await;
    fieldmesh(server, &["ticket", "escalate", &ticket]).await.expect_code(0);
    until("the dispatcher is told", async || (!duty.received().is_empty()).then_some(())).await;
    assert_eq!(duty.types(), ["ticket.escalated"]);
    stand.technician.accept(&alert).await;
    until("the dispatcher is told who comes", async || (duty.types().len() == 2).then_some(()))
        .await;
    assert_eq!(duty.types(), ["ticket.escalated", "ticket.accepted"]);
    let data = duty.received()[1].json()["data"].clone();
    assert_eq!(data["ticket"], ticket, "{data}");
    let detail = data["detail"].as_str().unwrap();
    assert!(detail.contains(&stand.technician.id), "{detail}");
    assert!(lead.received().is_empty(), "who was not told of it hears nothing");
}

impl Stand {
    /// How far what was told a target came, oldest first: what, its state, why.
    async fn log(&self, target: &str) -> Vec<[String; 3]> {
        let shown = self.ask(&["log", "--target", target]).await;
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let notices = shown["notices"].as_array().unwrap().iter();
        notices.map(|one| ["what", "state", "reason"].map(|key| text(one, key))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_reached_before_somebody_comes_is_not_called_any_more() {
    let stand = Stand::new().await;
    let duty = Sink::start(&[Manner::status(503)]).await;
    let person =
        |url: &str| format!("[[person]]\nname = \"duty\"\nurl = \"{url}\"\nallow_private = true\n");
    stand.apply(&person(&duty.url()), 0).await;
    let policies = NamedTempFile::new().unwrap();
    std::fs::write(policies.path(), PATIENT).unwrap();
    let server = &stand.server.dir;
    fieldmesh(server, &["policy", "apply", text(policies.path())]).await.expect_code(0);
    let ticket = stand.customer.request("the door of the freezer does not close").await;
    let alert = stand.technician.alert(&ticket).await;
    fieldmesh(server, &["ticket", "escalate", &ticket]).await.expect_code(0);
    until("the dispatcher is tried", async || (!duty.received().is_empty()).then_some(())).await;
    stand.technician.accept(&alert).await;
    let log = until("the call is over", async || {
        let log = stand.log("duty").await;
        (log.len() == 2 && log[0][1] == "dead").then_some(log)
    })
    .await;
    assert_eq!([log[0][0].as_str(), log[1][0].as_str()], ["ticket.escalated", "ticket.accepted"]);
    assert!(log[0][2].starts_with("over before it was taken"), "{log:?}");
    // Its target is well again, and written down anew: what waits goes out at once.
    let before = duty.types().len();
    duty.behave(Manner::status(204));
    let anew = format!("{}# anew\n", person(&duty.url()));
    stand.apply(&anew, 0).await;
    until("the dispatcher is told who comes", async || {
        let log = stand.log("duty").await;
        (log[1][1] == "delivered").then_some(())
    })
    .await;
    let types = duty.types().split_off(before);
    assert!(types.iter().all(|is| is == "ticket.accepted"), "{types:?}");
}
