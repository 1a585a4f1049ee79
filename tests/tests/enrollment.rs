//! Enrollment by programs that nobody here wrote: curl speaks EST, openssl makes the keys and
//! checks what comes.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these hand files to other programs"
)]

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_domain::EntityId;
use fieldmesh_tests::live::Live;
use tempfile::TempDir;

/// A person with curl, openssl and a directory.
struct Person {
    dir: TempDir,
    base: String,
    root: PathBuf,
}

/// What a server answered.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    output.stdout
}

fn openssl(args: &[&str]) -> String {
    String::from_utf8(run("openssl", args)).unwrap()
}

impl Person {
    fn new(live: &Live) -> Self {
        let base = format!("https://localhost:{}/.well-known/est/devices", live.https.port());
        Self { dir: TempDir::new().unwrap(), base, root: live.root_pem() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn curl(&self, path: &str, args: &[&str]) -> Answer {
        let (url, body) = (format!("{}/{path}", self.base), self.path("answer"));
        let root = self.root.to_str().unwrap();
        let fixed = ["-sS", "--cacert", root, "-o", &body, "-w", "%{http_code}"];
        let status = run("curl", &[&fixed[..], args, &[&url]].concat());
        let status = String::from_utf8(status).unwrap().parse().unwrap();
        Answer { status, body: std::fs::read(body).unwrap() }
    }

    /// A key and a request for it, as `openssl req` makes them.
    fn request(&self, name: &str, key: &[&str], subject: &str) -> String {
        let (key_file, csr) =
            (self.path(&format!("{name}.key")), self.path(&format!("{name}.csr")));
        openssl(&[&["genpkey", "-out", &key_file], key].concat());
        let made = ["req", "-new", "-key", &key_file, "-subj", subject, "-outform", "DER"];
        openssl(&[&made[..], &["-out", &csr]].concat());
        let body = self.path(&format!("{name}.b64"));
        std::fs::write(&body, STANDARD.encode(std::fs::read(csr).unwrap())).unwrap();
        body
    }

    fn enroll(&self, user: &str, secret: &str, body: &str) -> Answer {
        let (user, data) = (format!("{user}:{secret}"), format!("@{body}"));
        let content_type = "Content-Type: application/pkcs10";
        let encoding = "Content-Transfer-Encoding: base64";
        let args = ["-u", &user, "-H", content_type, "-H", encoding, "--data-binary", &data];
        self.curl("simpleenroll", &args)
    }

    /// The certificates of a PKCS#7 answer, as PEM.
    fn certificates(&self, name: &str, answer: &Answer) -> String {
        let text: Vec<u8> =
            answer.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let (der, pem) = (self.path(&format!("{name}.p7")), self.path(&format!("{name}.pem")));
        std::fs::write(&der, STANDARD.decode(text).unwrap()).unwrap();
        openssl(&["pkcs7", "-inform", "DER", "-in", &der, "-print_certs", "-out", &pem]);
        pem
    }
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

async fn invited(live: &Live) -> (EntityId, String) {
    let id = live.customer().await;
    (id, live.token(id).await.to_string())
}

fn public_key(args: &[&str]) -> String {
    openssl(&[args, &["-pubkey", "-noout"]].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_openssl_enroll_a_device() {
    let live = Live::start().await;
    let person = Person::new(&live);
    let cacerts = person.curl("cacerts", &[]);
    assert_eq!(cacerts.status, 200);
    let chain = person.certificates("chain", &cacerts);
    let (id, secret) = invited(&live).await;
    // What the request asks for beyond its key is not what the certificate says.
    let body = person.request("mine", P256, "/CN=root/O=Somebody else");
    let answer = person.enroll(&id.to_string(), &secret, &body);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let mine = person.certificates("mine", &answer);
    openssl(&["verify", "-CAfile", live.root_pem().to_str().unwrap(), "-untrusted", &chain, &mine]);
    let text = openssl(&["x509", "-in", &mine, "-noout", "-text"]);
    assert!(text.contains("URI:spiffe://fieldmesh.internal/region/eu1/customer/"), "{text}");
    assert!(text.contains("TLS Web Client Authentication"), "{text}");
    assert!(!text.contains("TLS Web Server Authentication"), "{text}");
    assert!(text.contains("CA:FALSE") && !text.contains("Somebody else"), "{text}");
    let csr = person.path("mine.csr");
    assert_eq!(
        public_key(&["x509", "-in", &mine]),
        public_key(&["req", "-inform", "DER", "-in", &csr])
    );
    // The answer was lost: the same certificate again. Another key: the token is spent.
    let again = person.enroll(&id.to_string(), &secret, &body);
    assert_eq!((again.status, again.body), (200, answer.body));
    let other = person.request("other", P256, "/CN=x");
    assert_eq!(person.enroll(&id.to_string(), &secret, &other).status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_enrollment_gets_a_problem_and_changes_nothing() {
    let live = Live::start().await;
    let person = Person::new(&live);
    let (id, secret) = invited(&live).await;
    let (another, _) = invited(&live).await;
    let good = person.request("good", P256, "/CN=x");
    let file = |name: &str, bytes: &[u8]| {
        let path = person.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut broken = std::fs::read(person.path("good.csr")).unwrap();
    *broken.last_mut().unwrap() ^= 1;
    let rsa = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..];
    let p384 = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"][..];
    let id = id.to_string();
    let before = live.snapshot();
    for (what, user, secret, body, status) in [
        ("a wrong secret", &*id, "wrong", good.clone(), 401),
        ("another's secret", &*another.to_string(), &*secret, good.clone(), 401),
        ("nobody", "cus_eu1_00000000000000000000", &*secret, good.clone(), 401),
        ("no identifier", "root", &*secret, good.clone(), 401),
        ("no base64", &*id, &*secret, file("x", b"!!!"), 400),
        ("no request", &*id, &*secret, file("y", b"AAAA"), 400),
        ("nothing", &*id, &*secret, file("z", b""), 400),
        ("a broken signature", &*id, &*secret, file("b", STANDARD.encode(broken).as_bytes()), 400),
        ("an RSA key", &*id, &*secret, person.request("rsa", rsa, "/CN=x"), 400),
        ("another curve", &*id, &*secret, person.request("p384", p384, "/CN=x"), 400),
        ("too much", &*id, &*secret, file("l", &vec![b'A'; 70 << 10]), 413),
    ] {
        let answer = person.enroll(user, secret, &body);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{what}: {text}");
        assert!(!text.contains("BEGIN") && answer.body.len() < 1000, "{what}: {text}");
    }
    assert_eq!(person.curl("simpleenroll", &["--data-binary", "x"]).status, 401, "no credentials");
    assert_eq!(live.snapshot(), before);
    assert_eq!(person.enroll(&id, &secret, &good).status, 200);
}
