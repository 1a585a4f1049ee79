//! What gets no certificate: each cause with its status, one line of text, and nothing changed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_tests::{
    live::Live,
    person::{Answer, P256, Person, openssl},
};
use serde_json::json;

use crate::invited;

#[track_caller]
fn is_plain(what: &str, answer: &Answer, status: u16) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    assert_eq!(text.lines().count(), 1, "{what}: {text}");
    let id = answer.header("x-request-id").unwrap();
    assert!(text.to_lowercase().contains(&format!("(request {id})")), "{what}: {text}");
}

/// A request with extensions, as a configuration of openssl says them.
fn extended(person: &Person, name: &str, extensions: &str) -> String {
    let config =
        format!("[req]\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\n[ext]\n{extensions}\n");
    let config = person.file(&format!("{name}.cnf"), config.as_bytes());
    let key = person.key(name, P256);
    person.request_for(name, &key, &["-subj", "/CN=x", "-config", &config])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_token_looks_the_same() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    let (another, _) = invited(&live).await;
    let good = person.request("good", P256, "/CN=x");
    let before = live.snapshot().await;
    let mut said: Vec<String> = Vec::new();
    for (what, user, secret) in [
        ("a wrong secret", &*id, "wrong"),
        ("another's secret", &*another, &*secret),
        ("nobody", "cus_eu1_00000000000000000000", &*secret),
        ("a ticket", "tkt_eu1_g6h08qd30d6mwq6q0heg", &*secret),
        ("no identifier", "root", &*secret),
    ] {
        let answer = person.enroll(user, secret, &good);
        is_plain(what, &answer, 401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("basic"), "{what}");
        said.push(answer.text().split(" (request").next().unwrap().to_owned());
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
    let wrong_label = Person::new(&live, "operator");
    let body = wrong_label.request("good", P256, "/CN=x");
    is_plain("another profile's path", &wrong_label.enroll(&id, &secret, &body), 401);
    is_plain("no credentials", &person.est("simpleenroll", &["--data-binary", "x"]), 401);
    is_plain("an unknown label", &Person::new(&live, "root").est("cacerts", &[]), 404);
    assert_eq!(live.snapshot().await, before);
    assert_eq!(person.enroll(&id, &secret, &good).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_request_is_told_what_is_wrong_and_changes_nothing() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    let good = person.request("good", P256, "/CN=x");
    let der = std::fs::read(person.path("good.csr")).unwrap();
    let based = |name: &str, bytes: &[u8]| person.file(name, STANDARD.encode(bytes).as_bytes());
    let mut broken = der.clone();
    *broken.last_mut().unwrap() ^= 1;
    let trailing = [&der[..], &[0]].concat();
    let rsa = |bits: &'static str| ["-algorithm", "RSA", "-pkeyopt", bits];
    let curve = |curve: &'static str| ["-algorithm", "EC", "-pkeyopt", curve];
    let before = live.snapshot().await;
    let cases = [
        ("no base64", person.file("x", b"!!!"), 400, "base64"),
        ("no request", person.file("y", b"AAAA"), 400, ""),
        ("nothing", person.file("z", b""), 400, ""),
        ("a broken signature", based("b", &broken), 400, "signature"),
        ("trailing bytes", based("t", &trailing), 400, ""),
        ("a certificate", based("c", &std::fs::read(person.root()).unwrap()), 400, ""),
        ("too much", person.file("l", &vec![b'A'; 70 << 10]), 413, "64 KiB"),
        (
            "RSA of 1024",
            person.request("r1", &rsa("rsa_keygen_bits:1024"), "/CN=x"),
            422,
            "publicKey",
        ),
        (
            "RSA of 2048",
            person.request("r2", &rsa("rsa_keygen_bits:2048"), "/CN=x"),
            422,
            "publicKey",
        ),
        (
            "P-521",
            person.request("p5", &curve("ec_paramgen_curve:P-521"), "/CN=x"),
            422,
            "publicKey",
        ),
        (
            "secp256k1",
            person.request("k1", &curve("ec_paramgen_curve:secp256k1"), "/CN=x"),
            422,
            "publicKey",
        ),
        (
            "a CA",
            extended(&person, "ca", "basicConstraints=critical,CA:TRUE"),
            422,
            "basicConstraints",
        ),
        ("keyCertSign", extended(&person, "ku", "keyUsage=keyCertSign"), 422, "keyUsage"),
        (
            "a foreign name",
            extended(&person, "dns", "subjectAltName=DNS:example.com"),
            422,
            "subjectAltName",
        ),
        (
            "a foreign URI",
            extended(
                &person,
                "uri",
                "subjectAltName=URI:spiffe://fieldmesh.internal/region/eu1/operator/00000000-0000-0000-0000-000000000001",
            ),
            422,
            "subjectAltName",
        ),
        (
            "an address",
            extended(&person, "ip", "subjectAltName=IP:127.0.0.1"),
            422,
            "subjectAltName",
        ),
    ];
    for (what, body, status, said) in cases {
        let answer = person.enroll(&id, &secret, &body);
        is_plain(what, &answer, status);
        assert!(answer.text().contains(said), "{what}: {}", answer.text());
    }
    let no_type = ["-u", &format!("{id}:{secret}"), "--data-binary", &format!("@{good}")];
    is_plain("no content type", &person.est("simpleenroll", &no_type), 415);
    assert_eq!(live.snapshot().await, before);
    // Wrapped base64 is as good, and so is PEM.
    let wrapped = person.path("wrapped");
    openssl(&["base64", "-in", &person.path("good.csr"), "-out", &wrapped]);
    assert_eq!(person.enroll(&id, &secret, &wrapped).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_certified_for_one_identity_only() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let (first, second) = (invited(&live).await, invited(&live).await);
    let body = person.request("shared", P256, "/CN=x");
    assert_eq!(person.enroll(&first.0, &first.1, &body).status, 200);
    let answer = person.enroll(&second.0, &second.1, &body);
    is_plain("another's key", &answer, 422);
    assert!(answer.text().contains("publicKey"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_banned_are_refused_until_they_are_readmitted() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    let key = person.key("mine", P256);
    let body = person.request_for("mine", &key, &["-subj", "/"]);
    let pem = person.certificates("mine", &person.enroll(&id, &secret, &body));
    let path = |what: &str| format!("/v1/ca/registrations/{id}/{what}");
    let (status, view) = live.try_post(&path("ban"), &json!({ "why": "stolen" })).await;
    assert_eq!((status, &view["state"]), (200, &json!("banned")), "{view}");
    let renewal = person.request("next", P256, "/");
    let answer = person.reenroll(&pem, &key, &renewal);
    is_plain("a banned device renews", &answer, 403);
    assert!(answer.text().contains("banned"), "{}", answer.text());
    is_plain("a banned device enrolls", &person.enroll(&id, &secret, &body), 403);
    let token = json!({ "id": id });
    let (status, problem) = live.try_post("/v1/ca/tokens", &token).await;
    assert_eq!(status, 409, "no token for the banned: {problem}");
    let (status, view) = live.try_post(&path("readmit"), &json!({})).await;
    assert_eq!((status, &view["state"]), (200, &json!("revoked")), "{view}");
    let (status, minted) = live.try_post("/v1/ca/tokens", &token).await;
    assert_eq!(status, 201);
    let secret = minted["secret"].as_str().unwrap();
    assert_eq!(person.enroll(&id, secret, &renewal).status, 200);
}
