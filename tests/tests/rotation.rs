//! One authority takes over from another while devices are connected and requests go on.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fieldmesh_device::{
    enroll::{self, Enrolled},
    transport::{self, Connection},
    wire::{ALPN, Reply, close},
};
use fieldmesh_domain::{Command, EntityId, placement};
use fieldmesh_pki::{CaCertificate, KeyMaterial, RootCa, tls::Credentials};
use fieldmesh_tests::{
    live::{
        Live, now_ms, now_s, random,
        raw::{Closed, Raw, Service, closed, refused},
    },
    person::{P256, Person},
    process::{run, text},
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

const CERTIFICATE_REVOKED: Closed = Closed::Transport(0x100 + 44);
const AUTHORITIES: &str = "/v1/ca/authorities";

/// A device with what it was enrolled with.
struct Enrollee {
    id: EntityId,
    key: KeyMaterial,
    enrolled: Enrolled,
}

impl Enrollee {
    async fn new(live: &Live) -> Self {
        let (id, key) = (live.customer().await, KeyMaterial::generate().unwrap());
        let enrolled = live.enroll(id, &live.token(id).await, &key).await.unwrap();
        Self { id, key, enrolled }
    }

    fn credentials(&self) -> Credentials {
        let chain = self.enrolled.chain.clone();
        Credentials { chain, pkcs8: Zeroizing::new(self.key.pkcs8().to_vec()) }
    }

    fn raw(&self, root: &[u8]) -> Raw {
        Raw::new(self.id, self.credentials(), root)
    }

    /// The common name of whoever issued its certificate.
    fn issuer(&self) -> String {
        CaCertificate::read(&self.enrolled.chain[1]).unwrap().name
    }

    async fn renewed(&self, live: &Live) -> Self {
        let key = KeyMaterial::generate().unwrap();
        let clock: fieldmesh_device::Clock = Arc::new(now_ms);
        let roots = [vec![self.enrolled.root.clone()], self.enrolled.other_roots.clone()].concat();
        let server = live.https.to_string();
        let renewed = enroll::renew(&server, &roots, &self.credentials(), &key, &clock).await;
        Self { id: self.id, key, enrolled: renewed.unwrap() }
    }
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn sha256(der: &[u8]) -> String {
    let fingerprint = CaCertificate::read(der).unwrap().fingerprint;
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn status(live: &Live) -> Value {
    let (status, body) = live.http(true, "GET", AUTHORITIES, "", &[]).await;
    let view = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{view}");
    view
}

fn phase(view: &Value, sha256: &str) -> String {
    let all = view["authorities"].as_array().unwrap();
    let found = all.iter().find(|ca| ca["sha256"] == sha256).unwrap();
    found["phase"].as_str().unwrap().to_owned()
}

/// A new issuing CA, introduced; its certificate.
async fn introduced(live: &Live, root: &RootCa) -> Vec<u8> {
    let (code, made) = live.try_post(&format!("{AUTHORITIES}/requests"), &json!({})).await;
    assert_eq!(code, 200, "{made}");
    let request = made["request"].as_str().unwrap();
    let csr = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap();
    let generation = u32::try_from(made["generation"].as_u64().unwrap()).unwrap();
    let signed = root.sign_issuing(&csr, "eu1", generation, now_s(), random()).unwrap();
    let (code, view) =
        live.try_post(AUTHORITIES, &json!({ "certificate": pem(&signed.der) })).await;
    assert_eq!(code, 200, "{view}");
    assert_eq!(phase(&view, &sha256(&signed.der)), "introduced");
    signed.der
}

async fn try_step(live: &Live, ca: &str, step: &str, body: Value) -> (u16, Value) {
    live.try_post(&format!("{AUTHORITIES}/{ca}/{step}"), &body).await
}

async fn step(live: &Live, ca: &str, name: &str, body: Value) -> Value {
    let (code, view) = try_step(live, ca, name, body).await;
    assert_eq!(code, 200, "{name}: {view}");
    view
}

/// Sends one request after the other over one connection, each of which must be answered.
struct Traffic {
    stop: Arc<AtomicBool>,
    sent: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn start(device: Raw, service: Service, connection: Connection) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (counts, sent) = watch::channel(0);
        let ends = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            while !ends.load(Ordering::SeqCst) {
                let sealed = device.sealed(&service, &device.request());
                let reply = transport::ask(&connection, &sealed).await.unwrap();
                assert!(matches!(reply, Reply::Receipt { .. }), "{reply:?}");
                counts.send_modify(|count| *count += 1);
            }
        });
        Self { stop, sent, task }
    }

    /// Waits for so many more answers.
    async fn goes_on(&self) {
        let mut sent = self.sent.clone();
        let wanted = *sent.borrow() + 3;
        let look = sent.wait_for(|count| *count >= wanted);
        tokio::time::timeout(Duration::from_secs(20), look)
            .await
            .expect("requests are answered in time")
            .expect("requests are answered");
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

async fn greeted(live: &Live, device: &Raw) -> (Service, Connection) {
    let connection = device.connect(live.devices).await;
    (device.greet(&connection).await, connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuing_ca_takes_over_while_requests_go_on() {
    let mut live = Live::start().await;
    let [root, _] = live.roots();
    let old = Enrollee::new(&live).await;
    let (service, connection) = greeted(&live, &old.raw(&live.root)).await;
    let traffic = Traffic::start(old.raw(&live.root), service, connection);
    let first = sha256(&old.enrolled.chain[1]);
    let next = introduced(&live, &root).await;
    let second = sha256(&next);
    // Only the first signs as yet.
    assert!(Enrollee::new(&live).await.issuer().ends_with("issuing 1"));
    // There, back and there again: no certificate of either is lost.
    step(&live, &second, "activate", json!({})).await;
    let by_second = Enrollee::new(&live).await;
    assert!(by_second.issuer().ends_with("issuing 2"));
    traffic.goes_on().await;
    let view = step(&live, &second, "rollback", json!({})).await;
    assert_eq!(
        (phase(&view, &first), phase(&view, &second)),
        ("active".into(), "introduced".into())
    );
    assert!(Enrollee::new(&live).await.issuer().ends_with("issuing 1"));
    drop(greeted(&live, &by_second.raw(&live.root)).await);
    traffic.goes_on().await;
    step(&live, &second, "activate", json!({})).await;
    traffic.goes_on().await;
    // Who has one of the first may renew now, long before its time.
    let renewed = old.renewed(&live).await;
    assert!(renewed.issuer().ends_with("issuing 2"));
    let late = Enrollee::new(&live).await;
    // Both sign lists of what they issued.
    for ca in [&old.enrolled.chain[1], &next] {
        let name = CaCertificate::read(ca).unwrap().name_hash;
        let name: String = name[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let (code, list) = live.http(false, "GET", &format!("/crl/{name}.crl"), "", &[]).await;
        assert_eq!(code, 200);
        assert!(list.len() > 100);
    }
    traffic.end().await;
    drop(greeted(&live, &late.raw(&live.root)).await);
    cut_off(&mut live, &old, &first).await;
    // What the cluster believes outlives a restart, and so do the certificates of the second.
    live.stop().await;
    live.start_again().await;
    assert_eq!(phase(&status(&live).await, &first), "removed");
    drop(greeted(&live, &renewed.raw(&live.root)).await);
    assert!(Enrollee::new(&live).await.issuer().ends_with("issuing 2"));
}

/// Retires and removes an authority with certificates in force.
async fn cut_off(live: &mut Live, holder: &Enrollee, ca: &str) {
    let device = holder.raw(&live.root);
    let (_, connection) = greeted(live, &device).await;
    assert_eq!(try_step(live, ca, "remove", json!({})).await.0, 409);
    step(live, ca, "retire", json!({})).await;
    let (code, view) = try_step(live, ca, "remove", json!({})).await;
    assert_eq!(code, 409);
    assert!(view["detail"].as_str().unwrap().contains("in force"), "{view}");
    assert!(connection.close_reason().is_none());
    live.operator_again();
    let view = step(live, ca, "remove", json!({ "cut_off": true })).await;
    assert_eq!(phase(&view, ca), "removed");
    let end = tokio::time::timeout(Duration::from_secs(8), connection.closed()).await.unwrap();
    assert_eq!(closed(&end), Closed::Application(u64::from(close::CA_REMOVED)));
    assert_eq!(refused(live.devices, device.tls(ALPN)).await, CERTIFICATE_REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_root_takes_over_from_the_first() {
    let mut live = Live::start().await;
    let [one, two] = live.roots();
    let (first_root, second_root) = (sha256(one.certificate()), sha256(two.certificate()));
    let before = Enrollee::new(&live).await;
    assert_eq!(before.enrolled.root, one.certificate());
    assert_eq!(before.enrolled.other_roots, [two.certificate().to_vec()]);
    let first = sha256(&before.enrolled.chain[1]);
    step(&live, &second_root, "activate", json!({})).await;
    let next = introduced(&live, &two).await;
    step(&live, &sha256(&next), "activate", json!({})).await;
    live.operator_again();
    assert_eq!(live.root, two.certificate());
    // Who knows only the first root cannot be reached any more; who knows both goes on.
    let late = Enrollee::new(&live).await;
    assert_eq!(late.enrolled.root, two.certificate());
    drop(greeted(&live, &before.raw(&live.root)).await);
    let renewed = before.renewed(&live).await;
    assert_eq!(renewed.enrolled.root, two.certificate());
    // A root stays while it is needed.
    step(&live, &first_root, "retire", json!({})).await;
    assert_eq!(try_step(&live, &first_root, "remove", json!({})).await.0, 409);
    step(&live, &first, "retire", json!({})).await;
    step(&live, &first, "remove", json!({ "cut_off": true })).await;
    let view = step(&live, &first_root, "remove", json!({})).await;
    assert_eq!(phase(&view, &first_root), "removed");
    let kept = std::fs::read(live.root_pem()).unwrap();
    let kept: Vec<_> = CertificateDer::pem_slice_iter(&kept).map(Result::unwrap).collect();
    assert_eq!(kept, [CertificateDer::from(two.certificate().to_vec())]);
    live.stop().await;
    live.start_again().await;
    drop(greeted(&live, &renewed.raw(&live.root)).await);
    // The next generation below it.
    let next = introduced(&live, &two).await;
    assert!(CaCertificate::read(&next).unwrap().name.ends_with("issuing 3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_way_back_to_a_compromised_authority() {
    let live = Live::start().await;
    let [root, _] = live.roots();
    let first = sha256(&Enrollee::new(&live).await.enrolled.chain[1]);
    let second = sha256(&introduced(&live, &root).await);
    let view = step(&live, &second, "activate", json!({ "compromised": true })).await;
    let all = view["authorities"].as_array().unwrap();
    assert!(all.iter().any(|ca| ca["sha256"] == first.as_str() && ca["compromised"] == true));
    let (code, answer) = try_step(&live, &second, "rollback", json!({})).await;
    assert_eq!(code, 409);
    assert!(answer["detail"].as_str().unwrap().contains("compromised"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_activated_that_a_node_does_not_know() {
    let live = Live::start().await;
    let [root, _] = live.roots();
    // A node that heard of the first bundle, and of nothing since.
    let acknowledge = placement::Command::Acknowledge { node: 7, epoch: 1 };
    let node = &live.server().node;
    node.ask(EntityId::placement(), Command::Placement(acknowledge)).await.unwrap();
    let second = sha256(&introduced(&live, &root).await);
    let behind = |view: &Value| {
        let nodes = view["nodes"].as_array().unwrap().iter();
        nodes.filter(|node| node["behind"] == true).map(|node| node["number"].clone()).collect()
    };
    let behind_now: Vec<Value> = behind(&status(&live).await);
    assert_eq!(behind_now, [json!(7)]);
    let (code, answer) = try_step(&live, &second, "activate", json!({})).await;
    assert_eq!(code, 409);
    assert!(answer["detail"].as_str().unwrap().contains("node"), "{answer}");
    // Not the one that answers; the one that is gone.
    assert_eq!(live.try_post("/v1/ca/nodes/1/forget", &json!({})).await.0, 400);
    assert_eq!(live.try_post("/v1/ca/nodes/99/forget", &json!({})).await.0, 404);
    let (code, view) = live.try_post("/v1/ca/nodes/7/forget", &json!({})).await;
    assert_eq!((code, behind(&view)), (200, Vec::<Value>::new()));
    let view = step(&live, &second, "activate", json!({})).await;
    assert_eq!(phase(&view, &second), "active");
    // One that was introduced and is not wanted goes, whatever is repeated; one that signs does not.
    let third = sha256(&introduced(&live, &root).await);
    assert_eq!(try_step(&live, &second, "drop", json!({ "cut_off": true })).await.0, 409);
    for _ in 0..2 {
        let view = step(&live, &third, "drop", json!({})).await;
        assert_eq!(
            (phase(&view, &second), phase(&view, &third)),
            ("active".into(), "removed".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_this_clusters_authorities_are_introduced() {
    let live = Live::start().await;
    let [root, _] = live.roots();
    let stranger = RootCa::create("other.internal", now_s(), random()).unwrap();
    let ours = RootCa::create(&live.config.cluster.name, now_s(), random()).unwrap();
    let (foreign_key, _) = root.issue_issuing("eu1", 2, now_s(), random()).unwrap();
    let (unsigned, _) = ours.issue_issuing("eu1", 2, now_s(), random()).unwrap();
    let leaf = Enrollee::new(&live).await.enrolled.chain.remove(0);
    let before = status(&live).await;
    let wrong: [(&[u8], &str); 4] = [
        (stranger.certificate(), "other.internal"),
        (foreign_key.certificate(), "key"),
        (unsigned.certificate(), "root"),
        (&leaf, "authority"),
    ];
    for (der, word) in wrong {
        let (code, answer) = live.try_post(AUTHORITIES, &json!({ "certificate": pem(der) })).await;
        assert_eq!(code, 400, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{answer}");
    }
    for (name, path) in
        [("00", "activate"), (&"0".repeat(64), "activate"), (&"0".repeat(64), "melt")]
    {
        let (code, _) = try_step(&live, name, path, json!({})).await;
        assert!(matches!(code, 400 | 404), "{name} {path}: {code}");
    }
    assert_eq!(status(&live).await["authorities"], before["authorities"]);
}

/// What is introduced for a region that is to come waits for that region's first node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_regions_authority_does_not_sign_before_there_is_the_region() {
    let live = Live::start().await;
    let [root, _] = live.roots();
    let (elsewhere, _) = root.issue_issuing("us1", 1, now_s(), random()).unwrap();
    let wanted = json!({ "certificate": pem(elsewhere.certificate()) });
    let (code, view) = live.try_post(AUTHORITIES, &wanted).await;
    assert_eq!(code, 200, "{view}");
    let ca = sha256(elsewhere.certificate());
    for step in ["activate", "retire", "rollback"] {
        assert!(matches!(try_step(&live, &ca, step, json!({})).await.0, 200 | 409), "{step}");
        assert_eq!(phase(&status(&live).await, &ca), "introduced", "{step}");
    }
    assert_eq!(phase(&step(&live, &ca, "drop", json!({})).await, &ca), "removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_two_operators_both_must_want_a_step() {
    let live = Live::start().await;
    let person = Person::new(&live, "operator");
    let wanted = json!({ "profile": "operator", "label": "duty" });
    let (_, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
    let (user, secret) = (minted["user"].as_str().unwrap(), minted["secret"].as_str().unwrap());
    let key = person.key("duty", P256);
    let body = person.request_for("duty", &key, &["-subj", "/"]);
    let certificate = person.certificates("duty", &person.enroll(user, secret, &body));
    let [root, _] = live.roots();
    let second = sha256(&introduced(&live, &root).await);
    let view = step(&live, &second, "activate", json!({})).await;
    assert_eq!(view["proposal"]["step"], "activate");
    assert_eq!(phase(&view, &second), "introduced");
    // Nobody is two persons.
    assert_eq!(try_step(&live, &second, "activate", json!({})).await.0, 409);
    let path = format!("{AUTHORITIES}/{second}/activate");
    let credentials = ["--cert", &certificate, "--key", &key];
    let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"];
    let answer = person.get(&path, &[&json[..], &credentials].concat());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(phase(&status(&live).await, &second), "active");
    // A root is for both to introduce: devices believe it too.
    let root = RootCa::create(&live.config.cluster.name, now_s(), random()).unwrap();
    let body = json!({ "certificate": pem(root.certificate()) });
    for code in [200, 409] {
        assert_eq!(live.try_post(AUTHORITIES, &body).await.0, code);
    }
    let view = status(&live).await;
    assert_eq!(view["proposal"]["step"], "introduce");
    assert!(!view["authorities"].to_string().contains(&sha256(root.certificate())));
    let body = format!("@{}", person.file("root.json", body.to_string().as_bytes()));
    let post = ["-X", "POST", "-H", "Content-Type: application/json", "--data-binary", &body];
    let answer = person.get(AUTHORITIES, &[&post[..], &credentials].concat());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(phase(&status(&live).await, &sha256(root.certificate())), "introduced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_two_files_come_to_fit_each_other() {
    let (mut live, other) = (Live::start().await, Live::start().await);
    let file = |live: &Live, name: &str| live.root_pem().with_file_name(name);
    let (key, own) = (file(&live, "operator.key"), file(&live, "own.key"));
    // Whoever reads between the two files reads again, until they fit: a pipe says when it reads.
    std::fs::rename(&key, &own).unwrap();
    run("/usr/bin/mkfifo", &[text(&key)]).await.expect_code(0);
    let wrong = std::fs::read(file(&other, "operator.key")).unwrap();
    let dir = live.root_pem().parent().unwrap().to_owned();
    let addresses = json!({ "https": live.https.to_string(), "devices": live.devices.to_string() });
    std::fs::write(dir.join("addresses.json"), addresses.to_string()).unwrap();
    let asks = ["ticket", "list", "--json", "--data-dir", text(&dir)];
    let between = tokio::task::spawn_blocking({
        let key = key.clone();
        move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(&key).unwrap();
            // It reads the other's key now, and its own when it reads again.
            std::fs::rename(&own, &key).unwrap();
            pipe.write_all(&wrong).unwrap();
        }
    });
    run("fieldmesh", &asks).await.expect_code(0);
    between.await.unwrap();
    // A start that ended between them.
    live.stop().await;
    std::fs::copy(file(&other, "operator.key"), &key).unwrap();
    live.start_again().await;
    live.operator_again();
    status(&live).await;
}
