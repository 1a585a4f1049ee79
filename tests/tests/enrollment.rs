//! Enrollment by programs that nobody here wrote: curl speaks EST, openssl makes the keys and
//! checks what comes.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these hand files to other programs"
)]

#[path = "enrollment/approval.rs"]
mod approval;
#[path = "enrollment/keygen.rs"]
mod keygen;
#[path = "enrollment/refusals.rs"]
mod refusals;
#[path = "enrollment/renewal.rs"]
mod renewal;

use fieldmesh_domain::EntityId;
use fieldmesh_tests::{
    live::Live,
    person::{P256, Person, openssl},
};

pub(crate) async fn invited(live: &Live) -> (String, String) {
    let id: EntityId = live.customer().await;
    (id.to_string(), live.token(id).await.to_string())
}

fn public_key(args: &[&str]) -> String {
    openssl(&[args, &["-pubkey", "-noout"]].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_openssl_enroll_a_device() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let cacerts = person.est("cacerts", &[]);
    let chain = person.certificates("chain", &cacerts);
    let (id, secret) = invited(&live).await;
    // What the request asks for beyond its key is not what the certificate says.
    let body = person.request("mine", P256, "/CN=root/O=Somebody else");
    let answer = person.enroll(&id, &secret, &body);
    assert_eq!(
        answer.header("content-type"),
        Some("application/pkcs7-mime; smime-type=certs-only")
    );
    let mine = person.certificates("mine", &answer);
    let verify = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", person.root()];
    openssl(&[&verify[..], &["-untrusted", &chain, &mine]].concat());
    let text = openssl(&["x509", "-in", &mine, "-noout", "-text"]);
    for said in [
        "URI:spiffe://fieldmesh.internal/region/eu1/customer/",
        "TLS Web Client Authentication",
        "CA:FALSE",
        "URI:http://pki.fieldmesh.internal/crl/",
        "OCSP - URI:http://pki.fieldmesh.internal/ocsp",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    for unsaid in ["TLS Web Server Authentication", "Somebody else", "CN = root"] {
        assert!(!text.contains(unsaid), "{unsaid} in {text}");
    }
    let csr = person.path("mine.csr");
    assert_eq!(
        public_key(&["x509", "-in", &mine]),
        public_key(&["req", "-inform", "DER", "-in", &csr])
    );
    // The answer was lost: the same certificate again. Another key: the token is spent.
    let again = person.enroll(&id, &secret, &body);
    assert_eq!((again.status, again.body), (200, answer.body));
    let other = person.request("other", P256, "/CN=x");
    assert_eq!(person.enroll(&id, &secret, &other).status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_key_of_the_profile_is_certified() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let p384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    for (name, kind, said) in [
        ("p256", P256, "prime256v1"),
        ("p384", p384, "secp384r1"),
        ("ed25519", &["-algorithm", "ED25519"], "ED25519"),
    ] {
        let (id, secret) = invited(&live).await;
        let body = person.request(name, kind, "/");
        let pem = person.certificates(name, &person.enroll(&id, &secret, &body));
        let text = openssl(&["x509", "-in", &pem, "-noout", "-text"]);
        assert!(text.contains(said), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attributes_name_the_key_to_make_in_both_forms() {
    let live = Live::start().await;
    let person = Person::new(&live, "customer-device");
    let answer = person.est("csrattrs", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/csrattrs")));
    let base64 = person.file("attributes.b64", &answer.body);
    let der = person.path("attributes.der");
    openssl(&["base64", "-d", "-A", "-in", &base64, "-out", &der]);
    let text = openssl(&["asn1parse", "-inform", "DER", "-in", &der]);
    // RFC 7030 §4.5.2 knows plain attributes, RFC 9908 a template.
    for said in ["ecdsa-with-SHA256", "id-ecPublicKey", "prime256v1", "1.2.840.113549.1.9.16.2.61"]
    {
        assert!(text.contains(said), "{said} in {text}");
    }
}
