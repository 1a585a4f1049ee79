//! The authority as programs see it that nobody here wrote: strongSwan enrolls and renews, OpenSSL
//! and GnuTLS check what was issued and revoked, pkilint reads one certificate of every kind.
//!
//! [`Outsider`] is somebody with these programs, a directory and the root's certificate. A program
//! that is missing fails its test, and so does one that does not end. **Not here:** which requests
//! are refused and why (the enrollment tests), connections of devices.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these hand files to other programs"
)]

#[path = "clients/gnutls.rs"]
mod gnutls;
#[path = "clients/lint.rs"]
mod lint;
#[path = "clients/openssl.rs"]
mod openssl;
#[path = "clients/sessions.rs"]
mod sessions;
#[path = "clients/strongswan.rs"]
mod strongswan;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use fieldmesh_domain::EntityId;
use fieldmesh_tests::{
    live::{Live, until},
    person::{P256, Person},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

/// A program that has not ended after so many seconds does not end.
const PATIENCE_S: &str = "60";
/// How `timeout` says that it had to end the program.
const OUT_OF_TIME: i32 = 124;

/// What a program said.
pub(crate) struct Said {
    pub(crate) is_ok: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Said {
    /// All of it.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", String::from_utf8_lossy(&self.out), self.err)
    }

    #[track_caller]
    pub(crate) fn says(&self, wanted: &[&str]) {
        let text = self.text();
        for wanted in wanted {
            assert!(text.contains(wanted), "no {wanted:?} in: {text}");
        }
    }
}

/// A program that is ended where it does not end.
pub(crate) fn program(name: &str, args: &[&str]) -> Command {
    program_for(PATIENCE_S, name, args)
}

pub(crate) fn program_for(seconds: &str, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args([seconds, name]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
pub(crate) fn ask(command: &mut Command, input: &str) -> Said {
    let mut child = command.spawn().unwrap();
    // Whoever ends without reading its input is heard all the same.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(OUT_OF_TIME), "{command:?} does not end: {err}");
    Said { is_ok: output.status.success(), out: output.stdout, err }
}

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn ok(name: &str, args: &[&str]) -> Said {
    let said = ask(&mut program(name, args), "");
    assert!(said.is_ok, "{name} {args:?}: {}", said.text());
    said
}

/// Runs a program that must not.
#[track_caller]
pub(crate) fn fails(name: &str, args: &[&str]) -> Said {
    let said = ask(&mut program(name, args), "");
    assert!(!said.is_ok, "{name} {args:?}: {}", said.text());
    said
}

/// A one-time token as an operator mints it; user and secret.
pub(crate) async fn token(live: &Live, wanted: Value) -> (String, String) {
    let (status, minted) = live.try_post("/v1/ca/tokens", &wanted).await;
    assert_eq!(status, 201, "{minted}");
    let text = |key: &str| minted[key].as_str().unwrap().to_owned();
    (text("user"), text("secret"))
}

/// Somebody with programs, a directory and the certificates of the authorities.
pub(crate) struct Outsider {
    pub(crate) person: Person,
    /// `host:port` of the plain listener, and its URL.
    host: String,
    http: String,
    /// The issuing CA's certificate, PEM.
    pub(crate) issuing: String,
    /// The roots and it, DER.
    pub(crate) authorities: Vec<Vec<u8>>,
}

/// Somebody's certificate and key, PEM.
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Outsider {
    pub(crate) fn new(live: &Live) -> Self {
        let person = Person::new(live, "device");
        let found = person.certificates("cacerts", &person.est("cacerts", &[]));
        let authorities: Vec<Vec<u8>> = CertificateDer::pem_file_iter(found)
            .unwrap()
            .map(|der| der.unwrap().to_vec())
            .collect();
        let is_root = |der: &&Vec<u8>| fieldmesh_pki::is_self_signed(der);
        let (roots, issuing): (Vec<_>, Vec<_>) = authorities.iter().partition(is_root);
        assert!(roots.contains(&&live.root));
        assert_eq!(issuing.len(), 1, "one authority issues");
        let host = live.server().http.to_string();
        let http = format!("http://{host}");
        let issuing = pem(&person, "issuing", issuing[0]);
        Self { person, host, http, issuing, authorities }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.person.path(name)
    }

    pub(crate) fn root(&self) -> &str {
        self.person.root()
    }

    pub(crate) fn ocsp(&self) -> String {
        format!("{}/ocsp", self.http)
    }

    /// Enrolls with a request in base64; the certificate.
    #[track_caller]
    pub(crate) fn enroll(
        &self,
        name: &str,
        (user, secret): &(String, String),
        body: &str,
    ) -> String {
        let answer = self.person.enroll(user, secret, body);
        let found = self.person.certificates(name, &answer);
        // Alone, without the text that openssl writes before it.
        let alone = self.path(&format!("{name}.alone.pem"));
        ok("openssl", &["x509", "-in", &found, "-out", &alone]);
        alone
    }

    /// Enrolls whom a token is for, with a new key.
    pub(crate) fn holder(&self, name: &str, token: &(String, String)) -> Holder {
        let key = self.person.key(name, P256);
        let body = self.person.request_for(name, &key, &["-subj", "/"]);
        let certificate = self.enroll(name, token, &body);
        Holder { id: token.0.clone(), certificate, key }
    }

    /// A customer's device.
    pub(crate) async fn device(&self, live: &Live, name: &str) -> Holder {
        let id: EntityId = live.customer().await;
        self.holder(name, &(id.to_string(), live.token(id).await.to_string()))
    }

    /// A file with a certificate and its issuer's.
    pub(crate) fn chain(&self, certificate: &str) -> String {
        let chain = [certificate, &self.issuing].map(|path| std::fs::read(path).unwrap()).concat();
        let name = certificate.rsplit('/').next().unwrap();
        self.person.file(&format!("chain.{name}"), &chain)
    }

    /// Fetches a URL that a certificate names, from where that name will lead.
    #[track_caller]
    pub(crate) fn fetch(&self, url: &str, name: &str) -> String {
        let (path, to) = (self.path(name), format!("::{}", self.host));
        ok("curl", &["-sSf", "--connect-to", &to, "-o", &path, url]);
        path
    }

    /// Revokes whom a certificate is for, and waits until others are told so.
    pub(crate) async fn revoke(&self, live: &Live, holder: &Holder, reason: &str) {
        let path = format!("/v1/ca/registrations/{}/revoke", holder.id);
        let (status, view) = live.try_post(&path, &json!({ "reason": reason })).await;
        assert_eq!(status, 200, "{view}");
        let (url, mine) = (self.ocsp(), &holder.certificate);
        let args = ["ocsp", "-url", &url, "-issuer", &self.issuing, "-CAfile", self.root()];
        let revoked = format!("{mine}: revoked");
        until("an answer that it is revoked", async || {
            let said = ok("openssl", &[&args[..], &["-cert", mine]].concat());
            said.text().contains(&revoked).then_some(())
        })
        .await;
    }

    /// The list that a certificate names, in DER and in PEM.
    #[track_caller]
    pub(crate) fn list(&self, name: &str, certificate: &str) -> (String, String) {
        let url = url_in(certificate, "crlDistributionPoints", ".crl");
        let der = self.fetch(&url, &format!("{name}.crl"));
        let pem = self.path(&format!("{name}.crl.pem"));
        ok("openssl", &["crl", "-inform", "DER", "-in", &der, "-out", &pem]);
        (der, pem)
    }

    /// The first list that has a certificate.
    pub(crate) async fn list_with(&self, name: &str, certificate: &str) -> (String, String) {
        let serial = ok("openssl", &["x509", "-in", certificate, "-noout", "-serial"]);
        let serial = String::from_utf8(serial.out).unwrap();
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        let wanted = format!("Serial Number: {serial}");
        until("a list with the certificate", async || {
            let (der, pem) = self.list(name, certificate);
            let text = ok("openssl", &["crl", "-in", &pem, "-noout", "-text"]).text();
            text.contains(&wanted).then_some((der, pem))
        })
        .await
    }
}

/// Writes a certificate in PEM; its path.
pub(crate) fn pem(person: &Person, name: &str, der: &[u8]) -> String {
    let (der, pem) =
        (person.file(&format!("{name}.der"), der), person.path(&format!("{name}.pem")));
    ok("openssl", &["x509", "-inform", "DER", "-in", &der, "-out", &pem]);
    pem
}

/// A URL in an extension of a certificate.
#[track_caller]
pub(crate) fn url_in(certificate: &str, extension: &str, end: &str) -> String {
    let text = ok("openssl", &["x509", "-in", certificate, "-noout", "-ext", extension]).text();
    let urls = text.lines().filter_map(|line| line.split_once("URI:")).map(|(_, url)| url.trim());
    let mut urls = urls.filter(|url| url.ends_with(end));
    urls.next().unwrap_or_else(|| panic!("no URL in {text}")).to_owned()
}
