//! pkilint reads one certificate of every kind, the lists and the OCSP answers.
//!
//! It is installed once for a user, beside the other caches; a test that can neither find nor
//! install it fails. **Invariant:** what is tolerated is named here by its code and its content, and
//! is seen. **Not here:** whether programs that verify believe these certificates.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use fieldmesh_pki::{Kind, Profile};
use fieldmesh_tests::{live::Live, person::P256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Holder, Outsider, Said, ask, ok, pem, program, program_for, token};

const VERSION: &str = "0.13.3";
/// Fetching it and what it needs.
const INSTALL_S: &str = "600";
/// What the linter does not know: URIs of other schemes than HTTP (RFC 3986), and that a name of
/// one label is a name (RFC 1034 §3.5).
const TOLERATED: [(&str, &str); 2] = [
    ("pkix.invalid_uri_syntax", "Invalid URI syntax: \"spiffe://"),
    ("pkix.invalid_domain_name_syntax", "Invalid domain name syntax: \"localhost\""),
];

const CERTIFICATE: &[&str] = &["pkilint.bin.lint_pkix_cert", "lint"];
const CHAIN: &[&str] = &["pkilint.bin.lint_pkix_signer_signee_cert_chain", "lint"];
const LIST: &[&str] = &["pkilint.bin.lint_crl", "lint", "--type", "CRL", "--profile", "PKIX"];
const OCSP: &[&str] = &["pkilint.bin.lint_ocsp_response", "lint"];

/// The linter, ready to use.
struct Linter {
    python: PathBuf,
}

fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")));
    cache.expect("HOME or XDG_CACHE_HOME is set").join("fieldmesh").join("pkilint")
}

impl Linter {
    fn get() -> Self {
        let cache = cache();
        let place = cache.join(VERSION);
        if let Some(found) = Self::at(&place) {
            return found;
        }
        std::fs::create_dir_all(&cache).unwrap();
        let made = TempDir::new_in(&cache).unwrap();
        let python = made.path().join("bin/python").to_str().unwrap().to_owned();
        install("python3", &["-m", "venv", made.path().to_str().unwrap()]);
        let wanted = format!("pkilint=={VERSION}");
        install(&python, &["-m", "pip", "install", "--disable-pip-version-check", &wanted]);
        // Another test may have been as quick; what was there before did not work.
        if Self::at(&place).is_none() {
            drop(std::fs::remove_dir_all(&place));
            drop(std::fs::rename(made.path(), &place));
        }
        Self::at(&place).expect("pkilint works where it was installed")
    }

    fn at(place: &Path) -> Option<Self> {
        let python = place.join("bin/python");
        let says =
            "import importlib.metadata, pkilint; print(importlib.metadata.version('pkilint'))";
        let output = Command::new(&python).args(["-c", says]).output().ok()?;
        let found = String::from_utf8_lossy(&output.stdout).trim() == VERSION;
        found.then_some(Self { python })
    }

    fn run(&self, linter: &[&str], files: &[&str], format: &str) -> Said {
        let options = ["--severity", "WARNING", "--format", format];
        let args = [&["-m"], linter, &options, files].concat();
        ask(&mut program(self.python.to_str().unwrap(), &args), "")
    }

    /// Each finding with its code.
    #[track_caller]
    fn findings(&self, linter: &[&str], files: &[&str]) -> Vec<(String, String)> {
        let said = self.run(linter, files, "JSON");
        let found: Value = serde_json::from_slice(&said.out)
            .unwrap_or_else(|_| panic!("pkilint does not read {files:?}: {}", said.text()));
        let results = found["results"].as_array().unwrap().iter();
        results
            .flat_map(|result| result["finding_descriptions"].as_array().unwrap())
            .map(|finding| {
                let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
                (text("code"), text("message"))
            })
            .collect()
    }

    /// Nothing is found but what is tolerated; how much of that.
    #[track_caller]
    fn passes(&self, what: &str, linter: &[&str], files: &[&str]) -> usize {
        let found = self.findings(linter, files);
        let tolerated = |(code, message): &(String, String)| {
            TOLERATED.iter().any(|known| known.0 == code && message.starts_with(known.1))
        };
        if !found.iter().all(tolerated) {
            panic!("{what}: {}", self.run(linter, files, "TEXT").text());
        }
        found.len()
    }
}

#[track_caller]
fn install(name: &str, args: &[&str]) {
    let said = ask(&mut program_for(INSTALL_S, name, args), "");
    assert!(
        said.is_ok,
        "pkilint {VERSION} is not there and cannot be installed from PyPI ({name} {args:?}): {}",
        said.text()
    );
}

/// Enrolls whom an operator invites, and approves the request where that is needed.
async fn enrolled(live: &Live, outsider: &Outsider, wanted: Value) -> String {
    let invited = token(live, wanted).await;
    let body = outsider.person.request("key", P256, "/");
    if outsider.person.enroll(&invited.0, &invited.1, &body).status == 202 {
        let path = format!("/v1/ca/registrations/{}/approve", invited.0);
        let (status, view) = live.try_post(&path, &json!({})).await;
        assert_eq!(status, 200, "{view}");
    }
    outsider.enroll("enrolled", &invited, &body)
}

/// An answer in DER.
fn answer(outsider: &Outsider, args: &[&str]) -> String {
    let (url, answer) = (outsider.ocsp(), outsider.path("ocsp.der"));
    let ask = ["ocsp", "-url", &url, "-issuer", &outsider.issuing, "-CAfile", outsider.root()];
    ok("openssl", &[&ask[..], &["-respout", &answer], args].concat());
    answer
}

async fn certificate_of(kind: Kind, live: &Live, outsider: &Outsider) -> String {
    let label = fieldmesh_pki::profile(kind).label;
    match kind {
        Kind::Customer => outsider.device(live, "customer").await.certificate,
        Kind::Technician => {
            let id = live.technician(1).await.to_string();
            enrolled(live, outsider, json!({ "id": id })).await
        }
        Kind::Operator | Kind::Node | Kind::Gateway => {
            enrolled(live, outsider, json!({ "profile": label, "label": "linted" })).await
        }
        Kind::Service => {
            let chain = live.server().node.service.public_keys().chain;
            pem(&outsider.person, label, &chain[0])
        }
        Kind::OcspSigner => {
            let answer = answer(outsider, &["-serial", "5"]);
            let text =
                ok("openssl", &["ocsp", "-noverify", "-resp_text", "-respin", &answer]).text();
            let (_, signer) = text.split_once("-----BEGIN").expect("an answer has its signer");
            let signer = format!("-----BEGIN{signer}");
            outsider.person.file("signer.pem", signer.as_bytes())
        }
    }
}

/// The same certificate in DER, which the linter reads whatever is around it in PEM.
fn der(outsider: &Outsider, name: &str, certificate: &str) -> String {
    let der = outsider.path(&format!("{name}.linted.der"));
    ok("openssl", &["x509", "-in", certificate, "-outform", "DER", "-out", &der]);
    der
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pkilint_passes_a_certificate_of_each_profile() {
    let linter = Linter::get();
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    for profile in Profile::all() {
        let label = profile.label;
        let certificate = certificate_of(profile.kind, &live, &outsider).await;
        let name = format!("URI:spiffe://fieldmesh.internal/region/eu1/{}/", profile.kind.name());
        ok("openssl", &["x509", "-in", &certificate, "-noout", "-text"]).says(&[&name]);
        let certificate = der(&outsider, "leaf", &certificate);
        let found = linter.passes(label, CERTIFICATE, &[&certificate]);
        assert_eq!(found, 1, "{label}: the URI is tolerated, and nothing else");
        linter.passes(label, CHAIN, &[&outsider.path("issuing.der"), &certificate]);
    }
    // It would find something.
    let (key, made) = (outsider.person.key("bare", P256), outsider.path("bare.pem"));
    ok("openssl", &["req", "-x509", "-key", &key, "-subj", "/", "-out", &made]);
    assert!(!linter.findings(CERTIFICATE, &[&der(&outsider, "bare", &made)]).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pkilint_passes_the_authorities_and_what_they_say() {
    let linter = Linter::get();
    let live = Live::start().await;
    let outsider = Outsider::new(&live);
    let issuing = outsider.path("issuing.der");
    for authority in &outsider.authorities {
        let file = outsider.person.file("authority.der", authority);
        let is_root = fieldmesh_pki::is_self_signed(authority);
        let tolerated = usize::from(!is_root);
        assert_eq!(linter.passes("an authority", CERTIFICATE, &[&file]), tolerated);
        if *authority == live.root {
            linter.passes("the root and the issuing CA", CHAIN, &[&file, &issuing]);
        }
    }
    let server = format!("localhost:{}", live.https.port());
    let shown = ok("openssl", &["s_client", "-connect", &server, "-CAfile", outsider.root()]);
    let shown = outsider.person.file("server.pem", &shown.out);
    assert_eq!(linter.passes("the server", CERTIFICATE, &[&der(&outsider, "server", &shown)]), 2);
    let holder = outsider.device(&live, "first").await;
    let certificate = holder.certificate.clone();
    let Holder { certificate: other, .. } = outsider.device(&live, "second").await;
    linter.passes("an empty list", LIST, &[&outsider.list("empty", &certificate).0]);
    outsider.revoke(&live, &holder, "keyCompromise").await;
    for (what, args) in [
        ("revoked", &["-cert", &certificate, "-no_nonce"][..]),
        ("good", &["-cert", &other, "-no_nonce"]),
        ("unknown", &["-serial", "5", "-no_nonce"]),
        ("SHA-256", &["-sha256", "-cert", &other, "-no_nonce"]),
        ("two with a nonce", &["-cert", &certificate, "-cert", &other]),
    ] {
        linter.passes(what, OCSP, &[&answer(&outsider, args)]);
    }
    let (list, _) = outsider.list_with("revoked", &certificate).await;
    linter.passes("a list", LIST, &[&list]);
}
