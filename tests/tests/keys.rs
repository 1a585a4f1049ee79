//! Where the authority's keys are: roots on another machine, secrets under a passphrase that comes
//! late, or in a PKCS#11 token (SoftHSM2). And the ledger of what they did, checked without a node.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and these hand files to other programs"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use fieldmesh_tests::process::{
    Finished, Launch, Running, contents::contents, fieldmesh, run, run_with, text,
};
use serde_json::Value;
use tempfile::TempDir;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A directory with a passphrase and a configuration for any ports.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: TempDir::new().unwrap() };
        desk.write("passphrase", "correct horse battery staple");
        let any = "\"127.0.0.1:0\"";
        desk.write(
            "cluster.toml",
            &format!("[listen]\ndevices = {any}\nhttps = {any}\nhttp = {any}\n"),
        );
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Runs a command with the passphrase, against this desk's node.
    async fn run(&self, args: &[&str]) -> Finished {
        let (pass, node) = (self.path("passphrase"), self.path("node"));
        let common = ["--json", "--data-dir", text(&node), "--passphrase-file", text(&pass)];
        run("fieldmesh", &[args, &common].concat()).await
    }

    /// Has a root sign a request for an issuing CA.
    async fn sign(&self, root: &Path, request: &Path, generation: &str, out: &Path) {
        self.try_sign(root, request, generation, out).await.expect_code(0);
    }

    async fn try_sign(
        &self,
        root: &Path,
        request: &Path,
        generation: &str,
        out: &Path,
    ) -> Finished {
        let pass = self.path("passphrase");
        let sign = ["ca", "root", "sign", "--root", text(root), "--csr", text(request)];
        let rest = ["--region", "eu1", "--generation", generation, "--out", text(out)];
        let with_pass = ["--passphrase-file", text(&pass)];
        run("fieldmesh", &[&sign[..], &rest, &with_pass].concat()).await
    }

    async fn enrolls(&self, dir: &Path) {
        let token = fieldmesh(dir, &["ca", "token", "--profile", "customer-device"]).await;
        let token = token.expect_code(0).json();
        self.write("secret", token["secret"].as_str().unwrap());
        let addresses = std::fs::read_to_string(dir.join("addresses.json")).unwrap();
        let addresses: Value = serde_json::from_str(&addresses).unwrap();
        let (https, devices) = (addresses["https"].as_str(), addresses["devices"].as_str());
        let (device, secret) = (self.path("device"), self.path("secret"));
        let args = ["--dir", text(&device), "--json", "enroll", "--server", https.unwrap()];
        let user = ["--devices", devices.unwrap(), "--user", token["user"].as_str().unwrap()];
        let all = [&args[..], &user, &["--secret-file", text(&secret)]].concat();
        run("fieldmesh-device", &all).await.expect_code(0);
    }
}

#[tokio::test]
async fn a_cluster_is_made_below_roots_that_are_kept_elsewhere() {
    let desk = Desk::new();
    let (pass, roots) = (desk.path("passphrase"), desk.path("roots.pem"));
    let mut pem = String::new();
    for name in ["one", "two"] {
        let out = desk.path(name);
        let args = ["ca", "root", "create", "--json", "--cluster", "fieldmesh.internal", "--out"];
        let rest = [text(&out), "--passphrase-file", text(&pass)];
        run("fieldmesh", &[&args[..], &rest].concat()).await.expect_code(0);
        pem += &std::fs::read_to_string(out.join("root.pem")).unwrap();
    }
    std::fs::write(&roots, pem).unwrap();
    let made = desk.run(&["init", "--roots", text(&roots)]).await.expect_code(0).json();
    let request = made["request"].as_str().unwrap().to_owned();
    let (one, node) = (desk.path("one"), desk.path("node"));
    // Not before the certificate is there.
    Launch::node(&node, &pass).refused().await.expect_code(2);
    let issuing = desk.path("issuing.pem");
    let sign = ["ca", "root", "sign", "--json", "--root", text(&one), "--csr", &request];
    let rest = ["--region", "eu1", "--generation", "1", "--out", text(&issuing)];
    let pass_args = ["--passphrase-file", text(&pass)];
    run("fieldmesh", &[&sign[..], &rest, &pass_args].concat()).await.expect_code(0);
    // A certificate of another key, and one of another region, are refused.
    let other = desk.path("other.pem");
    let rest = ["--region", "us1", "--generation", "1", "--out", text(&other)];
    run("fieldmesh", &[&sign[..], &rest, &pass_args].concat()).await.expect_code(0);
    desk.run(&["init", "--issuing", text(&other)]).await.expect_code(2);
    desk.run(&["init", "--issuing", text(&one.join("root.pem"))]).await.expect_code(2);
    desk.run(&["init", "--issuing", text(&issuing)]).await.expect_code(0);
    assert!(!node.join("root.key.sealed").exists());
    let server = Launch::node(&node, &pass).ready().await;
    desk.enrolls(&node).await;
    let answer = Command::new("openssl")
        .args(["verify", "-x509_strict", "-CAfile", text(&roots), text(&issuing)])
        .output()
        .unwrap();
    assert!(answer.status.success(), "{answer:?}");
    server.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_sealed_node_says_so_and_waits() {
    let desk = Desk::new();
    desk.run(&["init"]).await.expect_code(0);
    let (node, pass, config) =
        (desk.path("node"), desk.path("passphrase"), desk.path("cluster.toml"));
    let args = ["node", "--sealed", "--json", "--data-dir", text(&node), "--config", text(&config)];
    let mut running = Running::start("fieldmesh", &args);
    let said = running.until(|line| line["sealed"] == true).await;
    let http = said["http"].as_str().unwrap().to_owned();
    let curl = |path: &str| {
        let url = format!("{http}{path}");
        let fixed = ["-s", "-o", "/dev/null", "-w", "%{http_code}", url.as_str()];
        let output = Command::new("curl").args(fixed).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!([curl("/healthz"), curl("/readyz")], ["200", "503"]);
    // A wrong passphrase leaves it as it is.
    desk.write("wrong", "not the passphrase");
    let wrong = desk.path("wrong");
    let unseal = ["unseal", "--json", "--data-dir", text(&node), "--passphrase-file"];
    let refused = run("fieldmesh", &[&unseal[..], &[text(&wrong)]].concat()).await;
    refused.expect_code(3).expect_one_line(&["passphrase"]);
    assert_eq!(curl("/readyz"), "503");
    run("fieldmesh", &[&unseal[..], &[text(&pass)]].concat()).await.expect_code(0);
    running.until(|line| line["ready"] == true).await;
    desk.enrolls(&node).await;
    running.end_with("TERM").await.expect_code(0);
}

/// A new token in a directory, and the environment that finds it.
fn token(desk: &Desk) -> (String, String) {
    assert!(Path::new(SOFTHSM).exists(), "install the Debian package softhsm2");
    std::fs::create_dir(desk.path("tokens")).unwrap();
    let tokens = desk.path("tokens");
    desk.write(
        "softhsm2.conf",
        &format!("directories.tokendir = {}\nobjectstore.backend = file\n", text(&tokens)),
    );
    let conf = text(&desk.path("softhsm2.conf")).to_owned();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "fieldmesh", "--so-pin", "87654321"])
        .args(["--pin", "1234"])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    desk.write("pin", "1234");
    (conf, format!("pkcs11:token=fieldmesh;object=issuing?module-path={SOFTHSM}"))
}

#[tokio::test]
async fn the_issuing_key_and_the_seal_are_in_a_token() {
    let desk = Desk::new();
    let (conf, address) = token(&desk);
    let (node, pin) = (desk.path("node"), desk.path("pin"));
    let env = [("SOFTHSM2_CONF", conf.as_str())];
    let init = ["init", "--json", "--data-dir", text(&node), "--token", &address];
    let with_pin = ["--passphrase-file", text(&pin)];
    run_with("fieldmesh", &[&init[..], &with_pin].concat(), &env).await.expect_code(0);
    // Sealed by the token: the file says so, and no passphrase opens it.
    let sealed = std::fs::read(node.join("secrets.sealed")).unwrap();
    assert_eq!(&sealed[..4], b"FMK1");
    desk.write("wrong", "4321");
    let wrong = desk.path("wrong");
    let refused = Launch::node(&node, &wrong).env("SOFTHSM2_CONF", &conf).refused().await;
    refused.expect_code(2).expect_one_line(&["PIN"]);
    let server = Launch::node(&node, &pin).env("SOFTHSM2_CONF", &conf).ready().await;
    desk.enrolls(&node).await;
    server.terminate().await.expect_code(0);
}

/// A deployment below offline roots whose issuing key is in a token; the first root's directory.
async fn below_offline_roots(desk: &Desk, address: &str, env: &[(&str, &str)]) -> PathBuf {
    let (node, pin, pass) = (desk.path("node"), desk.path("pin"), desk.path("passphrase"));
    let (root, request, issuing) =
        (desk.path("root"), desk.path("node/issuing.csr"), desk.path("issuing.pem"));
    let create = ["ca", "root", "create", "--cluster", "fieldmesh.internal", "--out", text(&root)];
    let with_pass = ["--passphrase-file", text(&pass)];
    run("fieldmesh", &[&create[..], &with_pass].concat()).await.expect_code(0);
    let init = ["init", "--data-dir", text(&node), "--passphrase-file", text(&pin)];
    let pem = root.join("root.pem");
    let make = [&init[..], &["--token", address, "--roots", text(&pem)]].concat();
    run_with("fieldmesh", &make, env).await.expect_code(0);
    desk.sign(&root, &request, "1", &issuing).await;
    let complete = [&init[..], &["--issuing", text(&issuing)]].concat();
    run_with("fieldmesh", &complete, env).await.expect_code(0);
    root
}

#[tokio::test]
async fn an_issuing_key_in_a_token_is_followed_by_another_there() {
    let desk = Desk::new();
    let (conf, address) = token(&desk);
    let root = below_offline_roots(&desk, &address, &[("SOFTHSM2_CONF", &conf)]).await;
    let (node, pin) = (desk.path("node"), desk.path("pin"));
    let server = Launch::node(&node, &pin).env("SOFTHSM2_CONF", &conf).ready().await;
    let (request, next) = (desk.path("next.csr"), desk.path("next.pem"));
    let made = server.ask(&["ca", "rotate", "begin", "--out", text(&request)]).await;
    assert_eq!(made["generation"], 2);
    // The same key until it was introduced.
    let first = std::fs::read(&request).unwrap();
    server.ask(&["ca", "rotate", "begin", "--out", text(&request)]).await;
    let spki = |csr: &[u8]| fieldmesh_pki::check_csr(&pem_of(csr)).unwrap().spki().to_vec();
    assert_eq!(spki(&first), spki(&std::fs::read(&request).unwrap()));
    desk.sign(&root, &request, "2", &next).await;
    // Neither command writes over something else.
    let before = std::fs::read(&next).unwrap();
    let begin = ["ca", "rotate", "begin", "--out", text(&next)];
    fieldmesh(&node, &begin).await.expect_code(2).expect_one_line(&["holds something else"]);
    let refused = desk.try_sign(&root, &request, "2", &next).await;
    refused.expect_code(2).expect_one_line(&["is there already"]);
    assert_eq!(std::fs::read(&next).unwrap(), before);
    let view = server.ask(&["ca", "rotate", "introduce", text(&next)]).await;
    let all = view["authorities"].as_array().unwrap();
    let sha256 = |phase: &str| {
        let mut issuing = all.iter().filter(|ca| ca["role"] == "issuing" && ca["phase"] == phase);
        issuing.next().unwrap()["sha256"].as_str().unwrap().to_owned()
    };
    let (one, two) = (sha256("active"), sha256("introduced"));
    server.ask(&["ca", "rotate", "activate", &two[..12]]).await;
    desk.enrolls(&node).await;
    server.terminate().await.expect_code(0);
    let server = Launch::node(&node, &pin).env("SOFTHSM2_CONF", &conf).ready().await;
    server.ask(&["ca", "rotate", "retire", &one[..12]]).await;
    let before = objects(&desk);
    let view = server.ask(&["ca", "rotate", "remove", &one[..12], "--cut-off"]).await;
    let removed = view["authorities"].as_array().unwrap().iter().find(|ca| ca["sha256"] == one);
    assert_eq!(removed.unwrap()["phase"], "removed");
    // Its pair has left the token.
    let ended = server.terminate().await.expect_code(0);
    assert_eq!(objects(&desk), before - 2, "{ended}");
    let server = Launch::node(&node, &pin).env("SOFTHSM2_CONF", &conf).ready().await;
    server.terminate().await.expect_code(0);
}

/// How many objects the token has.
fn objects(desk: &Desk) -> usize {
    let files = contents(&desk.path("tokens"));
    files.keys().filter(|path| path.extension().is_some_and(|end| end == "object")).count()
}

/// The object in a PEM file.
fn pem_of(pem: &[u8]) -> Vec<u8> {
    use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    CertificateSigningRequestDer::from_pem_slice(pem).unwrap().to_vec()
}

#[tokio::test]
async fn the_ledger_is_checked_by_whoever_has_the_root() {
    let desk = Desk::new();
    let node = desk.path("node");
    let server = Launch::dev(&node).ready().await;
    desk.enrolls(&node).await;
    let list = server.ask(&["ca", "list", "--profile", "customer-device"]).await;
    let device = list["rows"][0]["device"].as_str().unwrap().to_owned();
    let shown = server.ask(&["ca", "show", &device]).await;
    let serial = shown["certificates"][0]["serial"].as_str().unwrap().to_owned();
    let (ledger, proof) = (desk.path("ledger.jsonl"), desk.path("one.proof"));
    let exported = server.ask(&["ca", "audit", "export", text(&ledger)]).await;
    assert!(exported["entries"].as_u64().unwrap() >= 3, "{exported}");
    // What the authority does for itself is in it too.
    let lines = std::fs::read_to_string(&ledger).unwrap();
    for word in ["\"ocsp-signer\"", "\"service\"", "\"node\"", "\"issuer_added\""] {
        assert!(lines.contains(word), "{word} is not in the ledger");
    }
    server.ask(&["ca", "audit", "prove", "--serial", &serial, text(&proof)]).await;
    server.ask(&["ca", "revoke", &device]).await;
    let later = desk.path("later.jsonl");
    server.ask(&["ca", "audit", "export", text(&later)]).await;
    server.terminate().await.expect_code(0);
    let root = desk.path("root.pem");
    std::fs::copy(node.join("root.pem"), &root).unwrap();
    let verify = async |file: &Path, known: Option<&Path>| {
        let mut args = vec!["ca", "audit", "verify", "--json", "--root", text(&root), text(file)];
        args.extend(known.into_iter().flat_map(|path| ["--known", text(path)]));
        run("fieldmesh", &args).await
    };
    let first = verify(&ledger, None).await.expect_code(0);
    desk.write("head.json", first.stdout.lines().last().unwrap());
    verify(&proof, None).await.expect_code(0);
    verify(&later, Some(&desk.path("head.json"))).await.expect_code(0);
    // A word that is changed is found, and so is an entry that is gone.
    let text_of = std::fs::read_to_string(&later).unwrap();
    desk.write("changed.jsonl", &text_of.replacen("customer-device", "customer-devicf", 1));
    verify(&desk.path("changed.jsonl"), None).await.expect_code(1);
    let without: Vec<&str> =
        text_of.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
    desk.write("without.jsonl", &(without.join("\n") + "\n"));
    verify(&desk.path("without.jsonl"), None).await.expect_code(1);
    // The log of another cluster does not pass for this one's.
    let other = Desk::new();
    other.run(&["init"]).await.expect_code(0);
    let strange = other.path("node").join("root.pem");
    let args = ["ca", "audit", "verify", "--json", "--root", text(&strange), text(&ledger)];
    run("fieldmesh", &args).await.expect_code(1);
}
