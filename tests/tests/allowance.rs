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

const ALLOWANCE: &str = "/v1/chaos/allowance";

/// A second operator of a server.
struct Second {
    person: Person,
    certificate: String,
    key: String,
}

impl Second {
    async fn of(live: &Live) -> Self {
        let person = Person::new(live, "operator");
        let wanted = json!({ "profile": "operator", "label": "duty" });
        let (_, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
        let (user, secret) = (minted["user"].as_str().unwrap(), minted["secret"].as_str().unwrap());
        let key = person.key("duty", P256);
        let body = person.request_for("duty", &key, &["-subj", "/"]);
        let certificate = person.certificates("duty", &person.enroll(user, secret, &body));
        Self { person, certificate, key }
    }

    fn allows(&self, body: &Value) -> (u16, Value) {
        let (json, body) = ("Content-Type: application/json", body.to_string());
        let credentials = ["--cert", &self.certificate, "--key", &self.key];
        let post = ["-X", "POST", "-H", json, "-d", &body];
        let answer = self.person.get(ALLOWANCE, &[&post[..], &credentials].concat());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
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

/// What the node's audit record has of chaos, once it is so much.
async fn recorded(live: &Live, wanted: &[&str]) {
    let path = live.config.node.data_dir.join("audit.jsonl");
    until("the audit record has it", async || {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["event"] == "chaos").collect();
        let is_said = |line: &Value| line["by"].as_str().is_some_and(|by| by.contains("operator"));
        assert!(lines.iter().all(is_said), "{lines:?}");
        let told: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
        (told == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_allow_what_one_may_not() {
    let live = Live::start().await;
    let second = Second::of(&live).await;
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

    let (status, view) = live.try_post(ALLOWANCE, &other).await;
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
        "allowance_proposed",
        "allowance_proposed",
        "allowance_begun",
        "leased",
        "leased",
        "herd",
        "allowance_ended",
    ];
    recorded(&live, &told).await;
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
    recorded(&live, &[]).await;
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

/// Each machine has an operator of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_operators_allow_is_allowed_on_every_node() {
    let nodes = Nodes::start(2).await;
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
    let allowed = fieldmesh(&nodes.dir(2), &allow).await.expect_code(0).json();
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
