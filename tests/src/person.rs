//! A person with curl, openssl and a directory: programs that nobody here wrote ask the service.
//!
//! **Not here:** what is expected of the answers (the tests).

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use crate::live::Live;

/// How `openssl genpkey` is told which key to make.
pub const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// What a server answered.
pub struct Answer {
    pub status: u16,
    /// In lower case, one a line.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.headers.lines().find_map(|line| line.split_once(": ").filter(|h| h.0 == name));
        line.map(|(_, value)| value.trim())
    }
}

/// Runs a program that must succeed; its output.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    output.stdout
}

#[track_caller]
pub fn openssl(args: &[&str]) -> String {
    String::from_utf8(run("openssl", args)).unwrap()
}

/// Whether openssl succeeded, and all that it said.
pub fn try_openssl(args: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

pub struct Person {
    dir: TempDir,
    base: String,
    label: String,
    root: PathBuf,
}

impl Person {
    pub fn new(live: &Live, label: &str) -> Self {
        Self::at(&format!("localhost:{}", live.https.port()), live.root_pem(), label)
    }

    /// The same at any server whose root is in a file.
    pub fn at(https: &str, root: PathBuf, label: &str) -> Self {
        let (dir, base) = (TempDir::new().unwrap(), format!("https://{https}"));
        Self { dir, base, label: label.to_owned(), root }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn root(&self) -> &str {
        self.root.to_str().unwrap()
    }

    /// Asks for a URL's path.
    #[track_caller]
    pub fn get(&self, path: &str, args: &[&str]) -> Answer {
        let (url, body, head) =
            (format!("{}{path}", self.base), self.path("answer"), self.path("head"));
        // An empty answer leaves no file.
        drop(std::fs::remove_file(&body));
        let fixed =
            ["-sS", "--cacert", self.root(), "-o", &body, "-D", &head, "-w", "%{http_code}"];
        let status = run("curl", &[&fixed[..], args, &[&url]].concat());
        let status = String::from_utf8(status).unwrap().parse().unwrap();
        let headers = std::fs::read_to_string(head).unwrap().to_lowercase();
        Answer { status, headers, body: std::fs::read(body).unwrap_or_default() }
    }

    /// An EST operation under the person's label.
    #[track_caller]
    pub fn est(&self, operation: &str, args: &[&str]) -> Answer {
        self.get(&format!("/.well-known/est/{}/{operation}", self.label), args)
    }

    /// A key in a file.
    pub fn key(&self, name: &str, kind: &[&str]) -> String {
        let path = self.path(&format!("{name}.key"));
        openssl(&[&["genpkey", "-out", &path], kind].concat());
        path
    }

    /// A request for a key, as `openssl req` makes them, in base64.
    pub fn request_for(&self, name: &str, key: &str, args: &[&str]) -> String {
        let csr = self.path(&format!("{name}.csr"));
        let made = ["req", "-new", "-key", key, "-outform", "DER", "-out", &csr];
        openssl(&[&made[..], args].concat());
        self.file(&format!("{name}.b64"), STANDARD.encode(std::fs::read(csr).unwrap()).as_bytes())
    }

    /// A new key and a request for it.
    pub fn request(&self, name: &str, kind: &[&str], subject: &str) -> String {
        let key = self.key(name, kind);
        self.request_for(name, &key, &["-subj", subject])
    }

    /// Sends a request for a certificate.
    #[track_caller]
    pub fn post(&self, operation: &str, proof: &[&str], body: &str) -> Answer {
        let data = format!("@{body}");
        let content_type = "Content-Type: application/pkcs10";
        let encoding = "Content-Transfer-Encoding: base64";
        let args = ["-H", content_type, "-H", encoding, "--data-binary", &data];
        self.est(operation, &[proof, &args].concat())
    }

    #[track_caller]
    pub fn enroll(&self, user: &str, secret: &str, body: &str) -> Answer {
        self.post("simpleenroll", &["-u", &format!("{user}:{secret}")], body)
    }

    /// Renews by a certificate and its key.
    #[track_caller]
    pub fn reenroll(&self, certificate: &str, key: &str, body: &str) -> Answer {
        self.post("simplereenroll", &["--cert", certificate, "--key", key], body)
    }

    /// The certificates of a PKCS#7 answer, as PEM.
    #[track_caller]
    pub fn certificates(&self, name: &str, answer: &Answer) -> String {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text: Vec<u8> =
            answer.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let der = self.file(&format!("{name}.p7"), &STANDARD.decode(text).unwrap());
        let pem = self.path(&format!("{name}.pem"));
        openssl(&["pkcs7", "-inform", "DER", "-in", &der, "-print_certs", "-out", &pem]);
        pem
    }
}
