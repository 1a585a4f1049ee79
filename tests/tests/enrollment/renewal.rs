//! Renewal by the certificate that is to be renewed: in its window, once, and after its end.

use fieldmesh_domain::{
    Command, EntityId,
    registration::{self, Issued, Proof},
};
use fieldmesh_node::{issuer::sha256, register};
use fieldmesh_pki::{Identity, Kind, TrustStore, Usage};
use fieldmesh_tests::{
    live::{
        Live,
        forge::{Forge, Leaf},
        now_s,
    },
    person::{P256, Person, openssl},
};
use serde_json::json;

const DAY_S: u64 = 24 * 3600;

/// A customer's device whose certificate was issued when the test says, with its files.
async fn aged(
    live: &Live,
    person: &Person,
    from_s: u64,
    until_s: u64,
) -> (EntityId, String, String) {
    let id = live.customer().await;
    // Registers the identity.
    drop(live.token(id).await);
    let (cluster, region) = (&live.config.cluster.name, &live.config.cluster.region);
    let identity = Identity {
        cluster: cluster.clone(),
        region: region.clone(),
        kind: Kind::Customer,
        id: id.to_bytes(),
    };
    let leaf = Leaf { from_s, until_s, ..Leaf::of(&identity) };
    let credentials = Forge::of(&live.config).sign(&leaf);
    let trust = TrustStore::new(vec![live.root.clone()], vec![credentials.chain[1].clone()]);
    let peer = trust.unwrap().verify(&credentials.chain[0], &[], Usage::ClientAuth, until_s - 1);
    let peer = peer.unwrap();
    let token = live.token(id).await;
    let proof = Proof::Token(fieldmesh_pki::token_hash(&token));
    let issued = Issued {
        proof,
        public_key_hash: sha256(&peer.spki),
        issuer: peer.issuer_hash,
        serial: register::serial(&peer.serial).unwrap(),
        not_before: from_s,
        not_after: until_s,
        certificate: credentials.chain[0].clone(),
        revoked: None,
        fingerprint: peer.thumbprint,
        signed_part: [0; 32],
    };
    let command = Command::Registration(registration::Command::Enroll(issued));
    live.server().node.ask(EntityId::registration_of(id), command).await.unwrap();
    let der = person.file("old.der", &credentials.chain[0]);
    let pem = person.path("old.pem");
    openssl(&["x509", "-inform", "DER", "-in", &der, "-out", &pem]);
    let key_der = person.file("old.key.der", &credentials.pkcs8);
    let key = person.path("old.key");
    openssl(&["pkey", "-inform", "DER", "-in", &key_der, "-out", &key]);
    (id, pem, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_its_window_and_once() {
    let live = Live::start_made(300).await;
    let person = Person::new(&live, "customer-device");
    let (id, old, old_key) = aged(&live, &person, now_s() - 89 * DAY_S, now_s() + DAY_S).await;
    let key = person.key("new", P256);
    let body = person.request_for("new", &key, &["-subj", "/CN=anything"]);
    let answer = person.reenroll(&old, &old_key, &body);
    let new = person.certificates("new", &answer);
    let names = |pem: &str| openssl(&["x509", "-in", pem, "-noout", "-ext", "subjectAltName"]);
    assert_eq!(names(&new), names(&old));
    // The answer was lost.
    let again = person.reenroll(&old, &old_key, &body);
    assert_eq!((again.status, again.body), (200, answer.body));
    // The new one is not due.
    let next = person.request("next", P256, "/");
    let early = person.reenroll(&new, &key, &next);
    assert_eq!(early.status, 403, "{}", early.text());
    assert!(early.header("retry-after").unwrap().parse::<u64>().unwrap() > 50 * DAY_S);
    let (_, view) = live.http(true, "GET", &format!("/v1/ca/registrations/{id}"), "", &[]).await;
    let view: serde_json::Value = serde_json::from_slice(&view).unwrap();
    assert_eq!(view["certificates"].as_array().unwrap().len(), 2, "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_away_renews_within_the_grace_and_not_beyond() {
    let live = Live::start_made(300).await;
    let person = Person::new(&live, "customer-device");
    for (days, status) in [(30, 200), (179, 200), (181, 56)] {
        let (from_s, until_s) = (now_s() - (days + 90) * DAY_S, now_s() - days * DAY_S);
        let (_, old, key) = aged(&live, &person, from_s, until_s).await;
        let body = person.request("new", P256, "/");
        if status == 200 {
            let answer = person.reenroll(&old, &key, &body);
            assert_eq!(answer.status, 200, "{days} days: {}", answer.text());
        } else {
            // Beyond the grace TLS itself says that it has expired.
            let url = format!(
                "https://localhost:{}/.well-known/est/customer-device/simplereenroll",
                live.https.port()
            );
            let data = format!("@{body}");
            let output = std::process::Command::new("curl")
                .args(["-sS", "--cacert", person.root(), "--cert", &old, "--key", &key])
                .args(["-H", "Content-Type: application/pkcs10", "--data-binary", &data, &url])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(status), "{days} days: {said}");
            assert!(said.contains("expired"), "{days} days: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_renews_and_does_nothing_else() {
    let live = Live::start_made(300).await;
    let person = Person::new(&live, "customer-device");
    let (from_s, until_s) = (now_s() - 91 * DAY_S, now_s() - DAY_S);
    let (id, old, key) = aged(&live, &person, from_s, until_s).await;
    let answer = person.get("/v1/info", &["--cert", &old, "--key", &key]);
    assert_eq!(answer.status, 403, "{}", answer.text());
    // Revoked, it does not even renew.
    let path = format!("/v1/ca/registrations/{id}/revoke");
    assert_eq!(live.try_post(&path, &json!({ "reason": "keyCompromise" })).await.0, 200);
    let body = person.request("new", P256, "/");
    let answer = person.reenroll(&old, &key, &body);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("revoked"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_certified_three_times_at_most() {
    let live = Live::start_made(300).await;
    let person = Person::new(&live, "customer-device");
    let (id, mut cert, key) = aged(&live, &person, now_s() - 89 * DAY_S, now_s() + DAY_S).await;
    let body = person.request_for("same", &key, &["-subj", "/"]);
    // Its own key again: allowed, and then its certificate is not due.
    let answer = person.reenroll(&cert, &key, &body);
    cert = person.certificates("second", &answer);
    assert_eq!(person.reenroll(&cert, &key, &body).status, 403);
    // A new token does not make the key younger.
    for wanted in [200, 403] {
        let secret = live.token(id).await;
        let answer = person.enroll(&id.to_string(), &secret, &body);
        assert_eq!(answer.status, wanted, "{}", answer.text());
    }
}
