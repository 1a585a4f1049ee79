//! No TLS session of the HTTPS port is resumed: a resumed one would not show its certificate again.
//!
//! What the two clients would say otherwise is seen on a server of openssl that does resume.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use fieldmesh_tests::{
    live::{Live, until},
    person::{P256, Person},
};

use crate::{Said, ask, ok, program};

/// Each version, as openssl and as GnuTLS are told.
const VERSIONS: [(&str, &str, &str); 2] = [
    ("TLSv1.2", "-tls1_2", "NORMAL:-VERS-TLS1.3"),
    ("TLSv1.3", "-tls1_3", "NORMAL:-VERS-TLS-ALL:+VERS-TLS1.3"),
];
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A server that ends with its test.
struct Resuming(Child);

impl Drop for Resuming {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Resuming {
    /// The server and its address.
    async fn start(person: &Person) -> (Self, String) {
        let (key, certificate) = (person.key("server", P256), person.path("server.pem"));
        let made = ["req", "-x509", "-key", &key, "-subj", "/CN=localhost", "-out", &certificate];
        ok("openssl", &made);
        let said = person.path("server.out");
        let args = ["s_server", "-accept", "127.0.0.1:0", "-www", "-cert", &certificate];
        let server = Command::new("openssl")
            .args(args)
            .args(["-key", &key])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn();
        let server = Self(server.unwrap());
        let address = until("the server of openssl", async || {
            let said = std::fs::read_to_string(&said).unwrap();
            let (line, _) = said.split_once("ACCEPT ")?.1.split_once('\n')?;
            Some(line.trim().to_owned())
        });
        (server, address.await)
    }
}

/// Whether openssl is given a session, and resumes it.
fn openssl_resumes(person: &Person, address: &str, (name, option, _): (&str, &str, &str)) -> bool {
    let session = person.path(&format!("{}.{name}", address.replace(':', ".")));
    let connect = |file: &str| -> Said {
        let args = ["s_client", "-connect", address, "-ign_eof", option, file, &session];
        ask(&mut program("openssl", &args), REQUEST)
    };
    let first = connect("-sess_out");
    first.says(&["HTTP/1.", &format!("New, {name}")]);
    if !Path::new(&session).exists() {
        assert!(!first.text().contains("TLS session ticket:"), "{}", first.text());
        return false;
    }
    let second = connect("-sess_in");
    second.says(&["HTTP/1."]);
    second.text().contains(&format!("Reused, {name}"))
}

/// Whether GnuTLS resumes what it had.
fn gnutls_resumes(address: &str, (name, _, priority): (&str, &str, &str)) -> bool {
    let (host, port) = address.split_once(':').unwrap();
    let args = ["--insecure", "--resume", "--priority", priority, "--port", port, host];
    let said = ask(&mut program("gnutls-cli", &args), "");
    let version = name.replace("TLSv", "(TLS");
    said.says(&[&version, "trying to resume previous session", "Resume Handshake was completed"]);
    said.text().contains("This is a resumed session")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_resumes_a_session() {
    let live = Live::start().await;
    let person = Person::new(&live, "device");
    let (_server, resuming) = Resuming::start(&person).await;
    for (address, wanted) in [(resuming, true), (live.https.to_string(), false)] {
        for version in VERSIONS {
            let resumed =
                (openssl_resumes(&person, &address, version), gnutls_resumes(&address, version));
            assert_eq!(resumed, (wanted, wanted), "{version:?} at {address}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_believes_the_server_in_both_versions() {
    let live = Live::start().await;
    let person = Person::new(&live, "device");
    let server = format!("localhost:{}", live.https.port());
    for (name, option, _) in VERSIONS {
        let trust = ["-CAfile", person.root(), "-verify_return_error", "-x509_strict"];
        let names = ["-verify_hostname", "localhost", "-purpose", "sslserver"];
        let args = [&["s_client", "-connect", &server, option][..], &trust, &names].concat();
        let said = ok("openssl", &args);
        said.says(&["Verification: OK", &format!("New, {name}")]);
    }
    let old = ["s_client", "-connect", &server, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = crate::fails("openssl", &old);
    said.says(&["SSL alert number"]);
}
