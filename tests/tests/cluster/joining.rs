//! A join that was cut short goes on with what it got, as long as that is of use; a token is of use until it expires.
//!
//! **Not here:** that it may be cut short anywhere (`directories`), who may not join at all (the parent).

use std::{path::Path, sync::Arc};

use fieldmesh_device::enroll::enroll;
use fieldmesh_domain::EntityId;
use fieldmesh_node::{config::Config, deployment::Admission, os::SystemEntropy};
use fieldmesh_pki::{KeyMaterial, Kind};
use fieldmesh_tests::{
    live::{now_ms, now_s, until},
    person,
    pki::Authority,
    process::{
        nodes::{Nodes, SHARDS},
        text,
    },
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Longer than any certificate of a node lasts.
const QUARTER_S: u64 = 91 * 24 * 3600;

/// What a join leaves in its directory once its certificate has come.
fn keep(nodes: &Nodes, number: u64, user: &str, key: &[u8], chain: &[Vec<u8>], root: &[u8]) {
    let config = Config::load(Some(&nodes.config(number, &[])), &[]).unwrap();
    let admission = Admission {
        key: key.to_vec(),
        chain: chain.iter().cloned().map(Into::into).collect(),
        roots: vec![root.to_vec().into()],
        registration: user.parse().unwrap(),
    };
    let passphrase = std::fs::read(nodes.passphrase()).unwrap();
    admission.keep(&config, &passphrase, &SystemEntropy::default()).unwrap();
}

/// A join that ends as soon as its certificate has come.
async fn cut_short(nodes: &Nodes, number: u64, user: &str, secret: &Path) {
    let secret = Zeroizing::new(std::fs::read_to_string(secret).unwrap());
    let key = KeyMaterial::generate().unwrap();
    let clock: fieldmesh_device::Clock = Arc::new(now_ms);
    let server = nodes.any().https.clone();
    let enrolled = enroll(&server, user, &secret, &key, &clock).await.unwrap();
    keep(nodes, number, user, key.pkcs8(), &enrolled.chain, &enrolled.root);
}

/// It joins by the registration that its token is for, and starts.
async fn joins(nodes: &mut Nodes, number: u64, user: &str, secret: &Path) {
    let config = nodes.config(number, &[]);
    let joined = nodes.join_as(&config, user, secret).await.expect_code(0).json();
    assert_eq!(joined["registration"], user, "{joined}");
    nodes.restart(number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_attempt_got_is_gone_on_with_only_while_it_is_of_use() {
    let mut nodes = Nodes::start(1).await;
    // The token is spent, and its certificate is there.
    let (user, spent) = nodes.token("node").await;
    cut_short(&nodes, 2, &user, &spent).await;
    joins(&mut nodes, 2, &user, &spent).await;
    // Another registration is named.
    let (earlier, spent) = nodes.token("node").await;
    cut_short(&nodes, 3, &earlier, &spent).await;
    let (user, secret) = nodes.token("node").await;
    joins(&mut nodes, 3, &user, &secret).await;
    // It was revoked: the spent token is no help, and a new one for the same registration is.
    let (user, spent) = nodes.token("node").await;
    cut_short(&nodes, 4, &user, &spent).await;
    nodes.any().ask(&["ca", "revoke", &user]).await;
    let config = nodes.config(4, &[]);
    let refused = nodes.join_as(&config, &user, &spent).await.expect_code(3);
    refused.expect_one_line(&["revoked", "the token is not valid", "ask the operator"]);
    let token = nodes.any().ask(&["ca", "token", "--pre-approved", &user]).await;
    let secret = nodes.beside("another token");
    std::fs::write(&secret, token["secret"].as_str().unwrap()).unwrap();
    joins(&mut nodes, 4, &user, &secret).await;
    // It has expired.
    let (user, secret) = nodes.token("node").await;
    let id: EntityId = user.parse().unwrap();
    let authority = Authority::new(now_s() - QUARTER_S);
    let old = authority.credentials(Kind::Node, id.to_bytes());
    keep(&nodes, 5, &user, &old.pkcs8, &old.chain, &authority.root);
    joins(&mut nodes, 5, &user, &secret).await;
}

const JSON: [&str; 2] = ["-H", "Content-Type: application/json"];

/// A token of a node that lasts for a second: commands mint none.
fn short_lived(nodes: &Nodes) -> Value {
    let (dir, wanted) = (
        nodes.dir(1),
        json!({ "profile": "node", "pre_approved": true, "valid_s": 1 }).to_string(),
    );
    let (certificate, key) = (dir.join("operator.pem"), dir.join("operator.key"));
    let by = ["-sSk", "--cert", text(&certificate), "--key", text(&key), "-d", &wanted];
    let url = format!("https://{}/v1/ca/tokens", nodes.node(1).https);
    let minted = person::run("curl", &[&by[..], &JSON, &[&*url]].concat());
    serde_json::from_slice(&minted).unwrap()
}

/// The status of the answer to whoever asks by a token whether it may join.
fn may_join(nodes: &Nodes, user: &str, secret: &str) -> String {
    let address = nodes.address(2);
    let [mesh, devices, https] = ["7445", "7443", "8443"].map(|port| format!("{address}:{port}"));
    let member = json!({
        "number": 2, "cluster": "fieldmesh.internal", "region": "eu1", "shards": SHARDS,
        "mesh": mesh, "devices": devices, "https": https,
    });
    let (token, member) = (format!("{user}:{secret}"), member.to_string());
    let asks = ["-sSk", "-o", "/dev/null", "-w", "%{http_code}", "-u", &token, "-d", &member];
    let url = format!("https://{}/v1/cluster/members/check", nodes.node(1).https);
    String::from_utf8(person::run("curl", &[&asks[..], &JSON, &[&*url]].concat())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_lets_nobody_in() {
    let nodes = Nodes::start(1).await;
    let token = short_lived(&nodes);
    let [user, secret] = ["user", "secret"].map(|key| token[key].as_str().unwrap());
    // The answer is what tells that its second is over, and asking does not spend it.
    let has_expired = async || (may_join(&nodes, user, secret) == "401").then_some(());
    until("the token has expired", has_expired).await;
    let (good, file) = nodes.token("node").await;
    assert_eq!(may_join(&nodes, &good, &std::fs::read_to_string(file).unwrap()), "200");
    let file = nodes.beside("expired");
    std::fs::write(&file, secret).unwrap();
    let refused = nodes.join_as(&nodes.config(2, &[]), user, &file).await.expect_code(3);
    refused.expect_one_line(&["401", "the token is not valid", "ask the operator for a new one"]);
    let view = nodes.cluster(&["status"]).await.expect_code(0).json();
    assert_eq!(view["members"].as_array().unwrap().len(), 1, "{view}");
    // Another one is as good in the same directory.
    nodes.join(2).await.expect_code(0);
}
