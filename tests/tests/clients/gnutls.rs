//! GnuTLS, as a second opinion: requests, chains, connections, lists and OCSP.
//!
//! **Not here:** sessions.

use std::fs::read;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_tests::live::Live;
use serde_json::json;

use crate::{Outsider, ask, fails, ok, pem, program, token};

const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const SERVER: &str = "1.3.6.1.5.5.7.3.1";

impl Outsider {
    /// A key and a request as certtool makes them; key, and request in base64.
    fn certtool_request(&self, name: &str, kind: &[&str]) -> (String, String) {
        let (key, csr) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.csr")));
        let template = self.person.file("template", b"cn = \"a phone\"\n");
        ok("certtool", &[&["--generate-privkey", "--outfile", &key], kind].concat());
        let made = ["--generate-request", "--outder", "--template", &template];
        ok("certtool", &[&made[..], &["--load-privkey", &key, "--outfile", &csr]].concat());
        let body = STANDARD.encode(read(csr).unwrap());
        (key, self.person.file(&format!("{name}.b64"), body.as_bytes()))
    }

    fn certtool_args<'a>(&'a self, chain: &'a str, purpose: &'a str) -> [&'a str; 7] {
        let root = self.root();
        ["--verify", "--load-ca-certificate", root, "--infile", chain, "--verify-purpose", purpose]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_gnutls_made_are_certified_and_verified() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    // The one that signs now: a chain has no place for the next root.
    let root = pem(&outsider.person, "root", &live.root);
    for (name, kind) in [
        ("p256", &["--key-type", "ecdsa", "--curve", "secp256r1"][..]),
        ("p384", &["--key-type", "ecdsa", "--curve", "secp384r1"]),
        ("ed25519", &["--key-type", "ed25519"]),
    ] {
        let (_, body) = outsider.certtool_request(name, kind);
        let id = live.customer().await;
        let invited = (id.to_string(), live.token(id).await.to_string());
        let chain = outsider.chain(&outsider.enroll(name, &invited, &body));
        ok("certtool", &outsider.certtool_args(&chain, CLIENT)).says(&["Verified"]);
        // It is a client's and nothing else.
        let said = fails("certtool", &outsider.certtool_args(&chain, SERVER));
        said.says(&["does not match the intended purpose"]);
        let whole = [read(&chain).unwrap(), read(&root).unwrap()].concat();
        let whole = outsider.person.file(&format!("{name}.whole"), &whole);
        ok("certtool", &["--verify-chain", "--infile", &whole]).says(&["Verified"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_asks_with_gnutls() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let kind = ["--key-type", "ecdsa", "--curve", "secp256r1"];
    let (key, body) = outsider.certtool_request("operator", &kind);
    let invited = token(&live, json!({ "profile": "operator", "label": "duty" })).await;
    let certificate = outsider.enroll("operator", &invited, &body);
    let customer = live.customer().await.to_string();
    let server = format!("localhost:{}", live.https.port());
    let request = "GET /v1/customers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (priority, version) in [("NORMAL:-VERS-TLS1.3", "(TLS1.2"), ("NORMAL", "(TLS1.3")] {
        let trust = ["--x509cafile", outsider.root(), "--priority", priority];
        let mine = ["--x509certfile", &certificate, "--x509keyfile", &key];
        let args = [&trust[..], &mine, &[&server]].concat();
        let said = ask(&mut program("gnutls-cli", &args), request);
        assert!(said.is_ok, "{}", said.text());
        said.says(&["The certificate is trusted", version, "HTTP/1.1 200 OK", &customer]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gnutls_learns_of_a_revocation() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let holder = outsider.device(&live, "mine").await;
    let certificate = &holder.certificate;
    let chain = outsider.chain(certificate);
    let (url, issuing) = (format!("--ask={}", outsider.ocsp()), &outsider.issuing);
    let load = [format!("--load-issuer={issuing}"), format!("--load-cert={certificate}")];
    // Whom it believes: whoever the issuer let sign, found in either way. It builds no chain here.
    let beliefs = [format!("--load-signer={issuing}"), format!("--load-trust={issuing}")];
    let ocsp = |status: &str| {
        for belief in &beliefs {
            for nonce in ["--nonce", "--no-nonce"] {
                let said = ok("ocsptool", &[&url, &load[0], &load[1], belief, nonce]);
                said.says(&[status, "Verifying OCSP Response: Success"]);
            }
        }
    };
    let verify = |list: &str| {
        let args = ["--verify-crl", "--load-ca-certificate", issuing, "--infile", list];
        ok("certtool", &args).says(&["Verified. The certificate is trusted."]);
        let args = [&outsider.certtool_args(&chain, CLIENT)[..], &["--load-crl", list]].concat();
        ask(&mut program("certtool", &args), "")
    };
    ocsp("Certificate Status: good");
    let before = verify(&outsider.list("before", certificate).1);
    assert!(before.is_ok, "{}", before.text());
    before.says(&["Checked against CRL"]);
    outsider.revoke(&live, &holder, "keyCompromise").await;
    ocsp("Certificate Status: revoked");
    let after = verify(&outsider.list_with("after", certificate).await.1);
    assert!(!after.is_ok, "{}", after.text());
    after.says(&["The certificate chain is revoked."]);
}
