//! strongSwan's `pki` speaks EST: it gets the authorities, enrolls, waits, renews and verifies.
//!
//! It takes no label: it asks under `/.well-known/est/` of the host that it is given, and the token
//! or the certificate says which profile is meant. **Not here:** other clients of EST.

use std::{fs::read, process::Command};

use fieldmesh_domain::{
    Command as Told, EntityId,
    registration::{self, Issued, Proof},
};
use fieldmesh_node::{issuer::sha256, register};
use fieldmesh_pki::{Identity, Kind, TrustStore, Usage, token_hash};
use fieldmesh_tests::live::{
    Live,
    forge::{Forge, Leaf},
    now_s, until,
};
use serde_json::{Value, json};

use crate::{Holder, Outsider, Said, ask, ok, pem, program, token};

const DAY_S: u64 = 24 * 3600;
/// Its own default, and what it does when it is told to.
const VERSIONS: [(&str, &str); 2] = [("1.2", ""), ("1.3", "libtls {\n  version_max = 1.3\n}\n")];

impl Outsider {
    /// A call of `pki`, whose configuration of TLS is in a file.
    fn pki(&self, libtls: &str, args: &[&str]) -> Command {
        let mut command = program("pki", args);
        command.env("STRONGSWAN_CONF", self.person.file("strongswan.conf", libtls.as_bytes()));
        command
    }

    #[track_caller]
    fn made(&self, name: &str, args: &[&str]) -> String {
        let said = ask(&mut self.pki("", args), "");
        assert!(said.is_ok, "{args:?}: {}", said.err);
        self.person.file(name, &said.out)
    }

    /// A key and a request for it as strongSwan makes them.
    fn pki_request(&self, name: &str, kind: &[&str]) -> (String, String) {
        let make = [&["--gen", "--outform", "pem"], kind].concat();
        let key = self.made(&format!("{name}.key"), &make);
        let ask = ["--req", "--type", "priv", "--in", &key, "--dn", "C=FR, O=Somebody, CN=phone"];
        let request = self.made(&format!("{name}.csr"), &ask);
        (key, request)
    }

    /// An enrollment, or with a certificate a renewal; it believes the root and the issuing CA.
    fn est(&self, live: &Live, libtls: &str, request: &str, proof: &[&str]) -> Command {
        let url = format!("https://localhost:{}", live.https.port());
        let trust = ["--cacert", self.root(), "--cacert", &self.issuing];
        let args = ["--est", "--url", &url, "--in", request, "--outform", "pem"];
        self.pki(libtls, &[&args[..], &trust, proof].concat())
    }

    /// What came of it: a certificate that strongSwan believes and that is for the request's key.
    #[track_caller]
    fn issued(&self, name: &str, key: &str, said: &Said) -> String {
        assert!(said.is_ok, "{}", said.err);
        said.says(&["Issued certificate is trusted"]);
        let certificate = self.person.file(name, &said.out);
        let of = |args: &[&str]| ok("openssl", args).out;
        let certified = of(&["x509", "-in", &certificate, "-noout", "-pubkey"]);
        assert_eq!(certified, of(&["pkey", "-in", key, "-pubout"]));
        certificate
    }
}

#[track_caller]
fn refused(said: &Said, why: &str) {
    assert!(!said.is_ok, "{}", said.text());
    assert!(said.out.is_empty(), "{}", said.text());
    said.says(&[why]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strongswan_enrolls_over_both_versions_of_tls() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let url = format!("https://localhost:{}", live.https.port());
    for (version, libtls) in VERSIONS {
        let authorities = outsider.path("authorities.der");
        let args = ["--estca", "--url", &url, "--cacert", outsider.root(), "--caout", &authorities];
        let args = [&args[..], &["--force"]].concat();
        let said = ask(&mut outsider.pki(libtls, &args), "");
        assert!(said.is_ok, "{}", said.err);
        let negotiated = format!("negotiated TLS {version}");
        said.says(&[&negotiated, "Root CA cert is trusted", "Sub CA cert is trusted"]);
        // Each is in a file of its own, whose name it makes up.
        let mut got: Vec<Vec<u8>> = std::fs::read_dir(outsider.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains("/authorities"))
            .map(|path| read(path).unwrap())
            .collect();
        let mut wanted = outsider.authorities.clone();
        got.sort();
        wanted.sort();
        assert!(got == wanted, "{}", said.err);
        for (name, kind) in [
            ("ecdsa", &["--type", "ecdsa", "--size", "256"][..]),
            ("ed25519", &["--type", "ed25519"]),
        ] {
            let (key, request) = outsider.pki_request(name, kind);
            let id = live.customer().await;
            let proof = ["--userpass", &format!("{id}:wrong")];
            let mut wrong = outsider.est(&live, libtls, &request, &proof);
            refused(&ask(&mut wrong, ""), "HTTP 401");
            let proof = format!("{id}:{}", live.token(id).await.as_str());
            let mut enroll = outsider.est(&live, libtls, &request, &["--userpass", &proof]);
            let said = ask(&mut enroll, "");
            said.says(&[&negotiated]);
            let certificate = outsider.issued(&format!("{name}.pem"), &key, &said);
            ok("pki", &["--print", "--in", &certificate]).says(&["CN=customer eu1", "clientAuth"]);
            let verify = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"];
            let trust = [outsider.root(), "-untrusted", &outsider.issuing, &certificate];
            ok("openssl", &[&verify[..], &trust].concat());
            // The token is spent, for any other key.
            let (_, other) = outsider.pki_request("other", kind);
            let mut again = outsider.est(&live, libtls, &other, &["--userpass", &proof]);
            refused(&ask(&mut again, ""), "HTTP 401");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strongswan_tells_no_stranger_the_token() {
    let live = Live::start().await;
    let other = Live::start().await;
    let outsider = Outsider::new(&other);
    let (_, request) = outsider.pki_request("mine", &["--type", "ecdsa", "--size", "256"]);
    let id = live.customer().await;
    let proof = format!("{id}:{}", live.token(id).await.as_str());
    let before = live.snapshot().await;
    let said = ask(&mut outsider.est(&live, "", &request, &["--userpass", &proof]), "");
    refused(&said, "TLS alert");
    assert_eq!(live.snapshot().await, before);
}

async fn pending(live: &Live, id: &str) {
    let path = format!("/v1/ca/registrations/{id}");
    until("a request that waits", async || {
        let (status, view) = live.http(true, "GET", &path, "", &[]).await;
        assert_eq!(status, 200);
        let view: Value = serde_json::from_slice(&view).unwrap();
        (view["state"] == "pending").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strongswan_waits_for_an_operator() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let mut waiting = Vec::new();
    for decision in ["approve", "deny"] {
        let id = live.technician(1).await.to_string();
        let (user, secret) = token(&live, json!({ "id": id })).await;
        let kind = ["--type", "ecdsa", "--size", "256"];
        let (key, request) = outsider.pki_request(decision, &kind);
        let (user, secret) = (&user, &secret);
        let poll = ["--userpass", &format!("{user}:{secret}"), "--interval", "1"];
        let poll = [&poll[..], &["--maxpolltime", "45"]].concat();
        let child = outsider.est(&live, "", &request, &poll).spawn().unwrap();
        waiting.push((decision, id, key, child));
    }
    for (decision, id, ..) in &waiting {
        pending(&live, id).await;
        let path = format!("/v1/ca/registrations/{id}/{decision}");
        let (status, view) = live.try_post(&path, &json!({ "why": "not our phone" })).await;
        assert_eq!(status, 200, "{view}");
    }
    for (decision, _, key, child) in waiting {
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = Said { is_ok: output.status.success(), out: output.stdout, err };
        said.says(&["EST request pending"]);
        if decision == "approve" {
            let certificate = outsider.issued("approved.pem", &key, &said);
            ok("pki", &["--print", "--in", &certificate]).says(&["CN=technician eu1"]);
        } else {
            refused(&said, "HTTP 403");
        }
    }
}

/// A customer's device whose certificate was issued when the test says.
async fn aged(live: &Live, outsider: &Outsider, from_s: u64, until_s: u64) -> Holder {
    let id = live.customer().await;
    // Registers the identity.
    let token = live.token(id).await;
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
    let issued = Issued {
        proof: Proof::Token(token_hash(&token)),
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
    let command = Told::Registration(registration::Command::Enroll(issued));
    live.server().node.ask(EntityId::registration_of(id), command).await.unwrap();
    let certificate = pem(&outsider.person, "old", &credentials.chain[0]);
    let der = outsider.person.file("old.key.der", &credentials.pkcs8);
    let key = outsider.path("old.key");
    ok("openssl", &["pkey", "-inform", "DER", "-in", &der, "-out", &key]);
    Holder { id: id.to_string(), certificate, key }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strongswan_renews_with_the_old_certificate_when_it_is_time() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    for (version, libtls) in VERSIONS {
        let (from_s, until_s) = (now_s() - 89 * DAY_S, now_s() + DAY_S);
        let old = aged(&live, &outsider, from_s, until_s).await;
        let (key, request) = outsider.pki_request("new", &["--type", "ecdsa", "--size", "256"]);
        let proof = ["--cert", &old.certificate, "--key", &old.key];
        let said = ask(&mut outsider.est(&live, libtls, &request, &proof), "");
        said.says(&[&format!("negotiated TLS {version}"), "sending TLS client certificate"]);
        let new = outsider.issued("new.pem", &key, &said);
        let names = |certificate: &str| {
            ok("openssl", &["x509", "-in", certificate, "-noout", "-ext", "subjectAltName"]).out
        };
        assert_eq!(names(&new), names(&old.certificate));
        // The new one is not due.
        let (_, next) = outsider.pki_request("next", &["--type", "ecdsa", "--size", "256"]);
        let proof = ["--cert", &new, "--key", &key];
        refused(&ask(&mut outsider.est(&live, libtls, &next, &proof), ""), "HTTP 403");
        // Neither is a revoked one renewed that is due.
        outsider.revoke(&live, &old, "keyCompromise").await;
        let proof = ["--cert", &old.certificate, "--key", &old.key];
        refused(&ask(&mut outsider.est(&live, libtls, &next, &proof), ""), "HTTP 403");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strongswan_reads_the_list() {
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let holder = outsider.device(&live, "mine").await;
    let certificate = &holder.certificate;
    let verify = |list: &str| {
        let trust = ["--cacert", outsider.root(), "--cacert", &outsider.issuing];
        let args = ["--verify", "--in", certificate, "--crl", list];
        ask(&mut outsider.pki("", &[&args[..], &trust].concat()), "")
    };
    let before = verify(&outsider.list("before", certificate).0);
    assert!(before.is_ok, "{}", before.text());
    before.says(&["crl correctly signed by", "certificate status is good"]);
    outsider.revoke(&live, &holder, "keyCompromise").await;
    let after = verify(&outsider.list_with("after", certificate).await.0);
    assert!(!after.is_ok, "{}", after.text());
    after.says(&["certificate was revoked", "key compromise"]);
}
