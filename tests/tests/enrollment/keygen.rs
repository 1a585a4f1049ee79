//! Keys that the service makes: off unless it is configured, in one answer, and nowhere else.

use fieldmesh_tests::{
    live::Live,
    person::{Answer, P256, Person, openssl},
};
use serde_json::json;

use super::invited;

/// The parts of a multipart body (RFC 2046 §5.1): header lines in lower case, and content.
fn parts(answer: &Answer) -> Vec<(String, String)> {
    let kind = answer.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    let text = answer.text();
    let (inner, rest) = text.split_once(&format!("--{boundary}--")).unwrap();
    assert_eq!(rest, "\r\n");
    let separator = format!("--{boundary}\r\n");
    let parts = inner.split(&separator).skip(1);
    let read = |part: &str| {
        let (head, content) = part.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), content.trim_end_matches("\r\n").to_owned())
    };
    parts.map(read).collect()
}

async fn generous() -> Live {
    Live::start_with(&[("pki.server_keygen", "true")]).await
}

fn ask(person: &Person, user: &str, secret: &str, body: &str) -> Answer {
    person.post("serverkeygen", &["-u", &format!("{user}:{secret}")], body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_service_makes_is_the_certificates() {
    let live = generous().await;
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    let body = person.request("mine", P256, "/CN=anything");
    let answer = ask(&person, &id, &secret, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let parts = parts(&answer);
    let [(key_head, key), (certs_head, certs)] = &parts[..] else { panic!("{parts:?}") };
    assert!(key_head.contains("content-type: application/pkcs8"), "{key_head}");
    assert!(certs_head.contains("smime-type=certs-only"), "{certs_head}");
    for head in [key_head, certs_head] {
        assert!(head.contains("content-transfer-encoding: base64"), "{head}");
    }
    let whole = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    let key = person.file("made.key", whole.as_bytes());
    let certificates = Answer { status: 200, headers: String::new(), body: certs.clone().into() };
    let certificate = person.certificates("made", &certificates);
    let of_key = openssl(&["pkey", "-in", &key, "-pubout"]);
    assert_eq!(of_key, openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]));
    // It works in TLS, where it is too early to renew it.
    let body = person.request("next", P256, "/");
    let early = person.reenroll(&certificate, &key, &body);
    assert_eq!((early.status, early.text().contains("too early")), (403, true), "{}", early.text());
    // Nobody gets a key twice.
    assert_eq!(ask(&person, &id, &secret, &body).status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_made_for_whoever_may_not_have_one_now() {
    let live = generous().await;
    let person = Person::new(&live, "technician-device");
    let id = live.technician(26).await.to_string();
    let (_, minted) = live.try_post("/v1/ca/tokens", &json!({ "id": id })).await;
    let body = person.request("mine", P256, "/");
    let answer = ask(&person, &id, minted["secret"].as_str().unwrap(), &body);
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("approval"), "{}", answer.text());
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    // A key that is to be encrypted beyond TLS.
    let config = person.file(
        "sealed.cnf",
        b"[req]\ndistinguished_name = dn\nattributes = more\nprompt = no\n[dn]\nCN = x\n[more]\n\
          1.2.840.113549.1.9.16.2.37 = shared\n",
    );
    let key = person.key("sealed", P256);
    let sealed = person.request_for("sealed", &key, &["-config", &config]);
    let answer = ask(&person, &id, &secret, &sealed);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("decryptKeyIdentifier"), "{}", answer.text());
    // Another's names, a token that nobody has, and no request at all.
    let foreign =
        person.request_for("foreign", &key, &["-subj", "/", "-addext", "subjectAltName=DNS:x"]);
    assert_eq!(ask(&person, &id, &secret, &foreign).status, 422);
    let body = person.request("mine", P256, "/");
    assert_eq!(ask(&person, &id, "fm1.no", &body).status, 401);
    let nothing = person.file("nothing", b"");
    assert_eq!(ask(&person, &id, &secret, &nothing).status, 400);
    // None of this spent the token.
    assert_eq!(ask(&person, &id, &secret, &body).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_not_made_unless_that_is_configured() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let (id, secret) = invited(&live).await;
    let body = person.request("mine", P256, "/");
    let answer = ask(&person, &id, &secret, &body);
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("simpleenroll"), "{}", answer.text());
    assert_eq!(person.enroll(&id, &secret, &body).status, 200);
}
