//! OpenSSL asks for the status of certificates, by OCSP and by list.
//!
//! **Not here:** who may revoke what, and that nodes hear of it at once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_tests::live::Live;

use crate::{Holder, Outsider, Said, ask, fails, ok, program};

/// What `openssl ocsp` says where the answer has no nonce though it was asked with one.
const NO_NONCE: &str = "no nonce in response";

impl Outsider {
    /// Asks by OCSP; an answer must be signed by whom the root and the issuing CA let.
    fn status(&self, issuer: &str, args: &[&str]) -> Said {
        let url = self.ocsp();
        let fixed = ["ocsp", "-url", &url, "-CAfile", self.root(), "-issuer", issuer];
        ask(&mut program("openssl", &[&fixed[..], args].concat()), "")
    }

    /// An answer that was fetched by other means.
    fn status_in(&self, answer: &str, certificate: &str) -> Said {
        let fixed = ["ocsp", "-respin", answer, "-CAfile", self.root(), "-issuer", &self.issuing];
        ask(&mut program("openssl", &[&fixed[..], &["-cert", certificate]].concat()), "")
    }

    fn verify(&self, list: &str, certificate: &str) -> Said {
        let args = ["verify", "-x509_strict", "-purpose", "sslclient", "-crl_check"];
        let files = ["-CAfile", self.root(), "-untrusted", &self.issuing, "-CRLfile", list];
        ask(&mut program("openssl", &[&args[..], &files, &[certificate]].concat()), "")
    }
}

#[track_caller]
fn is(said: &Said, certificate: &str, status: &str) {
    assert!(said.is_ok, "{}", said.text());
    said.says(&["Response verify OK", &format!("{certificate}: {status}")]);
}

fn number(list: &str) -> u64 {
    let said = ok("openssl", &["crl", "-in", list, "-noout", "-crlnumber"]).text();
    let hex = said.trim().trim_start_matches("crlNumber=0x");
    u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("no number: {said}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_is_told_the_status_of_certificates() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let issuing = &outsider.issuing;
    let holder = outsider.device(&live, "first").await;
    let first = holder.certificate.clone();
    let Holder { certificate: second, .. } = outsider.device(&live, "second").await;
    // With a nonce, which comes back; without; by another hash; two at once.
    let fresh = outsider.status(issuing, &["-cert", &first]);
    is(&fresh, &first, "good");
    assert!(!fresh.err.contains(NO_NONCE), "{}", fresh.err);
    is(&outsider.status(issuing, &["-cert", &first, "-no_nonce"]), &first, "good");
    is(&outsider.status(issuing, &["-sha256", "-cert", &first]), &first, "good");
    let both = ["-cert", &first, "-cert", &second];
    for nonce in [&[][..], &["-no_nonce"]] {
        let said = outsider.status(issuing, &[&both, nonce].concat());
        is(&said, &first, "good");
        is(&said, &second, "good");
    }
    let unknown = "0x1234567890abcdef1234567890abcdef";
    let said = outsider.status(issuing, &["-serial", unknown, "-serial", "5", "-cert", &first]);
    for (what, status) in [(unknown, "unknown"), ("5", "unknown"), (&first, "good")] {
        is(&said, what, status);
    }
    // Of the root's certificates only the root could say anything.
    let foreign = outsider.status(outsider.root(), &["-cert", issuing]);
    assert!(!foreign.is_ok);
    foreign.says(&["unauthorized (6)"]);
    outsider.revoke(&live, &holder, "keyCompromise").await;
    for nonce in [&[][..], &["-no_nonce"]] {
        let said = outsider.status(issuing, &[&both, nonce].concat());
        is(&said, &first, "revoked");
        said.says(&["Reason: keyCompromise"]);
        is(&said, &second, "good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_had_by_get_whichever_way_the_path_is_escaped() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let Holder { certificate, .. } = outsider.device(&live, "mine").await;
    let request = outsider.path("request");
    let made = ["ocsp", "-issuer", &outsider.issuing, "-no_nonce", "-reqout", &request];
    ok("openssl", &[&made[..], &["-cert", &certificate]].concat());
    let plain = STANDARD.encode(std::fs::read(request).unwrap());
    let escaped = plain.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let lower = escaped.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d");
    let mut answers = Vec::new();
    for path in [plain, escaped, lower] {
        let answer = outsider.fetch(&format!("{}/{path}", outsider.ocsp()), "answer");
        is(&outsider.status_in(&answer, &certificate), &certificate, "good");
        answers.push(std::fs::read(answer).unwrap());
    }
    // One answer for all who ask without a nonce.
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let malformed = outsider.fetch(&format!("{}/AAAA", outsider.ocsp()), "malformed");
    let said = fails("openssl", &["ocsp", "-noverify", "-respin", &malformed]);
    said.says(&["malformedrequest (1)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_refuses_a_certificate_that_a_list_names() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let holder = outsider.device(&live, "first").await;
    let first = holder.certificate.clone();
    let Holder { certificate: second, .. } = outsider.device(&live, "second").await;
    let (_, before) = outsider.list("before", &first);
    for certificate in [&first, &second] {
        let said = outsider.verify(&before, certificate);
        assert!(said.is_ok, "{}", said.text());
    }
    // What the certificate says of its issuer is true, too.
    let url = crate::url_in(&first, "authorityInfoAccess", ".cer");
    let named = crate::pem(
        &outsider.person,
        "named",
        &std::fs::read(outsider.fetch(&url, "named.cer")).unwrap(),
    );
    assert_eq!(std::fs::read(named).unwrap(), std::fs::read(&outsider.issuing).unwrap());
    outsider.revoke(&live, &holder, "superseded").await;
    let (_, after) = outsider.list_with("after", &first).await;
    let said = outsider.verify(&after, &first);
    assert!(!said.is_ok, "{}", said.text());
    said.says(&["certificate revoked"]);
    let said = outsider.verify(&after, &second);
    assert!(said.is_ok, "{}", said.text());
    ok("openssl", &["crl", "-in", &after, "-noout", "-text"]).says(&["Superseded"]);
    assert!(number(&after) > number(&before));
}
