//! Chaos on a cluster in production: allowed by two operators on every node, and ended by one.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and look at what a node records"
)]

use fieldmesh_chaos::{Fault, Network};
use fieldmesh_tests::{
    live::{Live, until},
    person::{self, P256, Person},
    process::{fieldmesh, nodes::Nodes, text},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const ALLOWANCE: &str = "/v1/chaos/allowance";

/// An operator who is no machine's.
struct Duty {
    person: Person,
    certificate: String,
    key: String,
}

impl Duty {
    /// One whose token was minted already; whoever has to approve the request does so.
    async fn enrolled(person: Person, minted: &Value, approve: impl AsyncFn(&str)) -> Self {
        let (id, secret) = (minted["user"].as_str().unwrap(), minted["secret"].as_str().unwrap());
        let key = person.key("duty", P256);
        let body = person.request_for("duty", &key, &["-subj", "/"]);
        if minted["needs_approval"] == true {
            assert_eq!(person.enroll(id, secret, &body).status, 202);
            approve(id).await;
        }
        let answer = until("the request is granted", async || {
            let answer = person.enroll(id, secret, &body);
            (answer.status == 200).then_some(answer)
        })
        .await;
        let certificate = person.certificates("duty", &answer);
        Self { person, certificate, key }
    }

    /// One whose token was minted by the machine's operator; by that one alone where nobody approves it.
    async fn of(live: &Live, by: Option<&Self>) -> Self {
        let wanted = json!({ "profile": "operator", "label": "duty" });
        let (_, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
        assert_eq!(minted["needs_approval"], json!(by.is_some()), "{minted}");
        let person = Person::new(live, "operator");
        Self::enrolled(person, &minted, async |id| by.unwrap().approves(id)).await
    }

    fn posts(&self, path: &str, body: &Value) -> (u16, Value) {
        let (json, body) = ("Content-Type: application/json", body.to_string());
        let credentials = ["--cert", &self.certificate, "--key", &self.key];
        let post = ["-X", "POST", "-H", json, "-d", &body];
        let answer = self.person.get(path, &[&post[..], &credentials].concat());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn approves(&self, id: &str) {
        let (status, view) = self.posts(&format!("/v1/ca/registrations/{id}/approve"), &json!({}));
        assert_eq!(status, 200, "{view}");
    }

    fn allows(&self, body: &Value) -> (u16, Value) {
        self.posts(ALLOWANCE, body)
    }

    /// Told that it is not the second person.
    #[track_caller]
    fn may_not_allow(&self, body: &Value, told: &str) {
        let (status, problem) = self.allows(body);
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
    }
}

async fn asked(live: &Live, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let bytes = body.to_string();
    let json = "Content-Type: application/json\r\n";
    let (status, answer) = live.http(true, method, path, json, bytes.as_bytes()).await;
    (status, serde_json::from_slice(&answer).unwrap_or_default())
}

async fn leased(live: &Live, number: u64, fault: &Value) -> (u16, Value) {
    let wanted = json!({ "fault": fault, "lasts_ms": 5000 });
    asked(live, "PUT", &format!("/v1/chaos/leases/{number}"), &wanted).await
}

async fn chaos(live: &Live) -> Value {
    asked(live, "GET", "/v1/chaos", &Value::Null).await.1
}

/// What the node's audit record has of chaos, once it is so much by operators; and what ended by itself.
async fn recorded(live: &Live, wanted: &[&str], ended: usize) -> (Vec<Value>, Vec<Value>) {
    let path = live.config.node.data_dir.join("audit.jsonl");
    until("the audit record has it", async || {
        let text = std::fs::read_to_string(&path).unwrap();
        // What is written now has no end yet.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["event"] == "chaos");
        let (told, over): (Vec<Value>, Vec<Value>) = lines.partition(|line| line["by"].is_string());
        let is_said = |line: &Value| line["by"].as_str().is_some_and(|by| by.contains("operator"));
        assert!(told.iter().all(is_said), "{told:?}");
        let what: Vec<&str> = told.iter().map(|line| line["what"].as_str().unwrap()).collect();
        (what == wanted && over.len() == ended).then_some((told, over))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_allow_what_one_may_not() {
    let live = Live::start().await;
    let first = Duty::of(&live, None).await;
    let second = Duty::of(&live, Some(&first)).await;
    let slow = json!({ "kind": "slow_disk", "delay_ms": 20 });
    let (wanted, other) =
        (json!({ "minutes": 5, "why": "a game" }), json!({ "minutes": 6, "why": "a game" }));
    assert_eq!(leased(&live, 1, &slow).await.0, 403);

    let (status, view) = live.try_post(ALLOWANCE, &wanted).await;
    assert_eq!((status, &view["proposal"]["minutes"]), (202, &json!(5)), "{view}");
    let (status, problem) = live.try_post(ALLOWANCE, &wanted).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("second operator"), "{problem}");
    assert_eq!(second.allows(&other).0, 202, "another length is not the same");
    assert_eq!(leased(&live, 1, &slow).await.0, 403, "what waits allows nothing");
    assert_eq!(chaos(&live).await["allowance"], Value::Null);

    let (status, problem) = live.try_post(ALLOWANCE, &other).await;
    assert_eq!(status, 409, "a machine's operator is no second person: {problem}");
    assert!(problem["detail"].as_str().unwrap().contains("a machine's"), "{problem}");
    first.may_not_allow(&other, "no person let it in");
    assert_eq!(live.try_post(ALLOWANCE, &wanted).await.0, 202);
    let (status, view) = second.allows(&wanted);
    assert_eq!((status, &view["proposal"]), (200, &Value::Null), "{view}");
    let allowance = &view["allowance"];
    assert_eq!(allowance["why"], "a game");
    assert_ne!(allowance["proposed_by"], allowance["approved_by"]);
    assert_eq!(&chaos(&live).await["allowance"], allowance);

    let (status, view) = leased(&live, 1, &slow).await;
    assert_eq!(
        (status, &view["allowed"]),
        (200, &json!(false)),
        "not by the configuration: {view}"
    );
    let late = Fault::Network(Network { delay_ms: 1, ..Network::default() });
    let (status, view) = leased(&live, 2, &json!(late)).await;
    assert_eq!(status, 200, "{view}");
    for (fault, name) in [
        (json!({ "kind": "clock", "offset_ms": 1000 }), "clock"),
        (json!({ "kind": "full_disk" }), "disk.full"),
    ] {
        let (status, problem) = leased(&live, 3, &fault).await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!((status, &problem["title"]), (403, &json!("chaos-guarded")), "{problem}");
        assert!(detail.contains(name) && detail.contains("labs"), "{problem}");
    }
    assert_eq!(asked(&live, "GET", "/v1/chaos/replicas", &Value::Null).await.0, 200);
    assert_eq!(asked(&live, "POST", "/v1/chaos/herd", &json!({})).await.0, 200);
    live.customer().await;

    let (status, view) = asked(&live, "DELETE", ALLOWANCE, &Value::Null).await;
    assert_eq!((status, &view["allowance"]), (200, &Value::Null), "{view}");
    until("its leases end with it", async || {
        (chaos(&live).await["leases"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(leased(&live, 1, &slow).await.0, 403);
    let told = [
        "lease_refused",
        "allowance_proposed",
        "allowance_refused",
        "allowance_proposed",
        "lease_refused",
        "allowance_refused",
        "allowance_refused",
        "allowance_proposed",
        "allowance_begun",
        "leased",
        "leased",
        "lease_refused",
        "lease_refused",
        "herd",
        "allowance_ended",
        "lease_refused",
    ];
    let (told, over) = recorded(&live, &told, 2).await;
    let (first, refused) = (&told[9], &told[11]);
    assert_eq!((&first["lease"], &first["figures"]), (&json!(1), &slow), "{first}");
    assert_eq!(refused["figures"], json!({ "kind": "clock", "offset_ms": 1000 }), "{refused}");
    assert!(refused["why"].as_str().unwrap().contains("for labs"), "{refused}");
    // They end with the allowance, but for one that was not renewed for too long on a busy machine.
    for line in &over {
        let what = line["what"].as_str().unwrap();
        assert!(["lease_forbidden", "lease_expired"].contains(&what), "{line}");
        assert!(line["figures"].is_object() && line["effect"].is_u64(), "{line}");
    }
    let numbers: Vec<u64> = over.iter().map(|line| line["lease"].as_u64().unwrap()).collect();
    assert!(numbers == [1, 2] || numbers == [2, 1], "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_could_want_is_refused() {
    let live = Live::start().await;
    for body in [
        json!({ "minutes": 0, "why": "a game" }),
        json!({ "minutes": 241, "why": "a game" }),
        json!({ "minutes": 5, "why": "" }),
    ] {
        let (status, problem) = live.try_post(ALLOWANCE, &body).await;
        assert_eq!(status, 409, "{problem}");
    }
    assert_eq!(live.try_post(ALLOWANCE, &json!({ "minutes": 5 })).await.0, 400);
    let body = json!({ "minutes": 5, "why": "a game" });
    assert_eq!(
        live.http(
            false,
            "POST",
            ALLOWANCE,
            "Content-Type: application/json\r\n",
            body.to_string().as_bytes()
        )
        .await
        .0,
        403
    );
    assert_eq!(live.http(false, "DELETE", ALLOWANCE, "", &[]).await.0, 403);
    let (status, view) = asked(&live, "DELETE", ALLOWANCE, &Value::Null).await;
    assert_eq!((status, &view["proposal"]), (200, &Value::Null), "there was nothing to end");
    recorded(&live, &["allowance_refused"; 3], 0).await;
}

/// Asks a node of a cluster as the operator of its machine, with a program that nobody here wrote.
fn curl(nodes: &Nodes, number: u64, method: &str, path: &str, body: &Value) -> Value {
    let file = |name: &str| text(&nodes.dir(number).join(name)).to_owned();
    let (ca, certificate, key) = (file("root.pem"), file("operator.pem"), file("operator.key"));
    let (body, to) = (body.to_string(), format!("::{}", nodes.node(number).https));
    let url = format!("https://localhost{path}");
    let answer = person::run(
        "curl",
        &[
            "-sS",
            "--cacert",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
            "--connect-to",
            &to,
            "-X",
            method,
            "-H",
            "Content-Type: application/json",
            "-d",
            &body,
            &url,
        ],
    );
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_proposer_let_in_alone_does_not_approve() {
    let live = Live::start().await;
    let first = Duty::of(&live, None).await;
    let second = Duty::of(&live, Some(&first)).await;
    let third = Duty::of(&live, Some(&second)).await;
    let wanted = json!({ "minutes": 5, "why": "a game" });
    // The machine minted the token: no person but the first one knows the second one.
    assert_eq!(first.allows(&wanted).0, 202);
    second.may_not_allow(&wanted, "no person but the one who proposes");
    let (status, view) = third.allows(&wanted);
    assert_eq!(status, 200, "{view}");
    assert!(view["allowance"]["approved_by"].as_str().unwrap().contains("/operator/"), "{view}");
}

/// An operator of a machine mints the token, that of another one or a person approves it; and a directory from
/// which the commands are given.
async fn duty_of(nodes: &Nodes, by: Option<&Duty>) -> (Duty, TempDir) {
    let minted = nodes.node(1).ask(&["ca", "token", "--profile", "operator"]).await;
    let person = Person::at(&nodes.node(1).https, nodes.dir(1).join("root.pem"), "operator");
    let duty = Duty::enrolled(person, &minted, async |id| match by {
        Some(by) => by.approves(id),
        None => drop(nodes.node(2).ask(&["ca", "approve", id]).await),
    })
    .await;
    let dir = TempDir::new().unwrap();
    for name in ["addresses.json", "root.pem"] {
        std::fs::copy(nodes.dir(1).join(name), dir.path().join(name)).unwrap();
    }
    for (from, to) in [(&duty.certificate, "operator.pem"), (&duty.key, "operator.key")] {
        std::fs::copy(from, dir.path().join(to)).unwrap();
    }
    (duty, dir)
}

/// Each machine has an operator of its own, and two of these are one person with two shells.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_operators_allow_is_allowed_on_every_node() {
    let nodes = Nodes::start(2).await;
    let (first, alone) = duty_of(&nodes, None).await;
    let (_second, person) = duty_of(&nodes, Some(&first)).await;
    let allow = ["chaos", "allow", "--minutes", "60", "--why", "game day"];
    let proposed = fieldmesh(&nodes.dir(1), &allow).await.expect_code(0).json();
    assert_eq!(
        (&proposed["allowance"], &proposed["proposal"]["why"]),
        (&Value::Null, &json!("game day"))
    );
    fieldmesh(&nodes.dir(1), &allow)
        .await
        .expect_code(3)
        .expect_one_line(&["second operator", "15 minutes"]);
    // The second machine's operator, and whom the operators of both machines let in, are no second person.
    for no_second in [&nodes.dir(2), alone.path()] {
        fieldmesh(no_second, &allow).await.expect_code(3).expect_one_line(&["a machine's"]);
    }
    let allowed = fieldmesh(person.path(), &allow).await.expect_code(0).json();
    assert_eq!(allowed["allowance"]["why"], "game day");

    let lease = json!({ "fault": { "kind": "slow_disk", "delay_ms": 5 }, "lasts_ms": 5000 });
    for number in [1, 2] {
        let view = until("each node hears of it", async || {
            let view = curl(&nodes, number, "PUT", "/v1/chaos/leases/1", &lease);
            view["leases"].is_array().then_some(view)
        })
        .await;
        assert_eq!(view["leases"][0]["fault"]["kind"], "slow_disk", "{view}");
    }
    let ended = fieldmesh(&nodes.dir(1), &["chaos", "forbid"]).await.expect_code(0).json();
    assert_eq!(ended, json!({ "allowance": null, "proposal": null }));
    for number in [1, 2] {
        until("what a node did to itself ends with it", async || {
            let view = curl(&nodes, number, "GET", "/v1/chaos", &Value::Null);
            (view["leases"] == json!([])).then_some(())
        })
        .await;
        let refused = curl(&nodes, number, "PUT", "/v1/chaos/leases/1", &lease);
        assert_eq!(refused["title"], "chaos-not-allowed", "{refused}");
    }
    // Nothing is left to agree to.
    let proposed = fieldmesh(&nodes.dir(2), &allow).await.expect_code(0).json();
    assert_eq!(proposed["allowance"], Value::Null);
    fieldmesh(&nodes.dir(2), &["chaos", "stop"]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_a_region_that_is_away_stops_a_node_that_nobody_leads() {
    let mut nodes = Nodes::start_in(None, 2, &[("chaos.enabled", "true")]).await;
    nodes.add_region(3, "us1").await;
    let dir = TempDir::new().unwrap();
    for (of, name) in
        [(1, "addresses.json"), (1, "root.pem"), (3, "operator.pem"), (3, "operator.key")]
    {
        std::fs::copy(nodes.dir(of).join(name), dir.path().join(name)).unwrap();
    }
    nodes.kill(3).await;
    nodes.kill(2).await;
    let lease = json!({ "fault": { "kind": "slow_disk", "delay_ms": 5 }, "lasts_ms": 5000 });
    let view = curl(&nodes, 1, "PUT", "/v1/chaos/leases/1", &lease);
    assert_eq!(view["leases"][0]["number"], 1, "{view}");
    // The record of that operator is where nobody can be asked.
    assert_ne!(fieldmesh(dir.path(), &["cluster", "status"]).await.code, Some(0));
    let stopped = fieldmesh(dir.path(), &["chaos", "stop"]).await.expect_code(0).json();
    assert_eq!(stopped["left"], 0, "{stopped}");
    let view = curl(&nodes, 1, "GET", "/v1/chaos", &Value::Null);
    assert_eq!((&view["leases"], &view["stopped"]), (&json!([]), &json!(true)), "{view}");
    let refused = curl(&nodes, 1, "PUT", "/v1/chaos/leases/1", &lease);
    assert_eq!(refused["title"], "chaos-stopped", "{refused}");
}
